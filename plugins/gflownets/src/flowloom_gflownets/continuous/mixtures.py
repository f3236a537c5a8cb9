"""Mixtures of densities whose parameters a network says."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.draw import Draw
from flowloom_gflownets.choice import one_of

EDGE = 1e-6
"""Distance from 0 and 1 within which a Beta density is not asked: states are known to single precision."""

MOST = 1e12
"""Concentration above which angles are drawn as at it: a deviation of 1e-6 radians."""


def components(raw: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Log weights ``(n, k)`` and what belongs to the components, ``(n, k, rest)``."""
    return raw[:, :k].log_softmax(-1), raw[:, k:].reshape(len(raw), k, -1)


def chosen(log_weights: Tensor, rest: Tensor, generator: torch.Generator | None) -> Tensor:
    """One component a row, drawn: ``(n, rest)``."""
    which = one_of(log_weights.exp(), generator)
    return rest[torch.arange(len(rest), device=rest.device), which]


class BetaMixture:
    r"""Products of Beta laws on the unit cube, :math:`\sum_k w_k \prod_d \mathrm{Beta}(u_d; a_{kd}, b_{kd})`.

    Args:
        raw: what a network says, ``(n, k (1 + 2 d))``; parameters are ``low + (high - low) sigmoid(raw)``.
        k: components.
        low: smallest a and b.
        high: largest.
    """

    def __init__(self, raw: Tensor, k: int, low: float, high: float) -> None:
        self.log_weights, rest = components(raw.double(), k)
        self.shape = low + (high - low) * rest.sigmoid()

    def log_prob(self, u: Tensor) -> Tensor:
        """Of points ``(n, d)``, float64 ``(n,)``."""
        u = u.double().clamp(EDGE, 1 - EDGE)[:, None]
        a, b = self.shape.chunk(2, -1)
        norm = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        each = (a - 1) * u.log() + (b - 1) * (-u).log1p() - norm
        return (self.log_weights + each.sum(-1)).logsumexp(-1)

    def sample(self, generator: torch.Generator | None) -> Tensor:
        """One point a row, ``(n, d)`` float64: a share of two Gamma variables."""
        gamma = torch._standard_gamma(chosen(self.log_weights, self.shape, generator), generator=generator)
        a, b = gamma.chunk(2, -1)
        share: Tensor = a / (a + b)
        return share


class VonMisesMixture:
    r"""Products of von Mises laws on a torus.

    .. math:: \sum_k w_k \prod_d e^{c_{kd} \cos(x_d - m_{kd})} / 2 \pi I_0(c_{kd})

    Args:
        raw: what a network says, ``(n, k (1 + 2 d))``: means in radians, concentrations through softplus.
        k: components.
    """

    def __init__(self, raw: Tensor, k: int) -> None:
        self.log_weights, rest = components(raw, k)
        mean, concentration = rest.chunk(2, -1)
        self.rest = torch.cat([mean, torch.nn.functional.softplus(concentration) + 1e-2], -1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Of angles ``(n, d)``: ``(n,)``."""
        mean, concentration = self.rest.chunk(2, -1)
        each = von_mises(x[:, None] - mean, concentration)
        return (self.log_weights + each.sum(-1)).logsumexp(-1)

    def sample(self, draw: Draw) -> Tensor:
        """One point a row, ``(n, d)``, by rejection from wrapped Cauchy laws (Best and Fisher 1979)."""
        mean, concentration = chosen(self.log_weights, self.rest, draw.generator).chunk(2, -1)
        # Beyond MOST the proposal rounds to nothing and is never accepted; angles are as exact as they get.
        c = concentration.double().clamp(max=MOST)
        tau = 1 + (1 + 4 * c.square()).sqrt()
        rho = (tau - (2 * tau).sqrt()) / (2 * c)
        r = (1 + rho.square()) / (2 * rho)
        angle, missing = torch.zeros_like(c), ~c.isnan()  # what is no number is never accepted either
        draw = draw.in_dtype(torch.float64)
        while bool(missing.any()):
            z, accept, side = draw.uniform((3, *c.shape))
            z = (math.pi * z).cos()
            f = ((1 + r * z) / (r + z)).clamp(-1, 1)
            y = c * (r - f)
            fits = missing & ((y * (2 - y) > accept) | ((y / accept).log() + 1 - y >= 0))
            angle = torch.where(fits, (side - 0.5).sign() * f.acos(), angle)
            missing = missing & ~fits
        return mean + angle.to(mean).where(~concentration.isnan(), torch.nan)


def von_mises(offset: Tensor, concentration: Tensor) -> Tensor:
    """Log density of angles from the mean, entry by entry."""
    # c (cos d - 1), written so that nothing large cancels where c is large.
    fall = -2 * concentration * (offset / 2).sin().square()
    return fall - math.log(2 * math.pi) - torch.special.i0e(concentration).log()
