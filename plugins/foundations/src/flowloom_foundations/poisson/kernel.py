"""The law of noise under which a charge in extra dimensions blurs the data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from scipy.special import gammaincinv
from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.draw import GLOBAL, Draw
from flowloom.geometry import Geometry
from flowloom.layout import Layout
from flowloom.sources import Source
from flowloom.state import Cond, expand, leaves, map_state, sum_event


class PoissonKernel(Source):
    r"""The perturbation kernel of PFGM++ around 0, the prior of its sampler (2302.04265, equations 5 and 6).

    .. math:: p_r(x) \propto (\|x\|^2 + r^2)^{-(N + D)/2}, \qquad r = \sigma\sqrt D

    on states of N entries with D extra dimensions. D = 1 is the Poisson flow, D = inf the Gaussian of
    diffusion, :math:`N(0, \sigma^2 I)`; the smaller D, the heavier the tails. The kernels of all radii are
    one law, scaled: `NoiseLevels` shrinks a draw at its first level to any other.

    The paper draws a radius, :math:`R = r\sqrt{B / (1 - B)}` with :math:`B \sim Beta(N/2, D/2)`, and a
    uniform direction. B / (1 - B) is a ratio of two gammas, and the first of them with the direction is a
    normal vector z, so here

    .. math:: x = \sigma\, z\, \sqrt{D / 2G}, \qquad G \sim \Gamma(D/2),

    with one G a row, by inversion in float64: exact for every D, and no number is larger than x. All parts of
    a product state share the radius. Padding does not change what is drawn beside it.

    Args:
        extra_dims: D, positive; ``inf`` is the Gaussian.
        sigma: level at which the kernel stands, the first one of the path; not the radius.
    """

    def __init__(self, extra_dims: float = 2048.0, sigma: float = 80.0) -> None:
        if not extra_dims > 0:
            raise ValueError(f"extra_dims must be positive (.inf for the Gaussian), got {extra_dims}")
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma must be positive, got {sigma}")
        self.extra_dims, self.sigma = float(extra_dims), float(sigma)
        self.gaussian = math.isinf(self.extra_dims)
        self.std = self.sigma if self.gaussian else None

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """Normal entries, and a radius for every row."""
        normal = _normal(shape, draw)
        if self.gaussian:
            return map_state(lambda z: z * self.sigma, normal)
        rows = next(leaves(normal))[1].shape[0]
        scale = self.sigma * self._stretch(draw.in_dtype(torch.float64).uniform((rows,)))
        return map_state(lambda z: z * expand(scale.to(z), z), normal)

    def _stretch(self, u: Tensor) -> Tensor:
        """``sqrt(D / 2G)`` at quantiles u of G, float64."""
        half = self.extra_dims / 2
        # A quantile of exactly 0 would be an infinite radius.
        quantiles = u.clamp_min(2.0**-54).cpu().numpy()
        gamma = torch.as_tensor(gammaincinv(half, quantiles), device=u.device)
        return torch.exp(0.5 * (math.log(half) - gamma.clamp_min(torch.finfo(gamma.dtype).tiny).log()))

    def log_prob(self, x: Any, cond: Cond | None = None, layout: Layout | None = None) -> Tensor:
        r"""The density of a t law of D degrees of freedom, over real and free entries together.

        .. math:: \log\frac{\Gamma((N+D)/2)}{\Gamma(D/2)} - \frac N2 \log(\pi r^2)
                  - \frac{N+D}2 \log(1 + \|x\|^2 / r^2)
        """
        squares, count = (
            torch.stack([_summed(fn(leaf), name, layout) for name, leaf in leaves(x)]).sum(0)
            for fn in (lambda v: v.double().square(), lambda v: torch.ones_like(v, dtype=torch.float64))
        )
        if self.gaussian:
            value = -0.5 * squares / self.sigma**2 - count * (0.5 * math.log(2 * math.pi * self.sigma**2))
        else:
            extra, area = self.extra_dims, self.extra_dims * self.sigma**2
            bulk = 0.5 * (count + extra) * torch.log1p(squares / area)
            value = _log_gamma_ratio(extra / 2, count / 2) - 0.5 * count * math.log(math.pi * area) - bulk
        return value.to(next(leaves(x))[1].dtype)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Spaces that are not all of R^n."""
        space = parts.get("geometry")
        if isinstance(space, Geometry) and not (space.straight and not space.convex):
            yield Clash("source", "geometry", f"the Poisson kernel does not lie on {space}, only on R^n")

    def __repr__(self) -> str:
        return f"PoissonKernel(extra_dims={self.extra_dims:g}, sigma={self.sigma:g})"


def _normal(shape: Any, draw: Draw) -> Any:
    return {k: _normal(s, draw) for k, s in shape.items()} if isinstance(shape, dict) else draw.normal(shape)


def _summed(values: Tensor, name: str, layout: Layout | None) -> Tensor:
    return sum_event(values) if layout is None else layout.at(name).sum(values)


def _log_gamma_ratio(a: float, b: Tensor) -> Tensor:
    """``log(Gamma(a + b) / Gamma(a))`` in float64, by Stirling's series where both would cancel."""
    if a < 1e4:
        return torch.lgamma(a + b) - math.lgamma(a)
    return (a + b - 0.5) * torch.log1p(b / a) + b * math.log(a) - b + (1 / (a + b) - 1 / a) / 12
