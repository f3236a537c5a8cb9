r"""The flow of a Gaussian mixture, closed in every quantity.

For data :math:`\sum_k w_k N(\mu_k, s_k^2 I)`, a source :math:`N(0, s_0^2 I)` and an affine path,
component k of :math:`x_t` is :math:`N(\alpha\mu_k, c_k I)` with
:math:`c_k = \alpha^2 s_k^2 + \sigma^2 s_0^2`, and

.. math::
    E[x_1|x] = \sum_k r_k \Big(\mu_k + \tfrac{\alpha s_k^2}{c_k}(x - \alpha\mu_k)\Big), \quad
    E[x_0|x] = \sum_k r_k \tfrac{\sigma s_0^2}{c_k}(x - \alpha\mu_k), \quad
    \nabla\log p_t = -\sum_k r_k \tfrac{x - \alpha\mu_k}{c_k},

with responsibilities :math:`r_k`, and the velocity :math:`\dot\alpha E[x_1|x] + \dot\sigma E[x_0|x]`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowloom.fields import Field
from flowloom.geometry import Euclidean
from flowloom.paths import AffinePath
from flowloom.schedules import CondOT, Schedule
from flowloom.sources import Gaussian
from flowloom.state import Cond, State


class GaussianMixture:
    """A mixture of isotropic Gaussians, float64.

    Args:
        means: ``(k, d)``.
        stds: ``(k,)``.
        weights: ``(k,)``, positive; normalised here.
    """

    def __init__(
        self, means: Tensor | None = None, stds: Tensor | None = None, weights: Tensor | None = None
    ) -> None:
        default = torch.tensor([[1.5, 0.5], [-1.0, 1.0], [0.0, -1.5]], dtype=torch.float64)
        self.means = default if means is None else means.double()
        k = len(self.means)
        self.stds = torch.linspace(0.3, 0.6, k, dtype=torch.float64) if stds is None else stds.double()
        raw = torch.arange(1, k + 1, dtype=torch.float64) if weights is None else weights.double()
        self.weights = raw / raw.sum()

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``n`` points ``(n, d)`` and the component of each."""
        label = torch.multinomial(self.weights, n, True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], generator=generator, dtype=torch.float64)
        return self.means[label] + self.stds[label, None] * noise, label

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of every row."""
        return self.marginal(x, torch.ones(()), torch.zeros(()), 1.0)[0].logsumexp(1)

    def marginal(
        self, x: Tensor, alpha: Tensor, sigma: Tensor, source_std: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log joint of point and component ``(n, k)``, variances ``(n, k)``, offsets ``(n, k, d)``."""
        alpha, sigma = (v.double().reshape(-1, 1).expand(len(x), 1) for v in (alpha, sigma))
        variance = alpha.square() * self.stds.square() + (sigma * source_std).square()
        offset = x.double()[:, None] - alpha[..., None] * self.means
        d = x.shape[1]
        log = -0.5 * offset.square().sum(-1) / variance - 0.5 * d * (2 * math.pi * variance).log()
        return log + self.weights.log(), variance, offset


class MixtureField(Field):
    """The flow of a Gaussian mixture as a field of any affine kind.

    A condition ``label`` confines it to one component, unless withheld by ``null``; without it the whole
    mixture is meant.

    Args:
        mixture: the data.
        schedule: of the affine path.
        kind: velocity, data, noise or score.
        source_std: of the Gaussian source.
    """

    def __init__(
        self,
        mixture: GaussianMixture | None = None,
        schedule: Schedule | None = None,
        kind: str = "velocity",
        source_std: float = 1.0,
    ) -> None:
        self.mixture, self.kind = mixture or GaussianMixture(), kind
        self.std, self.source = source_std, Gaussian(source_std)
        self.schedule = schedule or CondOT()
        self.path, self.geometry = AffinePath(self.schedule), Euclidean()

    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """Evaluate the closed form, in float64 inside and the dtype of ``x`` outside."""
        assert isinstance(x, Tensor)
        time = t.double()
        alpha, sigma = self.schedule.alpha(time), self.schedule.sigma(time)
        std = self.std
        log, variance, offset = self.mixture.marginal(x, alpha, sigma, std)
        r = self._confined(log, cond).softmax(1)
        pull = (r / variance)[..., None] * offset  # (n, k, d)
        alpha, sigma = alpha.reshape(-1, 1), sigma.reshape(-1, 1)
        if self.kind == "score":
            return -pull.sum(1).to(x.dtype)
        noise = sigma * std**2 * pull.sum(1)
        if self.kind == "noise":
            return noise.to(x.dtype)
        spread = (self.mixture.stds.square()[:, None] * pull).sum(1)
        data = r @ self.mixture.means + alpha * spread
        if self.kind == "data":
            return data.to(x.dtype)
        da, ds = self.schedule.d_alpha(time).reshape(-1, 1), self.schedule.d_sigma(time).reshape(-1, 1)
        return (da * data + ds * noise).to(x.dtype)

    def log_density(self, x: Tensor, t: float) -> Tensor:
        """Log density of the marginal at time ``t``."""
        time = torch.tensor(t, dtype=torch.float64)
        alpha, sigma = self.schedule.alpha(time), self.schedule.sigma(time)
        return self.mixture.marginal(x, alpha, sigma, self.std)[0].logsumexp(1)

    def _confined(self, log: Tensor, cond: Cond) -> Tensor:
        label = cond.get("label")
        if label is None:
            return log
        own = torch.nn.functional.one_hot(label, log.shape[1]).bool()
        null = cond.get("null", torch.zeros(len(log), dtype=torch.bool))
        return log.masked_fill(~(own | null[:, None]), -math.inf)
