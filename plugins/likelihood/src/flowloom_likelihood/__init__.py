"""Flows of exact likelihood for flowloom: bijections, Glow, dequantisation, bits per dimension."""
