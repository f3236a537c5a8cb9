"""How far samples are from the data they were to be like."""

from __future__ import annotations

import math
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
        if not 0 <= within < math.inf:
            raise ValueError(f"within is a distance, got {within}")
        self.within, self.rows = within, rows
        self._train: Tensor | None = None

    def fit(self, train: Dataset) -> None:
        """Keep the training examples."""
        self._train = flatten(train.take(train.evenly(self.rows)))

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Both; real examples stand in for training ones where the metric was not fitted."""
        self.require_rows(samples, real)
        train = flatten(real) if self._train is None else self._train
        # Not by products, which far from the origin cost the digits.
        exact = "donot_use_mm_for_euclid_dist"
        apart = torch.cdist(flatten(samples).to(train.device).double(), train.double(), compute_mode=exact)
        nearest = apart.amin(1)
        failed = torch.where(nearest.isnan(), nearest, (nearest > self.within).double())
        return {
            "failure_rate": float(failed.mean()),
            "nearest_distance": float(nearest.mean()),
        }
