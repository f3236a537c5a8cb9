"""Data that lives on manifolds: events on the Earth, densities known in closed form, and rooms."""

from flowloom_geometries.data.box import Box
from flowloom_geometries.data.densities import KnownDensity, VonMisesFisherMixture, WrappedNormalMixture
from flowloom_geometries.data.earth import Earth
from flowloom_geometries.data.on_mesh import MeshEigenfunction

__all__ = [
    "Box",
    "Earth",
    "KnownDensity",
    "MeshEigenfunction",
    "VonMisesFisherMixture",
    "WrappedNormalMixture",
]
