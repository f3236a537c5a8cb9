"""Distances between sets of points of a curved space."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.geometry import Geometry
from flowloom.metrics import Metric
from flowloom.state import expand


class GeodesicMMD(Metric):
    r"""Maximum mean discrepancy with the kernel :math:`\exp(-d^2/2w^2)` of geodesic distances d.

    The root of the unbiased estimate of its square (Gretton et al. 2012, lemma 6), 0 where that is negative.
    Points off the space are projected to it first, so that a flow of the space around it can stand beside.
    Padding of both sets is one point, the first real one.

    Args:
        width: w.
        geometry: whose distances they are; in a recipe, the recipe's.
    """

    better: ClassVar = {"mmd": "lower"}
    about: ClassVar = {"mmd": "Maximum mean discrepancy by geodesic distances; 0 for equal laws."}

    def __init__(self, width: float = 0.5, geometry: Geometry | None = None) -> None:
        if not width > 0:
            raise ValueError(f"width must be positive, got {width}")
        self.width, self.geometry = width, geometry

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare samples with real points, both ``(n, ...)`` of one tensor.

        Raises:
            IncompatibleError: states have parts, or no geometry is known.
            ShapeError: one set has fewer than 2 rows, which have no pairs.
        """
        if min(len(samples), len(real)) < 2:
            raise ShapeError(
                f"geodesic-mmd needs at least 2 rows a side, got {len(samples)} samples and {len(real)}"
            )
        x, y, space = samples.x, real.x, self.geometry
        if space is None or not (isinstance(x, Tensor) and isinstance(y, Tensor)):
            raise IncompatibleError("geodesic-mmd compares points of one geometry, and no product of several")
        x, y = (space.project(_filled(points, real)) for points in (samples, real))
        inside = sum(self._within(part) for part in (x, y))
        return {"mmd": math.sqrt(max(0.0, inside - 2 * float(self._kernel(x, y).mean())))}

    def _within(self, x: Tensor) -> float:
        """Mean over pairs of different points."""
        k, n = self._kernel(x, x), len(x)
        return float((k.sum() - k.trace()) / (n * (n - 1)))

    def _kernel(self, x: Tensor, y: Tensor) -> Tensor:
        assert self.geometry is not None
        rows = [self.geometry.distance(row.expand_as(y), y) for row in x]
        return torch.exp(-torch.stack(rows).square() / (2 * self.width**2)).double()


def _filled(examples: Examples, like: Examples) -> Tensor:
    """States with a point of ``like`` in padding: the same for all, which is no distance from itself."""
    x, truth = examples.x, like.x
    assert isinstance(x, Tensor)
    assert isinstance(truth, Tensor)
    own, theirs = (None if one.layout is None else one.layout.real for one in (examples, like))
    if own is None:
        return x.cpu()
    points = truth.flatten(0, own.ndim - 1) if theirs is None else truth[theirs]
    return torch.where(expand(own, x), x, points[0].to(x)).cpu()
