"""Rows of the plugin of weights, a module each method."""
