"""What generated networks are worth: how well they do, how they differ, whether they are copies."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom_weights.codec import WeightVectors
from flowloom_weights.perceptron import logits
from flowloom_weights.zoo import NetworkZoo, problem_of

__all__ = ["NetworkQuality", "WeightNovelty", "networks_of", "require_zoo"]


def require_zoo(data: Dataset, who: str) -> NetworkZoo:
    """The data set as a zoo, which knows the problem of its networks.

    Raises:
        IncompatibleError: it is something else.
    """
    if not isinstance(data, NetworkZoo):
        raise IncompatibleError(f"{who} is of networks; use it with data: network-zoo")
    return data


def networks_of(examples: Examples) -> dict[str, Tensor]:
    """The tensors of networks by name."""
    if not isinstance(examples.x, dict):
        raise IncompatibleError("these examples are no networks")
    return {name: value for name, value in examples.x.items() if isinstance(value, Tensor)}


class NetworkQuality(Metric):
    """How well networks tell held-out rows of their problem, and how much they differ in what they say.

    * ``accuracy``: share of rows of the problem's ``test`` split that are told rightly, mean over networks;
    * ``worst_accuracy``: of the worst network;
    * ``disagreement``: share of rows that two networks tell differently, mean over all pairs.
    """

    better: ClassVar = {"accuracy": "higher", "worst_accuracy": "higher"}
    about: ClassVar = {
        "accuracy": "Share of held-out rows that a network tells rightly, mean over networks.",
        "worst_accuracy": "Share of held-out rows that the worst network tells rightly.",
    }

    def __init__(self) -> None:
        self._held: tuple[Tensor, Tensor] | None = None

    def fit(self, train: Dataset) -> None:
        """Read the held-out rows of the problem.

        Raises:
            IncompatibleError: the data are no zoo.
        """
        self._held = problem_of(require_zoo(train, "network-quality").problem.split("test"))

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """All three of the samples; real networks are not looked at."""
        self.require_rows(samples, real)
        if self._held is None:
            raise IncompatibleError("network-quality was not fitted, so that it knows no problem")
        x, label = self._held
        with torch.no_grad():
            told = logits(networks_of(samples), x).argmax(-1)
        right = (told == label).double().mean(1)
        n = len(told)
        votes = F.one_hot(told, int(told.max()) + 1).sum(0).double()
        alike = (votes * (votes - 1)).sum(1) / max(n * (n - 1), 1)
        return {
            "accuracy": float(right.mean()),
            "worst_accuracy": float(right.min()),
            "disagreement": float(1 - alike.mean()) if n > 1 else 0.0,
        }


class WeightNovelty(Metric):
    """Mean distance of networks to the nearest training network, over that of training networks.

    Of weights whose hidden units stand in the order of one reference, so that the same network in another
    order is a copy. About 1 for new networks of the same law, 0 for copies; networks far from everything
    exceed 1, so read it beside their accuracy.

    Args:
        rows: training networks to compare with, at most.
    """

    better: ClassVar = {"novelty": "higher"}

    def __init__(self, rows: int = 1000) -> None:
        self.rows = rows
        self._codec: WeightVectors | None = None
        self._train = torch.zeros(0)

    def fit(self, train: Dataset) -> None:
        """Keep the training networks."""
        codec = self._codec = WeightVectors(train.spec)
        codec.fit(train)
        self._train = codec.canonical(networks_of(train.take(train.evenly(self.rows))))

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``novelty``."""
        self.require_rows(samples, real)
        if self._codec is None:
            raise IncompatibleError("weight-novelty was not fitted, so that it knows no training networks")
        exact = "donot_use_mm_for_euclid_dist"  # copies are at 0, which products round
        train = self._train.double()
        own = self._codec.canonical(networks_of(samples)).double()
        near = torch.cdist(own, train, compute_mode=exact).min(1).values.mean()
        # The nearest of a training network is itself, and what is at 0 as well is a copy of it.
        apart = torch.cdist(train, train, compute_mode=exact)
        usual = apart.masked_fill(apart == 0, torch.inf).amin(1).mean()
        return {"novelty": float(near / usual) if bool(usual.isfinite()) else float("nan")}
