"""The box: an interval for every coordinate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.geometry.euclidean import Euclidean


class Box(Euclidean):
    """``low <= x <= high`` with the flat metric, for every entry or for each entry of the last dimension.

    Convex, so geodesics are straight lines inside. ``exp`` does not clamp; ``project`` does.

    Args:
        low: lowest value, one for all entries or one for each of the last dimension.
        high: highest value, likewise.

    >>> Box(low=0.0, high=[1.0, 2.0]).project(torch.tensor([[3.0, 3.0]]))
    tensor([[1., 2.]])
    """

    convex = True
    defaults: ClassVar[Mapping[str, str]] = {"source": "uniform", "path": "affine"}

    def __init__(self, low: float | Sequence[float] = -1.0, high: float | Sequence[float] = 1.0) -> None:
        single = isinstance(low, (int, float)) and isinstance(high, (int, float))
        lows = [float(low)] if isinstance(low, (int, float)) else [float(v) for v in low]
        highs = [float(high)] if isinstance(high, (int, float)) else [float(v) for v in high]
        size = max(len(lows), len(highs))
        lows = lows * size if len(lows) == 1 else lows
        highs = highs * size if len(highs) == 1 else highs
        if len(lows) != len(highs):
            raise ValueError(f"low has {len(lows)} entries and high {len(highs)}")
        if not all(math.isfinite(a) and math.isfinite(b) and a < b for a, b in zip(lows, highs, strict=True)):
            raise ValueError(f"a box needs finite low < high in every entry, got low {low} and high {high}")
        self.low, self.high = lows, highs
        # Far from 0 single precision tells no smaller steps apart.
        far = max(abs(v) for v in (*lows, *highs))
        self.extent = max(*(b - a for a, b in zip(lows, highs, strict=True)), 1e-3 * far)
        if not single:
            self.point_ndim = 1
            self.dim = len(lows)
            self.point_shape = (len(lows),)

    def project(self, x: Tensor) -> Tensor:
        """The nearest point: every entry clamped."""
        low, high = self.limits(x)
        return torch.minimum(torch.maximum(x, low), high)

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """The flat inner product."""
        return (u * v).sum(-1) if self.point_ndim else u * v

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """The Euclidean distance."""
        return (y - x).norm(dim=-1) if self.point_ndim else (y - x).abs()

    def violation(self, x: Tensor) -> Tensor:
        """The largest overshoot of any entry; NaN stays NaN."""
        over = (x - self.project(x)).abs()
        return over.flatten(1).amax(1) if over.ndim > 1 else over

    def log_volume(self) -> float:
        """Sum of the logs of the sides."""
        return math.fsum(math.log(b - a) for a, b in zip(self.low, self.high, strict=True))

    def random(self, shape: Any, draw: Draw = GLOBAL) -> Tensor:
        """Uniform points."""
        unit = draw.uniform(shape)
        low, high = self.limits(unit)
        return low + unit * (high - low)

    def limits(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """The lowest and the highest coordinates, with the dtype and device of ``like``."""
        low = torch.tensor(self.low, device=like.device, dtype=like.dtype)
        high = torch.tensor(self.high, device=like.device, dtype=like.dtype)
        return low, high

    def __repr__(self) -> str:
        if not self.point_ndim:
            return f"Box(low={self.low[0]:g}, high={self.high[0]:g})"
        return f"Box(low={self.low}, high={self.high})"
