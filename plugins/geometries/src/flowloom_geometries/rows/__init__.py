"""Rows of the geometries plugin that are a method each, found by name: words only."""
