"""Hyperbolic space as the Poincaré ball."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowloom.geometry.numerics import safe_norm
from flowloom.state import expand, sum_event
from flowloom_geometries.spaces.hyperbolic import Hyperbolic, tanhc

_RIM = {torch.float32: 1e-4, torch.float64: 1e-9}


class PoincareBall(Hyperbolic):
    r"""The ball :math:`c|x|^2 < 1` with the metric :math:`4 |dx|^2 / (1 - c|x|^2)^2`.

    Closed forms by Möbius addition (Ganea et al. 1805.09112; Mathieu et al. 1901.06033), rearranged so that
    nearby points lose no digits: distances by asinh of ``y - x``, not by artanh of a Möbius sum. Float32
    cannot tell points within 1e-7 of the rim apart, so ``project`` keeps ``sqrt(c)|x| <= 1 - 1e-4``
    (distance 9.9 from the origin at c = 1; float64: 1 - 1e-9, distance 21). Use `Lorentz` for farther
    points.
    """

    def conformal(self, x: Tensor) -> Tensor:
        r""":math:`\lambda_x = 2/(1 - c|x|^2)`, ``(..., 1)``."""
        return 2 / self._gap(x)

    def project(self, x: Tensor) -> Tensor:
        """Pull points outside (or too near the rim) back along their ray; others stay as they are."""
        limit = (1 - _RIM.get(x.dtype, 1e-2)) / self.root
        norm = safe_norm(x)
        outside = norm > limit
        return torch.where(outside, x * (limit / torch.where(outside, norm, 1)), x)

    def to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """Every vector is tangent."""
        return v

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        r"""``x (+) tanh(sqrt(c) lambda_x |v| / 2) v / (sqrt(c) |v|)``."""
        return self._add(x, self._reach(x, v, 1.0))

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """The tangent at ``x`` towards ``y``, of Riemannian length their distance."""
        # (-x) (+) y in terms of y - x, so that nothing cancels: its numerator is a (y - x) - c |y - x|^2 x
        # and its denominator a b + c |y - x|^2, with a = 1 - c |x|^2 and b = 1 - c |y|^2.
        difference = y - x
        squared = self.curvature * difference.square().sum(-1, keepdim=True)
        a, b = self._gap(x), self._gap(y)
        moved = (a * difference - squared * x) / (a * b + squared)
        return a / tanhc(0.5 * self.root * self._distance(x, y)) * moved

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The circular arc through both points, and the derivative of its Möbius form."""
        v, share = self.log(x0, x1), expand(t, x0)
        s = self._reach(x0, v, share)
        # s = tanh(t r) u / sqrt(c), with r u / sqrt(c) = lambda v / 2: ds/dt = (1 - c |s|^2) lambda v / 2
        ds = self._gap(s) * v / self._gap(x0)
        c, gap = self.curvature, self._gap(x0)
        xs, xds = (x0 * s).sum(-1, keepdim=True), (x0 * ds).sum(-1, keepdim=True)
        ss, sds = s.square().sum(-1, keepdim=True), (s * ds).sum(-1, keepdim=True)
        xx = x0.square().sum(-1, keepdim=True)
        bottom = 1 + 2 * c * xs + c * c * xx * ss
        x_t = ((1 + 2 * c * xs + c * ss) * x0 + gap * s) / bottom
        d_top = 2 * c * (xds + sds) * x0 + gap * ds
        d_bottom = 2 * c * xds + 2 * c * c * xx * sds
        return x_t, (d_top - d_bottom * x_t) / bottom

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        r""":math:`\lambda_x^2 \langle u, v\rangle`."""
        return self.conformal(x).squeeze(-1).square() * (u * v).sum(-1)

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        r""":math:`\frac{2}{\sqrt c} \mathrm{asinh} \frac{\sqrt c |x-y|}{\sqrt{(1-c|x|^2)(1-c|y|^2)}}`."""
        return self._distance(x, y).squeeze(-1)

    def log_sqrt_det(self, x: Tensor) -> Tensor:
        """``dim log(lambda)``, summed over a power."""
        return sum_event(self.dim * self.conformal(x).squeeze(-1).log())

    def violation(self, x: Tensor) -> Tensor:
        """How far points are outside the open ball, in norm; infinite where not finite."""
        norm = x.norm(dim=-1)
        over = (norm - 1 / self.root).clamp_min(0)
        # On the rim itself the metric is infinite: that is outside, too.
        over = torch.where((over == 0) & (norm * self.root >= 1), torch.finfo(x.dtype).max, over)
        over = torch.where(norm.isfinite(), over, torch.inf)
        return over.flatten(1).amax(1) if over.ndim > 1 else over

    def random(
        self,
        shape: Any,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """The wrapped normal at the origin: ``exp_0`` of a tangent that is standard normal in the metric."""
        normal = torch.randn(shape, generator=generator, device=device, dtype=dtype)
        origin = torch.zeros_like(normal)
        return self.project(self.exp(origin, normal / 2))

    def to_lorentz(self, x: Tensor) -> Tensor:
        """The isometry to `Lorentz`: ``(..., dim) -> (..., dim + 1)``, time coordinate first."""
        conformal = self.conformal(x)
        return torch.cat([(conformal - 1) / self.root, conformal * x], -1)

    def from_lorentz(self, x: Tensor) -> Tensor:
        """Its inverse: ``(..., dim + 1) -> (..., dim)``."""
        return x[..., 1:] / (1 + self.root * x[..., :1])

    def _gap(self, x: Tensor) -> Tensor:
        # Factored, because 1 - |x|^2 loses digits near the rim.
        norm = self.root * safe_norm(x)
        least = math.sqrt(torch.finfo(x.dtype).tiny)
        return ((1 - norm) * (1 + norm)).clamp_min(least)

    def _distance(self, x: Tensor, y: Tensor) -> Tensor:
        ratio = self.root * safe_norm(y - x) / (self._gap(x) * self._gap(y)).sqrt()
        return 2 / self.root * ratio.asinh()

    def _reach(self, x: Tensor, v: Tensor, share: float | Tensor) -> Tensor:
        half = share * v / self._gap(x)
        return tanhc(self.root * safe_norm(half)) * half

    def _add(self, x: Tensor, s: Tensor) -> Tensor:
        c = self.curvature
        xs, ss = (x * s).sum(-1, keepdim=True), s.square().sum(-1, keepdim=True)
        xx = x.square().sum(-1, keepdim=True)
        return ((1 + 2 * c * xs + c * ss) * x + self._gap(x) * s) / (1 + 2 * c * xs + c * c * xx * ss)
