"""Molecules as graphs of heavy atoms and bonds."""
