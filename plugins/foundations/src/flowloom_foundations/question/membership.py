"""Whether a density tells training examples from held-out ones."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom.metrics.distances import flatten

__all__ = ["Membership"]


class Membership(Metric):
    """How well the distance to the nearest sample tells training examples from held-out ones.

    The attack of who has samples alone: an example to which a sample is near was in the training data. 0.5 is
    what guessing has, 1 what a generator that replays its training data is found out by; for samples of real
    data other than both it is 0.5.

    Args:
        rows: training examples, at most, and as many held-out ones.
    """

    better: ClassVar = {"membership_auc": "lower"}
    about: ClassVar = {
        "membership_auc": "Share of pairs of a training and a held-out example of which the former is nearer "
        "to a sample."
    }

    def __init__(self, rows: int = 2000) -> None:
        self.rows = rows
        self._train: Tensor | None = None

    def fit(self, train: Dataset) -> None:
        """Keep training examples."""
        self._train = flatten(train.take(train.evenly(self.rows)))

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``membership_auc``; NaN where a value is not finite.

        Raises:
            IncompatibleError: it was not fitted.
        """
        self.require_rows(samples, real)
        if self._train is None:
            raise IncompatibleError("membership was not fitted, so that it knows no training examples")
        made, held_out = flatten(samples).double(), flatten(real)[real.evenly(self.rows)]
        if not all(bool(rows.isfinite().all()) for rows in (made, self._train, held_out)):
            return {"membership_auc": math.nan}
        exact = "donot_use_mm_for_euclid_dist"
        seen, held = (
            torch.cdist(some.double(), made, compute_mode=exact).min(1).values
            for some in (self._train, held_out)
        )
        order = held.sort().values
        below = torch.searchsorted(order, seen, right=False)
        upto = torch.searchsorted(order, seen, right=True)
        return {"membership_auc": float(1 - (below + upto).double().mean() / (2 * len(held)))}
