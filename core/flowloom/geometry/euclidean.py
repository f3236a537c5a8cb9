"""Euclidean space of any shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.geometry.base import Geometry
from flowloom.spec import Spec
from flowloom.state import Shape, expand


class Euclidean(Geometry):
    """R^n with the standard metric; events of any shape, every entry one coordinate.

    >>> Euclidean().distance(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
    tensor([5.])
    """

    point_ndim = 0
    flat = True
    full = True
    straight = True
    dim = 1
    defaults: ClassVar[Mapping[str, str]] = {"source": "gaussian", "path": "affine"}

    def project(self, x: Tensor) -> Tensor:
        """Every point lies in the space."""
        return x

    def to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """Every vector is tangent."""
        return v

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """``x + v``."""
        return x + v

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """``y - x``."""
        return y - x

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The straight line and its constant velocity ``x1 - x0``."""
        velocity = x1 - x0
        return torch.addcmul(x0, expand(t, x0), velocity), velocity

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Products of coordinates."""
        return u * v

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """Absolute differences of coordinates."""
        return (y - x).abs()

    def violation(self, x: Tensor) -> Tensor:
        """Zero for finite points, infinite otherwise."""
        finite = x.isfinite().flatten(1).all(1) if x.ndim > 1 else x.isfinite()
        return torch.where(finite, 0.0, torch.inf)

    def random(self, shape: Shape, draw: Draw = GLOBAL) -> Tensor:
        """Standard normal points (the space has no uniform law)."""
        return draw.normal(shape)

    def misfit(self, spec: Spec) -> str:
        """Every real-valued state has its place, in one tensor or in parts."""
        said = [self.misfit(inner) for inner in spec.parts.values()]
        return next((m for m in said if m), "") if said else super().misfit(spec)
