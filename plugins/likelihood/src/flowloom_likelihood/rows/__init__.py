"""Rows of the plugin, one module for each method; every module has ``register(reg)``."""
