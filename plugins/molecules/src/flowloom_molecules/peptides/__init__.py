"""Peptides: residues as frames, torsions and types; their flow, network, judges and pictures."""
