"""Training a bijection as an energy, without the determinants that do not depend on the state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from flowloom.draw import Draw
from flowloom.models.attention import differentiable_twice
from flowloom.objectives import Batch, Loss, Step
from flowloom.paths import Path
from flowloom.state import expand, sum_event
from flowloom_likelihood.field import BijectionField
from flowloom_likelihood.objective import ExactLikelihood

Energy = Callable[[Tensor], Tensor]
"""Energies ``(batch,)`` of states."""


def score(energy: Energy, x: Tensor) -> Tensor:
    """``-grad E`` at ``x``, which must want a gradient; in its shape, with a graph of its own."""
    (slope,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
    return -slope


class EnergyMatching(ExactLikelihood):
    r"""A bijection trained by its energy, and normalised only when it is asked for a density.

    .. math:: p(x) = e^{-E(x)} / Z, \quad
              E(x) = -\log p_Z(f(x)) - \sum_{\mathrm{nonlinear}} \log|\det J_i(x)|, \quad
              \log Z = -\sum_{\mathrm{linear}} \log|\det W_l|

    (Chao et al., "EBFlow", 2305.15267, equation 6). Scores are matched in the space of the states: on images
    let a codec with ``logit`` stand before it ("match after preprocessing"). Any bijection can be trained so;
    layers that tell a constant determinant (`Bijection.unnormalised`) are spared it.

    Args:
        path: of the recipe.
        energy_weight: lambda, of the mean energy, which is added to the loss (appendix A2.2).
    """

    def __init__(self, path: Path, energy_weight: float = 0.0) -> None:
        super().__init__(path)
        self.energy_weight = energy_weight

    @abstractmethod
    def rows(self, energy: Energy, x: Tensor, draw: Draw) -> Tensor:
        """The loss of every row, summed over its entries, ``(batch,)``."""

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Match; the loss is that of an entry."""
        x = batch.x1
        assert isinstance(x, Tensor)
        field = BijectionField(model)

        def energy(states: Tensor) -> Tensor:
            return field.energy(states, batch.cond)

        with torch.enable_grad(), differentiable_twice():  # a score is a gradient, in evaluation too
            rows = self.rows(energy, x, Draw.like(x, step.generator))
            if self.energy_weight:
                rows = rows + self.energy_weight * energy(x)
        return Loss(rows.mean() / x[0].numel())


class DenoisingScoreMatching(EnergyMatching):
    r"""The score of states with noise added (Vincent 2011; 2305.15267, equation 10).

    .. math:: \tfrac12 \| s(x + \sigma\epsilon) + \epsilon / \sigma \|^2

    It fits the density of the noisy states, so that a likelihood of clean ones is off by as much.

    Args:
        path: of the recipe.
        sigma: deviation of the noise.
        energy_weight: see `EnergyMatching`.
    """

    compiles = False

    def __init__(self, path: Path, sigma: float = 1.0, energy_weight: float = 0.0) -> None:
        super().__init__(path, energy_weight)
        if sigma <= 0:
            raise ValueError(f"sigma must be positive, got {sigma}")
        self.sigma = sigma

    def rows(self, energy: Energy, x: Tensor, draw: Draw) -> Tensor:
        """Compare with the score of the noise."""
        noise = draw.normal(x.shape)
        noisy = (x + self.sigma * noise).requires_grad_()
        return 0.5 * sum_event((score(energy, noisy) + noise / self.sigma).square())


class SlicedScoreMatching(EnergyMatching):
    r"""The score by its divergence along one random direction (1905.07088; 2305.15267, equation 9).

    .. math:: \tfrac12 \| s(x) \|^2 + v^\top \nabla_x (v^\top s(x)), \qquad v \in \{-1, 1\}^D

    Activations without second derivative (ReLU) have no divergence to match.
    """

    compiles = False

    def rows(self, energy: Energy, x: Tensor, draw: Draw) -> Tensor:
        """Two derivatives."""
        x = x.detach().requires_grad_()
        v = (draw.uniform(x.shape) < 0.5).to(x) * 2 - 1
        s = score(energy, x)
        (slope,) = torch.autograd.grad((v * s).sum(), x, create_graph=True)
        return 0.5 * sum_event(s.square()) + sum_event(v * slope)


class FiniteDifferenceScoreMatching(EnergyMatching):
    r"""Sliced score matching by three energies and no derivative (2007.03317; 2305.15267, equation 11).

    .. math:: \frac{D}{\xi^2}\Big[\tfrac18\big(E(x + v) - E(x - v)\big)^2 - E(x + v) - E(x - v) + 2 E(x)\Big],
              \qquad \|v\| = \xi

    Args:
        path: of the recipe.
        size: xi, the length of v.
        energy_weight: see `EnergyMatching`.
    """

    def __init__(self, path: Path, size: float = 0.1, energy_weight: float = 0.0) -> None:
        super().__init__(path, energy_weight)
        if size <= 0:
            raise ValueError(f"size must be positive, got {size}")
        self.size = size

    def rows(self, energy: Energy, x: Tensor, draw: Draw) -> Tensor:
        """Three energies."""
        v = draw.normal(x.shape)
        v = v * expand(self.size * sum_event(v.square()).rsqrt(), v)
        here, ahead, behind = energy(x), energy(x + v), energy(x - v)
        rows = (ahead - behind).square() / 8 - ahead - behind + 2 * here
        return rows * (x[0].numel() / self.size**2)


class SampledLikelihood(EnergyMatching):
    r"""Maximum likelihood that feels its normalising constant by samples of the flow (2305.15267, SML).

    .. math:: E(x) - E(\hat x), \qquad \hat x = f^{-1}(z)

    whose gradient is that of the negative log likelihood; samples cost an inverse of every layer.
    """

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Data down, samples up."""
        x = batch.x1
        assert isinstance(x, Tensor)
        field = BijectionField(model)
        with torch.no_grad():
            drawn = field.bijection.inverse(Draw.like(x, step.generator).normal(x.shape), batch.cond)
        # The weighted energy of all other losses here counts in this one, too.
        rows = (1 + self.energy_weight) * field.energy(x, batch.cond) - field.energy(drawn, batch.cond)
        return Loss(rows.mean() / x[0].numel())

    def rows(self, energy: Energy, x: Tensor, draw: Draw) -> Tensor:
        """Energies of data alone; samples are drawn in `loss`."""
        return energy(x)
