"""Data that lives on manifolds: events on the Earth, and densities known in closed form."""

from flowloom_geometries.data.densities import KnownDensity, VonMisesFisherMixture, WrappedNormalMixture
from flowloom_geometries.data.earth import Earth
from flowloom_geometries.data.on_mesh import MeshEigenfunction

__all__ = ["Earth", "KnownDensity", "MeshEigenfunction", "VonMisesFisherMixture", "WrappedNormalMixture"]
