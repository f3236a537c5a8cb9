"""Whether samples are copies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.metrics import Metric
from flowloom.metrics.distances import flatten


class Novelty(Metric):
    """Mean distance of samples to their nearest training example, over that of training examples to each
    other.

    About 1 for new data of the same law, 0 for copies. Samples that are far from everything exceed 1, so
    read it beside a distance between laws. A training example's copies are not its nearest ones.

    Args:
        rows: training rows to compare with, at most.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"novelty": "higher"}

    def __init__(self, rows: int = 5000) -> None:
        self.rows = rows
        self._train: Tensor | None = None

    def fit(self, train: Dataset) -> None:
        """Keep the training examples."""
        self._train = flatten(train.take(train.evenly(self.rows)))

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``novelty``; real examples stand in for training ones where the metric was not fitted."""
        self.require_rows(samples, real)
        train = flatten(real) if self._train is None else self._train
        exact = "donot_use_mm_for_euclid_dist"  # copies are at 0, which products round
        near = torch.cdist(flatten(samples).to(train), train, compute_mode=exact).min(1).values.mean()
        # The nearest of a training example is itself, and what is at 0 as well is a copy of it.
        apart = torch.cdist(train, train, compute_mode=exact)
        usual = apart.masked_fill(apart == 0, torch.inf).amin(1).mean()
        return {"novelty": float(near / usual) if bool(usual.isfinite()) else float("nan")}
