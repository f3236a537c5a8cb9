"""Geometries: where states live, and how one moves there."""

from flowloom.geometry.base import Geometry
from flowloom.geometry.box import Box
from flowloom.geometry.discrete import Discrete
from flowloom.geometry.euclidean import Euclidean
from flowloom.geometry.product import Product
from flowloom.geometry.sphere import Sphere
from flowloom.geometry.torus import FlatTorus

__all__ = ["Box", "Discrete", "Euclidean", "FlatTorus", "Geometry", "Product", "Sphere"]
