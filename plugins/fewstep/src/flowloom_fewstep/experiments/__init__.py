"""Experiments of the few-step plugin."""
