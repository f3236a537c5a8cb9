"""Experiments of the foundations plugin."""
