"""Manifolds with closed forms, and the adapter for geoopt's."""

from flowloom_geometries.spaces.geoopt_adapter import GeooptGeometry, Stiefel
from flowloom_geometries.spaces.lorentz import Lorentz
from flowloom_geometries.spaces.poincare import PoincareBall
from flowloom_geometries.spaces.polytope import Polytope
from flowloom_geometries.spaces.se3 import SE3
from flowloom_geometries.spaces.simplex import Simplex
from flowloom_geometries.spaces.so3 import SO3
from flowloom_geometries.spaces.spd import SPD, LogEuclideanSPD

__all__ = [
    "SE3",
    "SO3",
    "SPD",
    "GeooptGeometry",
    "LogEuclideanSPD",
    "Lorentz",
    "PoincareBall",
    "Polytope",
    "Simplex",
    "Stiefel",
]
