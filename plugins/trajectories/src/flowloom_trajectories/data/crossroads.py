"""A junction: the same past, and several futures whose shares are known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.data import Drawn, Examples
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec

__all__ = ["Crossroads"]


class Crossroads(Drawn):
    r"""Agents come to a junction of four roads and go left, straight on or right.

    Steps last 0.4 s. Speeds are log-normal about 1.3 m/s (deviation 15 %); an agent is seen walking straight
    towards the middle and has 1 to 2 m left; it then turns by an arc of radius 1 to 2 m, whichever way. The
    choice is not told by the past, so that a forecast has to have three modes of the known ``shares``.
    Positions are seen with noise of 2 cm.

    States are positions ``(predicted, 2)`` in metres about the last observed one; ``past`` is ``(observed,
    2)``.

    Args:
        n: examples in every split.
        seed: of the draws.
        observed: steps of the past.
        predicted: steps of the future.
        shares: probability of left, straight on and right.
    """

    def __init__(
        self,
        n: int = 10_000,
        seed: int = 0,
        observed: int = 8,
        predicted: int = 12,
        shares: tuple[float, float, float] = (0.3, 0.5, 0.2),
    ) -> None:
        if observed < 2 or predicted < 1:
            raise DataError(f"observed is at least 2 and predicted at least 1, got {observed}, {predicted}")
        if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise DataError(f"shares are three probabilities that sum to 1, got {tuple(shares)}")
        super().__init__(n, seed)
        self.observed, self.predicted, self.shares = observed, predicted, tuple(shares)

    @property
    def spec(self) -> Spec:
        """Futures with their past."""
        return Spec((self.predicted, 2), conditions={"past": Condition(shape=(self.observed, 2))})

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Walks of random agents."""

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(n, 1, generator=generator)

        way = torch.multinomial(torch.tensor(self.shares), n, replacement=True, generator=generator)
        speed = 1.3 * (0.15 * torch.randn(n, 1, generator=generator)).exp()
        before, radius = uniform(1.0, 2.0), uniform(1.0, 2.0)
        steps = torch.arange(1 - self.observed, self.predicted + 1)
        along = 0.4 * speed * steps
        # Length of the arc that is walked; a quarter of a circle turns by 90 degrees.
        turned = ((along - before) / radius).clamp(0, math.pi / 2)
        beyond = (along - before - radius * math.pi / 2).clamp_min(0)
        forward = torch.minimum(along, before) + radius * turned.sin()
        aside = radius * (1 - turned.cos()) + beyond
        straight = (way == 1)[:, None]
        side = (1 - way)[:, None]  # left is positive
        x = torch.where(straight, along, forward)
        y = torch.where(straight, torch.zeros_like(aside), side * aside)
        road = torch.randint(4, (n, 1), generator=generator) * (math.pi / 2)
        xy = torch.stack([x * road.cos() - y * road.sin(), x * road.sin() + y * road.cos()], -1)
        xy = xy + 0.02 * torch.randn(xy.shape, generator=generator)
        xy = xy - xy[:, self.observed - 1 : self.observed]
        return Examples(xy[:, self.observed :], {"past": xy[:, : self.observed]})
