"""How far the members of one set are from those of another."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from scipy.optimize import linear_sum_assignment

from flowloom.data import Examples
from flowloom.metrics import Metric
from flowloom.metrics.distances import flatten

__all__ = ["Wasserstein1"]


class Wasserstein1(Metric):
    """Exact 1-Wasserstein distance (earth mover's) of flattened states, in units of the data.

    It is what leave-one-out studies of cells report. Sets of unequal size are repeated to a common multiple
    where that is no more than ``most``; else the larger is thinned evenly to the smaller.

    Args:
        most: rows of each, thinned evenly; the assignment costs their cube.
    """

    better: ClassVar = {"wasserstein_1": "lower"}

    def __init__(self, most: int = 1000) -> None:
        if most < 1:
            raise ValueError(f"most must be at least 1, got {most}")
        self.most = most

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Mean distance of the best pairing."""
        self.require_rows(samples, real)
        common = math.lcm(len(samples), len(real))
        count = common if common <= self.most else min(len(samples), len(real), self.most)
        x, y = (flatten(rows)[torch.arange(count) * len(rows) // count].double() for rows in (samples, real))
        cost = torch.cdist(x - y.mean(0), y - y.mean(0)).numpy()
        rows, columns = linear_sum_assignment(cost)
        return {"wasserstein_1": float(cost[rows, columns].mean())}
