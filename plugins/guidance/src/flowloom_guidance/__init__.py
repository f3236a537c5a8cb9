"""Guidance for flowloom."""
