"""Rows of the inverse plugin, a module each topic."""
