"""Recipes of the guidance plugin."""
