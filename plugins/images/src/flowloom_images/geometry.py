"""The box of valid pixel values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.geometry import Euclidean
from flowloom.state import Shape


class UnitBox(Euclidean):
    """The box ``[low, high]^n`` with the flat metric; events of any shape, every entry one coordinate.

    Convex, so geodesics between its points are straight lines inside it, and ``exp`` and ``log`` are
    those of Euclidean space as long as they stay inside. ``exp`` does not clamp (that would bend
    straight lines and hide overshoot from a solver); ``project`` does.

    Args:
        low: lowest value of every entry.
        high: highest value of every entry.

    >>> UnitBox().project(torch.tensor([[-3.0, 0.5]]))
    tensor([[-1.0000,  0.5000]])
    """

    convex = True

    def __init__(self, low: float = -1.0, high: float = 1.0) -> None:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"a box needs finite low < high, got low {low} and high {high}")
        self.low, self.high = low, high

    def project(self, x: Tensor) -> Tensor:
        """The nearest point of the box: every entry clamped."""
        return x.clamp(self.low, self.high)

    def violation(self, x: Tensor) -> Tensor:
        """The largest overshoot of any entry, ``(batch,)``; NaN stays NaN."""
        over = (x - self.project(x)).abs()
        return over.flatten(1).amax(1) if over.ndim > 1 else over

    def random(
        self,
        shape: Shape,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Uniform points."""
        unit = torch.rand(shape, generator=generator, device=device, dtype=dtype)  # type: ignore[arg-type]
        return unit * (self.high - self.low) + self.low

    def log_volume(self) -> float:
        """Log of the length of one side."""
        return math.log(self.high - self.low)

    def __repr__(self) -> str:
        return f"UnitBox(low={self.low}, high={self.high})"
