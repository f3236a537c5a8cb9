"""Recipes: YAML with positions, bound to constructor signatures, built into objects."""
