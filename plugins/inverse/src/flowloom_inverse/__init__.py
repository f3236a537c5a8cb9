"""Inverse problems for flowloom."""
