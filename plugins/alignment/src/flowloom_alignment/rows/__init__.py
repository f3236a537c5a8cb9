"""Rows of the guidance plugin, a module each method."""
