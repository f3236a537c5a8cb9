"""The Gaussian, truncated to a box."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.errors import IncompatibleError
from flowloom.geometry import Box, Geometry
from flowloom.layout import Layout
from flowloom.sources import Source
from flowloom.state import Cond, sum_event


class TruncatedGaussian(Source):
    r"""Independent centred normal entries, each given that it lies in its interval, by inversion.

    .. math:: x = \sigma\,\Phi^{-1}\big(\Phi(l/\sigma) + u\,[\Phi(h/\sigma) - \Phi(l/\sigma)]\big),
              \qquad u \sim U[0, 1]

    In a box that is what drawing until a point lies inside gives, at one draw in any dimension. Probabilities
    are kept as logarithms of the lower tail, of the mirrored interval where it lies above 0.

    Args:
        geometry: a box; injected from the recipe where none is given.
        std: :math:`\sigma`.
    """

    def __init__(self, geometry: Geometry, std: float = 1.0) -> None:
        if not isinstance(geometry, Box):
            raise IncompatibleError(f"source truncated-gaussian needs geometry: box, not {geometry}")
        if not 0 < std < math.inf:
            raise ValueError(f"std must be positive and finite, got {std}")
        self.geometry, self.spread = geometry, std
        low, high = (torch.tensor(v, dtype=torch.float64) / std for v in (geometry.low, geometry.high))
        self.mirrored = low > 0
        low, high = torch.where(self.mirrored, -high, low), torch.where(self.mirrored, -low, high)
        self.below, upto = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
        self.inside = upto + (-torch.expm1(self.below - upto)).log()
        self.tolerance = 1e-4 * min(1.0, *(b - a for a, b in zip(geometry.low, geometry.high, strict=True)))

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """Entries of the box, of full shape ``shape``."""
        u = draw.in_dtype(torch.float64).uniform(shape)
        mirrored = self.mirrored.to(u.device)
        share = torch.where(mirrored, 1 - u, u).log() + self.inside.to(u.device)
        x = _quantile(torch.logaddexp(self.below.to(u.device), share))
        x = self.spread * torch.where(mirrored, -x, x)
        return self.geometry.project(x.to(draw.dtype or torch.get_default_dtype()))

    def log_prob(self, x: Any, cond: Cond | None = None, layout: Layout | None = None) -> Tensor:
        """Log density, ``(batch,)``; minus infinity outside."""
        constant = 0.5 * math.log(2 * math.pi) + math.log(self.spread)
        entries = -0.5 * (x / self.spread).square() - constant - self.inside.to(x)
        total = sum_event(entries) if layout is None else layout.sum(entries)
        held = x if layout is None else layout.fill(x)
        return torch.where(self.geometry.violation(held) > self.tolerance, -torch.inf, total)


def _quantile(log_share: Tensor) -> Tensor:
    """The standard normal quantile of a probability that is given by its logarithm."""
    near = torch.special.ndtri(log_share.exp())
    deep = log_share < -300  # beyond that probabilities lose their digits, then vanish
    if not bool(deep.any()):
        return near
    # By Newton's method from the left, where the concave logarithm is never passed.
    wanted = torch.where(deep, log_share, -300.0)
    x = -(-2 * wanted).sqrt()
    for _ in range(5):
        said = torch.special.log_ndtr(x)
        x = x + (wanted - said) * (said + 0.5 * x.square() + 0.5 * math.log(2 * math.pi)).exp()
    return torch.where(deep, x, near)
