"""The probability simplex with the Fisher-Rao metric."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.geometry import Geometry, Sphere
from flowloom.state import sum_event


class Simplex(Geometry):
    r"""Probability vectors with the Fisher-Rao metric :math:`\sum_i u_i v_i / p_i`.

    :math:`z = \sqrt p` maps it to the positive orthant of the unit sphere, stretched by 2: geodesics are
    great circles there (Fisher Flow Matching 2405.14664; Statistical Flow Matching 2405.16441). Points on
    the boundary are allowed as ends; there tangent vectors are zero in the components that vanish, so
    velocities stay finite while lengths are taken over the other components. ``exp`` past the boundary
    reflects, as squaring the sphere's great circle does.

    Args:
        categories: number of entries of a point, 2 or more.
    """

    point_ndim = 1

    def __init__(self, categories: int = 3) -> None:
        if categories < 2:
            raise ValueError(f"a simplex needs 2 categories or more, got {categories}")
        self.categories = categories
        self.dim: int = categories - 1
        self.point_shape = (categories,)
        self._sphere = Sphere(categories - 1)

    def project(self, x: Tensor) -> Tensor:
        """The nearest probability vector in the Euclidean sense, by sorting (Duchi et al. 2008).

        Vectors that are one to rounding stay as they are, however small their entries.
        """
        ordered, _ = x.sort(-1, descending=True)
        count = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype)
        shift = (ordered.cumsum(-1) - 1) / count
        support = (ordered > shift).sum(-1, keepdim=True).clamp_min(1)
        nearest = (x - shift.gather(-1, support - 1)).clamp_min(0)
        # Rounding of the shift would leave specks where there should be zeros, and move entries that should
        # stay; the Fisher metric is steep there. The derivative stays that of the projection.
        rounding = 8 * torch.finfo(x.dtype).eps
        fine = (x >= 0).all(-1, keepdim=True) & ((x.sum(-1, keepdim=True) - 1).abs() <= rounding)
        return torch.where(
            fine, nearest + (x - nearest).detach(), torch.where(nearest > rounding, nearest, 0)
        )

    def to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """``v - p sum(v)``: the projection that is orthogonal in the Fisher metric."""
        return v - x * v.sum(-1, keepdim=True)

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """The great circle through ``sqrt(p)``, squared."""
        z = self.to_sphere(x)
        return self._sphere.exp(z, self._lift(z, v)).square()

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """The great-circle tangent, pushed forward by squaring."""
        z = self.to_sphere(x)
        return 2 * z * self._sphere.log(z, self.to_sphere(y))

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """``p = z^2`` and ``2 z dz/dt`` on the great circle between the roots."""
        z, dz = self._sphere.geodesic(self.to_sphere(x0), self.to_sphere(x1), t)
        return z.square(), 2 * z * dz

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """``sum(u v / p)`` over the components with p > 0."""
        inside = x > 0
        return torch.where(inside, u * v / torch.where(inside, x, 1), 0).sum(-1)

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """``2 arccos(sum sqrt(p q))``, accurate for nearby points."""
        return 2 * self._sphere.distance_point(self.to_sphere(x), self.to_sphere(y))

    def log_volume(self) -> float:
        """Of the positive orthant of a sphere of radius 2."""
        return self._sphere.log_volume() + self.dim * math.log(2) - self.categories * math.log(2)

    def log_sqrt_det(self, x: Tensor) -> Tensor:
        """``-(sum log p + log k) / 2``: the metric on the plane of sum 1, in orthonormal coordinates."""
        floor = torch.finfo(x.dtype).tiny
        per_point = -0.5 * (x.clamp_min(floor).log().sum(-1) + math.log(self.categories))
        return sum_event(per_point)

    def violation(self, x: Tensor) -> Tensor:
        """The larger of the deviation of the sum from 1 and of the most negative entry."""
        off = torch.maximum((x.sum(-1) - 1).abs(), (-x).amax(-1))
        return off.flatten(1).amax(1) if off.ndim > 1 else off

    def random(self, shape: Any, draw: Draw = GLOBAL) -> Tensor:
        """Uniform in the Fisher-Rao volume, which is Dirichlet(1/2, ..., 1/2)."""
        return self._sphere.random(shape, draw).square()

    def to_sphere(self, x: Tensor) -> Tensor:
        """``sqrt(p)``, of unit length, with gradient 0 instead of infinity where p = 0."""
        inside = x > 0
        root = torch.where(inside, x, 1).sqrt() * inside
        return root / root.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)

    def _lift(self, z: Tensor, v: Tensor) -> Tensor:
        inside = z > 0
        return torch.where(inside, v / (2 * torch.where(inside, z, 1)), 0)

    def __repr__(self) -> str:
        return f"Simplex(categories={self.categories})"
