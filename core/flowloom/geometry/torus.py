"""The flat torus: coordinates with periods."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.geometry.base import Geometry
from flowloom.state import Shape, expand


class FlatTorus(Geometry):
    """Coordinates modulo their periods, kept in ``[0, period]``, with the flat metric.

    Halfway round, both ways are equally short; ``log`` then rounds to even, like ``torch.round``.

    Args:
        periods: one period for every coordinate (any event shape, each coordinate a circle), or one per
            entry of the last dimension.
    """

    flat = True
    full = True

    def __init__(self, periods: float | Sequence[float] = 2 * math.pi) -> None:
        values = [periods] if isinstance(periods, (int, float)) else list(periods)
        if not values or any(p <= 0 or not math.isfinite(p) for p in values):
            raise ValueError(f"periods must be positive and finite, got {periods}")
        self.periods = periods
        self.point_ndim = 0 if isinstance(periods, (int, float)) else 1
        self.dim: int = len(values)
        self.point_shape = (len(values),) if self.point_ndim else None

    def _period(self, like: Tensor) -> float | Tensor:
        if isinstance(self.periods, (int, float)):
            return self.periods
        return torch.tensor(self.periods, device=like.device, dtype=like.dtype)

    def _wrap(self, difference: Tensor) -> Tensor:
        # Subtracting whole turns keeps the relative accuracy of small differences; adding half a period
        # before a remainder would not.
        period = self._period(difference)
        turns = torch.round(difference / period)
        if isinstance(period, Tensor):
            return torch.addcmul(difference, turns, period, value=-1)
        return torch.sub(difference, turns, alpha=period)

    def project(self, x: Tensor) -> Tensor:
        """Wrap into ``[0, period)``."""
        period = self._period(x)
        # Of a tiny negative number the remainder rounds up to the period itself.
        return torch.remainder(x, period).clamp(max=period * (1 - torch.finfo(x.dtype).eps))

    def to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """Every vector is tangent."""
        return v

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """``x + v``, wrapped."""
        return self.project(x + v)

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """The shorter way round, ``(y - x)`` wrapped into ``[-period/2, period/2]``."""
        return self._wrap(y - x)

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Constant speed along the shorter way."""
        velocity = self._wrap(x1 - x0)
        return self.project(torch.addcmul(x0, expand(t, x0), velocity)), velocity

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """The flat inner product."""
        return (u * v).sum(-1) if self.point_ndim else u * v

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """Length of the shorter way."""
        way = self._wrap(y - x)
        return way.norm(dim=-1) if self.point_ndim else way.abs()

    def log_volume(self) -> float:
        """Sum of log periods."""
        values = [self.periods] if isinstance(self.periods, (int, float)) else self.periods
        return sum(math.log(p) for p in values)

    def violation(self, x: Tensor) -> Tensor:
        """Distance outside ``[0, period]``; infinite for coordinates that are not finite."""
        outside = torch.maximum(-x, x - self._period(x)).clamp_min(0)
        outside = torch.where(x.isfinite(), outside, torch.inf)
        return outside.flatten(1).amax(1) if x.ndim > 1 else outside

    def random(self, shape: Shape, draw: Draw = GLOBAL) -> Tensor:
        """Uniform points."""
        unit = draw.uniform(shape)
        return unit * self._period(unit)

    def __repr__(self) -> str:
        return f"FlatTorus(periods={self.periods})"
