"""As a season ago."""

from __future__ import annotations

import torch

from flowloom.baselines import Baseline
from flowloom.data import Examples
from flowloom_trajectories.baselines.told import context_of

__all__ = ["SeasonalNaive"]


class SeasonalNaive(Baseline):
    """The value of one period ago, over and over (Hyndman and Athanasopoulos 2021, section 5.2).

    Args:
        period: steps of a season, at most as many as are told; 1 repeats the last value.
        context: the condition ``(steps, channels)`` that ends right before the state.
    """

    def __init__(self, period: int = 24, context: str = "context") -> None:
        if period < 1:
            raise ValueError(f"period counts steps from 1, got {period}")
        self.period, self.context = period, context

    def __call__(self, asked: Examples, generator: torch.Generator) -> Examples:
        """The last season again."""
        told, x = context_of(asked, self.context, "seasonal-naive", self.period)
        season = told[:, -self.period :]
        again = season[:, torch.arange(x.shape[1]) % self.period]
        return Examples(again.to(x.dtype), asked.cond, asked.layout)
