"""The probability simplex with the flat metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.geometry import Euclidean
from flowloom.state import Shape


class FlatSimplex(Euclidean):
    """Rows of probabilities: points of shape ``(..., K)`` with entries >= 0 that sum to 1, flat metric.

    Convex, so straight lines between points stay inside; ``exp`` does not clamp (a solver's overshoot stays
    visible), ``project`` does. The Fisher-Rao simplex is another geometry, of the geometries plugin.

    >>> FlatSimplex().project(torch.tensor([[0.6, 0.6, -0.2]]))
    tensor([[0.5000, 0.5000, 0.0000]])
    """

    point_ndim = 1
    convex = True
    full = False  # a plane in R^K
    dim = None  # type: ignore[assignment]
    defaults: ClassVar[Mapping[str, str]] = {"source": "uniform", "path": "affine"}

    def project(self, x: Tensor) -> Tensor:
        """The nearest point of the simplex, by sorting (Held, Wolfe and Crowder 1974)."""
        ordered = x.sort(-1, descending=True).values
        excess = ordered.cumsum(-1) - 1
        count = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype)
        support = (ordered * count > excess).sum(-1, keepdim=True).clamp_min(1)
        threshold = excess.gather(-1, support - 1) / support
        return (x - threshold).clamp_min(0)

    def to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """Subtract the mean, so that entries sum to 0."""
        return v - v.mean(-1, keepdim=True)

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Dot products of rows."""
        return (u * v).sum(-1)

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """Euclidean distances of rows."""
        d = (y - x).square().sum(-1)
        return torch.where(d > 0, d, 1).sqrt() * (d > 0)

    def violation(self, x: Tensor) -> Tensor:
        """The worst negative entry or error of a sum, ``(batch,)``; NaN stays NaN."""
        worst = torch.maximum((-x).amax(-1).clamp_min(0), (x.sum(-1) - 1).abs())
        return worst.flatten(1).amax(1) if worst.ndim > 1 else worst

    def random(self, shape: Shape, draw: Draw = GLOBAL) -> Tensor:
        """Uniform rows: normalised exponential variables."""
        # Minus the log of a uniform number that is never 0 (and may be 1, which gives a harmless 0).
        u = 1 - draw.uniform(shape)
        e = -u.log()
        return e / e.sum(-1, keepdim=True).clamp_min(torch.finfo(e.dtype).tiny)

    def degrees_of_freedom(self, shape: Shape) -> int:
        """``K - 1`` a row."""
        assert not isinstance(shape, dict)
        return self.points(shape) * (shape[-1] - 1)

    def log_uniform(self, shape: Shape) -> float:
        """Minus the log of the volume ``sqrt(K) / (K - 1)!``, for every row."""
        assert not isinstance(shape, dict)
        k = shape[-1]
        return self.points(shape) * (math.lgamma(k) - 0.5 * math.log(k))
