"""Trackers over services and libraries of others."""
