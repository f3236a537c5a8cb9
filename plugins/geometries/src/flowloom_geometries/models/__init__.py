"""Networks for points of low-dimensional manifolds."""

from flowloom_geometries.models.grid import GridMLP
from flowloom_geometries.models.periodic import PeriodicMLP

__all__ = ["GridMLP", "PeriodicMLP"]
