"""Manifolds beyond the core's few, and real data that lives on them."""
