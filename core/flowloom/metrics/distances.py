"""Distances between point clouds that need no features: energy distance and sliced Wasserstein."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data.base import Examples
from flowloom.errors import ShapeError
from flowloom.metrics.base import Metric
from flowloom.state import State, leaves


def flatten(examples: Examples) -> Tensor:
    """All parts of the states side by side, padding 0: ``(n, features)``, in single precision or better."""
    x: State = examples.x if examples.layout is None else examples.layout.zero(examples.x)
    return torch.cat([_fine(leaf.flatten(1)) for _, leaf in leaves(x)], 1)


def _fine(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def energy_distance(x: Tensor, y: Tensor, chunk: int = 2048) -> float:
    r"""Energy distance :math:`2E|X-Y| - E|X-X'| - E|Y-Y'|` with unbiased within-sample means.

    Székely and Rizzo, "Energy statistics" (2013). Zero in expectation for equal laws, so an estimate may
    be slightly negative.

    Args:
        x: points ``(n, d)``, ``n >= 2``.
        y: points ``(m, d)``, ``m >= 2``.
        chunk: rows of the distance matrix held at a time.
    """
    if len(x) < 2 or len(y) < 2:
        raise ShapeError(f"energy distance needs at least 2 points a side, got {len(x)} and {len(y)}")

    # Distances are made of products, which far from the origin, or between far clusters, cost the digits.
    x, y = x.double(), y.double()
    centre = y.mean(0)
    x, y = x - centre, y - centre

    def total(a: Tensor, b: Tensor) -> float:
        return math.fsum(float(torch.cdist(rows, b).sum()) for rows in a.split(chunk))

    n, m = len(x), len(y)
    between = 2 * total(x, y) / (n * m)
    return between - total(x, x) / (n * (n - 1)) - total(y, y) / (m * (m - 1))


def sliced_wasserstein(x: Tensor, y: Tensor, projections: int = 128, seed: int = 0) -> float:
    r"""Sliced 2-Wasserstein distance: root mean square over random directions of the 1-D distance.

    Bonneel et al. (2015). In one dimension the distance is that of the quantile functions, which are steps:
    it is exact for any two sizes.

    Args:
        x: points ``(n, d)``.
        y: points ``(m, d)``.
        projections: number of directions.
        seed: of the directions, fixed so that values can be compared.
    """
    generator = torch.Generator().manual_seed(seed)
    x, y = x.to(torch.promote_types(x.dtype, y.dtype)), y.to(torch.promote_types(x.dtype, y.dtype))
    directions = torch.randn(x.shape[1], projections, generator=generator).to(x.device, x.dtype)
    directions = directions / directions.norm(dim=0, keepdim=True)
    # About their middle: far from the origin the differences would be lost in the projections.
    centre = y.mean(0)
    a, b = (((z - centre) @ directions).sort(0).values for z in (x, y))
    n, m = len(a), len(b)
    if n == m:
        return float((a - b).square().mean().sqrt())
    # Both functions are constant between neighbouring multiples of 1/n and 1/m, here in units of 1/(n m).
    steps = torch.cat([torch.arange(n + 1) * m, torch.arange(m + 1) * n]).unique().to(x.device)
    widths = steps.diff().to(x.dtype) / (n * m)
    squares = (a[steps[:-1] // m] - b[steps[:-1] // n]).square()
    return float((widths[:, None] * squares).sum(0).mean().sqrt())


class EnergyDistance(Metric):
    """Energy distance of flattened states to the real ones (see `energy_distance`)."""

    better: ClassVar = {"energy_distance": "lower"}
    about: ClassVar = {
        "energy_distance": "How much farther samples are from real examples than either are among "
        "themselves, on average; 0 for equal laws, and an estimate of so little may fall below it."
    }

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare samples with real examples."""
        return {"energy_distance": energy_distance(flatten(samples), flatten(real))}


class SlicedWasserstein(Metric):
    """Sliced 2-Wasserstein distance of flattened states to the real ones.

    Args:
        projections: number of random directions.
        seed: of the directions.
    """

    better: ClassVar = {"sliced_wasserstein": "lower"}
    about: ClassVar = {
        "sliced_wasserstein": "How far the points of one set must be moved to become the other, along "
        "random directions."
    }

    def __init__(self, projections: int = 128, seed: int = 0) -> None:
        if projections < 1:
            raise ValueError(f"projections must be at least 1, got {projections}")
        self.projections, self.seed = projections, seed

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare samples with real examples."""
        self.require_rows(samples, real)
        value = sliced_wasserstein(flatten(samples), flatten(real), self.projections, self.seed)
        return {"sliced_wasserstein": value}
