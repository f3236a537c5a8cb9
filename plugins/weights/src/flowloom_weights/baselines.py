"""What generated networks have to beat: the average network, and independent weights of the right moments."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.baselines import Baseline
from flowloom.data import Dataset, Examples
from flowloom_weights.codec import WeightVectors

__all__ = ["AverageNetwork", "IndependentWeights"]


class AverageNetwork(Baseline):
    """The mean of the training networks, the same for every row.

    Args:
        rebasin: whether hidden units are first put into one order; the mean of others is no network.
    """

    word = "average"

    def __init__(self, rebasin: bool = True) -> None:
        self.rebasin = rebasin
        self.name = self.word if rebasin else f"{self.word}, raw"
        self._codec: WeightVectors | None = None
        self.mean, self.std = torch.zeros(0), torch.zeros(0)

    def fit(self, train: Dataset) -> None:
        """Measure every weight."""
        codec = self._codec = WeightVectors(train.spec, rebasin=self.rebasin)
        codec.fit(train)
        weights = codec.encode(train.all()).x
        assert isinstance(weights, Tensor)
        self.mean, self.std = weights.mean(0), weights.std(0, correction=0)

    def __call__(self, asked: Examples, generator: torch.Generator) -> Examples:
        """As many networks as rows."""
        assert self._codec is not None
        return self._codec.decode(Examples(self.drawn(len(asked), generator), asked.cond))

    def drawn(self, n: int, generator: torch.Generator) -> Tensor:
        """Weights ``(n, weights)``."""
        return self.mean.expand(n, -1)


class IndependentWeights(AverageNetwork):
    """Every weight Gaussian by itself, with the mean and deviation that it has in training networks.

    Args:
        rebasin: whether hidden units are first put into one order.
    """

    word = "independent"

    def drawn(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws."""
        return self.mean + self.std * torch.randn(n, len(self.mean), generator=generator)
