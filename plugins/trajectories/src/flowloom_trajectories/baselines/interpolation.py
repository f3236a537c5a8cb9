"""Straight lines between what is given."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.baselines import Baseline
from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError

__all__ = ["LinearInterpolation"]


class LinearInterpolation(Baseline):
    """Channel by channel, straight lines between given steps; beyond the first and last, their value.

    A channel of which nothing is given has its training mean.
    """

    def __init__(self) -> None:
        self.mean: Tensor | None = None

    def fit(self, train: Dataset) -> None:
        """Remember the mean of every channel."""
        some = train.take(torch.arange(0, len(train), max(1, len(train) // 2000))).laid_out(train.spec)
        x = some.x
        if not isinstance(x, Tensor) or x.ndim != 3:
            raise IncompatibleError("linear-interpolation fills states (steps, channels)")
        real = _wide(None if some.layout is None else some.layout.real, x, fill=True)
        self.mean = torch.where(real, x, 0.0).sum((0, 1)) / real.sum((0, 1)).clamp_min(1)

    def __call__(self, asked: Examples, generator: torch.Generator) -> Examples:
        """Lines through what is given."""
        layout, x = asked.layout, asked.x
        if not isinstance(x, Tensor) or layout is None or layout.given is None or layout.values is None:
            raise IncompatibleError("linear-interpolation fills between given steps, and nothing is given")
        given = _wide(layout.given, x, fill=False)
        values, n = layout.values.to(x.dtype), x.shape[1]
        place = torch.arange(n)[:, None].expand(x.shape)
        before = torch.where(given, place, -1).cummax(1).values
        after = torch.where(given, place, n).flip(1).cummin(1).values.flip(1)
        low = torch.where(before < 0, after, before).clamp(0, n - 1)
        high = torch.where(after >= n, before, after).clamp(0, n - 1)
        share = (place - low) / (high - low).clamp_min(1)
        lines = values.gather(1, low) * (1 - share) + values.gather(1, high) * share
        mean = torch.zeros(x.shape[-1]) if self.mean is None else self.mean
        filled = torch.where(given.any(1, keepdim=True), lines, mean.to(x.dtype))
        return Examples(torch.where(given, values, filled), asked.cond, layout)


def _wide(marks: Tensor | None, x: Tensor, fill: bool) -> Tensor:
    if marks is None:
        return torch.full_like(x, fill, dtype=torch.bool)
    return marks.reshape(marks.shape + (1,) * (x.ndim - marks.ndim)).expand(x.shape)
