"""Populations between snapshots along straight lines."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from flowloom.baselines import Baseline
from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError

__all__ = ["DisplacementInterpolation"]


class DisplacementInterpolation(Baseline):
    r"""Pairs members of neighbouring snapshots optimally, and takes each as far along its line as time tells.

    A row that begins at time a and is asked about at time s is answered by :math:`x_0 + (s - a) / (b - a)
    (x_1 - x_0)` of a random pair of the interval [a, b] (McCann 1997), of training members alone.

    Args:
        most: pairs of each interval; the assignment costs their cube.
    """

    def __init__(self, most: int = 1000) -> None:
        if most < 1:
            raise ValueError(f"most counts pairs from 1, got {most}")
        self.most = most
        self.pairs: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def fit(self, train: Dataset) -> None:
        """Pair the members of every interval."""
        rows = train.take(train.evenly(20_000))
        wanted = ("x0", "between", "interval")
        if any(name not in rows.cond for name in wanted) or not isinstance(rows.x, Tensor):
            raise IncompatibleError(
                f"displacement-interpolation joins snapshots, which have the conditions {', '.join(wanted)}; "
                f"there is: {', '.join(rows.cond) or 'none'}"
            )
        interval = rows.cond["interval"]
        for k in interval.unique().tolist():
            own = rows.take((interval == k).nonzero()[:, 0])
            # Evenly spread: members of a file may be sorted.
            own = own.take(own.evenly(self.most))
            assert isinstance(own.x, Tensor)
            x0, x1 = own.cond["x0"], own.x
            cost = torch.cdist(x0.double(), x1.double()).square().numpy()
            left, right = map(torch.from_numpy, linear_sum_assignment(cost))
            self.pairs[int(k)] = x0[left], x1[right], own.cond["between"][0]

    def __call__(self, asked: Examples, generator: torch.Generator) -> Examples:
        """A pair of its interval for every row, at its time."""
        assert isinstance(asked.x, Tensor)
        x = torch.empty_like(asked.x)
        for k in asked.cond["interval"].unique().tolist():
            rows = (asked.cond["interval"] == k).nonzero()[:, 0]
            x0, x1, (a, b) = self.pairs[int(k)]
            share = (asked.cond["between"][rows, 1:] - a) / (b - a)
            drawn = torch.randint(len(x0), (len(rows),), generator=generator)
            x[rows] = (x0[drawn] + share * (x1 - x0)[drawn]).to(x.dtype)
        return Examples(x, asked.cond, asked.layout)
