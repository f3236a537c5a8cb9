"""How alike two populations are, through kernels of several widths."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import ShapeError
from flowloom.metrics import Metric
from flowloom.metrics.distances import flatten

__all__ = ["MMD"]


class MMD(Metric):
    r"""Maximum mean discrepancy of flattened states (Gretton et al. 2012), 0 for equal laws.

    .. math:: \sqrt{\max(0,\,E\,k(x, x') + E\,k(y, y') - 2 E\,k(x, y))}

    without the pairs of a row with itself. k is the mean of Gaussians :math:`e^{-d^2 / 2 (w m)^2}` over
    ``widths`` w, m the median distance between real rows; where that is 0, as most of
    them are alike, the mean of the others.

    Args:
        widths: as multiples of m.
        most: rows of each, thinned evenly.
    """

    better: ClassVar = {"mmd": "lower"}
    about: ClassVar = {"mmd": "maximum mean discrepancy with Gaussian kernels of several widths"}

    def __init__(self, widths: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0), most: int = 1000) -> None:
        if not widths or min(widths) <= 0 or most < 2:
            raise ValueError(f"widths are positive and most at least 2, got {widths} and {most}")
        self.widths, self.most = tuple(widths), most

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare two sets.

        Raises:
            ShapeError: one of them has fewer than 2 rows, which have no pairs.
        """
        if min(len(samples), len(real)) < 2:
            raise ShapeError(f"mmd needs at least 2 rows a side, got {len(samples)} and {len(real)}")
        x, y = (_thinned(flatten(rows).double(), self.most) for rows in (samples, real))
        # Distances far from 0 lose their digits.
        middle = y.mean(0)
        x, y = x - middle, y - middle
        between = torch.pdist(y)
        scale = float(between.median())
        if scale == 0 and bool((between > 0).any()):
            scale = float(between[between > 0].mean())
        scale = scale or 1.0

        def kernel(distance: Tensor) -> Tensor:
            square = (distance / scale).square() / 2
            return torch.stack([(-square / w**2).exp() for w in self.widths]).mean(0)

        def within(some: Tensor) -> float:
            return float(kernel(torch.pdist(some)).mean())

        square = within(x) + within(y) - 2 * float(kernel(torch.cdist(x, y)).mean())
        return {"mmd": math.sqrt(max(0.0, square))}


def _thinned(x: Tensor, most: int) -> Tensor:
    count = min(len(x), most)
    return x[torch.arange(count) * len(x) // count]
