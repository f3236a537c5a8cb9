"""Molecules in space: networks, judges and pictures."""
