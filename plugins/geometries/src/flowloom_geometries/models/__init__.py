"""Networks for points of low-dimensional manifolds."""

from flowloom_geometries.models.grid import GridMLP
from flowloom_geometries.models.periodic import PeriodicMLP
from flowloom_geometries.models.refining import RefiningMLP

__all__ = ["GridMLP", "PeriodicMLP", "RefiningMLP"]
