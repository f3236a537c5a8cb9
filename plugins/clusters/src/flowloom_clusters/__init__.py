"""Launchers of experiments on clusters."""
