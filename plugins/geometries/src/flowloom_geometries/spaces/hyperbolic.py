"""What the two models of hyperbolic space share: the curvature and scalar functions."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from flowloom.geometry import Geometry
from flowloom.geometry.numerics import safe_sqrt


def sinhc(x: Tensor) -> Tensor:
    """``sinh(x) / x``, with value 1 and derivative 0 at 0."""
    # The derivative of the quotient is a difference of two terms of size 1/x: below 0.03, the series.
    small, q = x.abs() < 0.03, x.square()
    safe = torch.where(small, 1, x)
    return torch.where(small, 1 + q / 6 * (1 + q / 20 * (1 + q / 42)), safe.sinh() / safe)


def damped_sinhc(x: Tensor) -> Tensor:
    """``sinh(x) / x e^-x``, which does not overflow."""
    small, q = x.abs() < 0.03, x.square()
    series = (1 + q / 6 * (1 + q / 20 * (1 + q / 42))) * (-x).exp()
    return torch.where(small, series, -0.5 * (-2 * x).expm1() / torch.where(small, 1, x))


def tanhc(x: Tensor) -> Tensor:
    """``tanh(x) / x``, with value 1 and derivative 0 at 0."""
    small, q = x.abs() < 0.01, x.square()
    safe = torch.where(small, 1, x)
    return torch.where(small, 1 - q / 3 * (1 - 2 * q / 5 * (1 - 17 * q / 42)), safe.tanh() / safe)


def dot(u: Tensor, v: Tensor) -> Tensor:
    """The Euclidean inner product, ``(..., 1)``."""
    product = u * v
    if product.shape[-1] > 4:
        return product.sum(-1, keepdim=True)
    # The CPU is slow along a short last dimension: three times as fast by columns.
    first, *others = product.split(1, -1)
    return sum(others, first)


def angle_from(squared: Tensor) -> Tensor:
    """The angle of points whose squared chord is ``squared`` at curvature -1: ``acosh(1 + squared/2)``."""
    half = 0.5 * squared
    return (half + safe_sqrt(half * (half + 2))).log1p()


class Between(NamedTuple):
    r"""Functions of the angle :math:`a = \sqrt c\, d` between two points, and of a time t on their geodesic.

    On the hyperboloid the geodesic is :math:`(\sinh((1-t)a)\, x + \sinh(ta)\, y) / \sinh a`. Unlike
    ``exp(x, t log(x, y))`` this is symmetric in its ends, and adds terms of one sign: the latter multiplies
    the rounding of its base by ``e^(2ta)``.
    """

    start: Tensor  # sinh((1-t) a) / sinh(a)
    end: Tensor  # sinh(t a) / sinh(a)
    rate: Tensor  # a / sinh(a)
    to_start: Tensor  # a / sinh(a) (cosh((1-t) a) - 1)
    to_end: Tensor  # a / sinh(a) (cosh(t a) - 1)
    inward: Tensor  # 1 - start - end


def between(angle: Tensor, t: Tensor) -> Between:
    """See `Between`; with decaying exponentials only, so that nothing overflows, and limits at angle 0."""
    rest = 1 - t
    swept = torch.stack([angle, t * angle, rest * angle])
    _, fall, rise = (-swept).exp()
    _, first, last = (-swept).expm1()
    whole, to, back = damped_sinhc(swept)
    per = 1 / whole
    return Between(
        start=rest * fall * back * per,
        end=t * rise * to * per,
        rate=fall * rise * per,
        to_start=0.5 * fall * last.square() * per,
        to_end=0.5 * rise * first.square() * per,
        inward=first * last / (1 + fall * rise),
    )


class Hyperbolic(Geometry):
    """Hyperbolic space of dimension ``dim`` and sectional curvature ``-curvature``.

    Args:
        dim: intrinsic dimension, 1 or more.
        curvature: minus the sectional curvature, positive.
    """

    point_ndim = 1

    def __init__(self, dim: int = 2, curvature: float = 1.0) -> None:
        if dim < 1:
            raise ValueError(f"hyperbolic space has dimension 1 or more, got {dim}")
        if not (curvature > 0 and math.isfinite(curvature)):
            raise ValueError(
                f"curvature is minus the sectional curvature and must be positive, got {curvature}"
            )
        self.dim: int = dim
        self.point_shape = (dim,)
        self.curvature = curvature
        self.root = math.sqrt(curvature)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dim={self.dim}, curvature={self.curvature:g})"
