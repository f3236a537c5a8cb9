"""Crystals: the chart of their cells, their networks and judges."""
