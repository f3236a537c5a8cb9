"""Scores of the samples of an energy on continuous spaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.draw import Draw
from flowloom.energies import Energy, GaussianMixture
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.geometry import Geometry
from flowloom.scores import Score


class SmoothedGap(Score):
    r"""Jensen-Shannon divergence of samples and target, smoothed alike (2301.12594, section 5.1), in nats.

    Densities are sums of :math:`e^{-|y - x| / h}` over samples and, weighted by R, over points spread
    evenly, at those same points. Nothing is drawn of the target.

    Args:
        energy: minus log R; injected from the recipe.
        points: spread over the space, which has to be bounded.
        width: h, the exponential kernel's.
    """

    of_data = False
    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"smoothed_jsd": "lower"}

    def __init__(self, energy: Energy, points: int = 2000, width: float = 0.1) -> None:
        if points < 2 or not width > 0:
            raise ValueError(f"give points from 2 and a positive width, got {points} and {width}")
        self.energy, self.points, self.width = energy, points, width

    def require(self, flow: Flow) -> None:
        """Ask for a bounded space of real states."""
        space = flow.geometry
        if not space.continuous or (space.straight and not space.convex):
            raise IncompatibleError(
                f"score smoothed-gap compares densities over a bounded space, and this one is {space}; "
                "give the recipe geometry box, torus or sphere"
            )

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """The divergence, at most log 2.

        Raises:
            ShapeError: there are no samples.
        """
        self.require(flow)
        if len(examples) == 0:
            raise ShapeError("score smoothed-gap: there is no sample to score")
        assert isinstance(examples.x, Tensor)
        x, draws = examples.x.double().cpu(), torch.Generator().manual_seed(seed)
        places = flow.geometry.random((self.points, *x.shape[1:]), Draw(draws, dtype=torch.float64))
        weights = (-self.energy(places, {})).softmax(0)
        drawn = self._smoothed(flow.geometry, places, x, torch.full((len(x),), 1 / len(x)).double())
        target = self._smoothed(flow.geometry, places, places, weights)
        middle = (drawn + target) / 2
        halves = [(p * (p / middle).log()).sum() for p in (drawn, target)]
        return {"smoothed_jsd": float(sum(halves)) / 2}

    def _smoothed(self, space: Geometry, places: Tensor, x: Tensor, weights: Tensor) -> Tensor:
        """Density at all places, normalised over them."""
        rows = []
        for some in places.split(256):
            left, right = (
                some.repeat_interleave(len(x), 0),
                x.repeat(len(some), *[1] * (x.ndim - 1)),
            )
            near = (-space.distance(left, right) / self.width).exp().reshape(len(some), len(x))
            rows.append(near @ weights)
        density = torch.cat(rows).clamp_min(1e-300)
        return density / density.sum()


class ModesFound(Score):
    """Share of the components of a Gaussian mixture that get at least a quarter of the samples due to them.

    A sample belongs to the nearest mean, if it is within ``radius`` standard deviations a dimension.

    Args:
        energy: a mixture of Gaussians; injected from the recipe.
        radius: in standard deviations.
    """

    of_data = False
    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"modes_found": "higher"}

    def __init__(self, energy: Energy, radius: float = 3.0) -> None:
        if not isinstance(energy, GaussianMixture):
            raise IncompatibleError(
                "score modes-found counts the components of energy gaussian-mixture, and this one is "
                f"{type(energy).__name__}"
            )
        self.mixture, self.radius = energy, radius

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """The share.

        Raises:
            ShapeError: there are no samples, or they are of another shape.
        """
        x, means = examples.x, self.mixture.means
        if len(examples) == 0 or not isinstance(x, Tensor) or x.shape[1:] != means.shape[1:]:
            raise ShapeError(f"score modes-found: there is no sample of {tuple(means.shape[1:])} to score")
        away, nearest = torch.cdist(x.double().cpu(), means).min(1)
        near = nearest[away <= self.radius * self.mixture.stds[nearest] * means.shape[1] ** 0.5]
        counts = near.bincount(minlength=len(means))
        found = counts >= 0.25 * self.mixture.weights * len(x)
        return {"modes_found": float(found.double().mean())}
