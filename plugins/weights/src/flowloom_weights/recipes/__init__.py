"""Recipes of the plugin of weights."""
