"""Flows on bounded convex sets: reflected (2405.16577) and mirrored (2510.08929)."""

from flowloom_geometries.bounded.feasibility import Feasibility
from flowloom_geometries.bounded.mirror import MirrorMap
from flowloom_geometries.bounded.nearest_inside import NearestInside
from flowloom_geometries.bounded.patches import WalledPatches
from flowloom_geometries.bounded.reflected import ReflectedEuler, ReflectedHeun, reflect
from flowloom_geometries.bounded.tail import MirrorTail
from flowloom_geometries.bounded.truncated import TruncatedGaussian

__all__ = [
    "Feasibility",
    "MirrorMap",
    "MirrorTail",
    "NearestInside",
    "ReflectedEuler",
    "ReflectedHeun",
    "TruncatedGaussian",
    "WalledPatches",
    "reflect",
]
