"""Probability paths: the point at time t between a source point and a data point."""

from flowloom.paths.affine import AffinePath
from flowloom.paths.base import Path, Point, another_way
from flowloom.paths.conversions import Kind
from flowloom.paths.geodesic import GeodesicPath
from flowloom.paths.mixture import MixturePath
from flowloom.paths.product import ProductPath

__all__ = [
    "AffinePath",
    "GeodesicPath",
    "Kind",
    "MixturePath",
    "Path",
    "Point",
    "ProductPath",
    "another_way",
]
