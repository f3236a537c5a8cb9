"""Rigid motions of three-dimensional space."""

from __future__ import annotations

from flowloom.geometry import Euclidean, Product
from flowloom_geometries.spaces.so3 import SO3


class SE3(Product):
    r"""Rigid motions as ``{"rotation": (..., 3, 3), "translation": (..., 3)}``.

    The metric is the product of SO(3) (distance = angle in radians) and of :math:`\mathbb R^3`, invariant
    under rigid motions from the left; geodesics turn and shift independently, as protein frames do in
    FrameDiff and FrameFlow (2302.02277, 2310.05297). It is not the screw motion of the group exponential:
    SE(3) has no metric that is invariant from both sides.
    """

    def __init__(self) -> None:
        super().__init__({"rotation": SO3(), "translation": Euclidean()})

    def __repr__(self) -> str:
        return "SE3()"
