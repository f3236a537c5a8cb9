"""How far samples are from the data they were to be like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.metrics import Metric
from flowloom.metrics.distances import flatten


class NearestData(Metric):
    """Distance of samples to their nearest training example, and the share of those farther than
    ``within``.

    Blind to missing modes and to copies: read it beside a distance between laws.

    Args:
        within: beyond it a sample has failed.
        rows: training rows to compare with, at most.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {
        "failure_rate": "lower",
        "nearest_distance": "lower",
    }

    def __init__(self, within: float = 0.08, rows: int = 5000) -> None:
        self.within, self.rows = within, rows
        self._train: Tensor | None = None

    def fit(self, train: Dataset) -> None:
        """Keep the training examples."""
        self._train = flatten(train.take(train.evenly(self.rows)))

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Both; real examples stand in for training ones where the metric was not fitted."""
        self.require_rows(samples, real)
        train = flatten(real) if self._train is None else self._train
        nearest = torch.cdist(flatten(samples).to(train), train).amin(1)
        return {
            "failure_rate": float((nearest > self.within).float().mean()),
            "nearest_distance": float(nearest.mean()),
        }
