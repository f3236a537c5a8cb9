"""Hyperbolic space as the Poincaré ball."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.geometry.numerics import safe_norm
from flowloom.state import expand, sum_event
from flowloom_geometries.spaces.hyperbolic import Hyperbolic, between, damped_sinhc, tanhc

_RIM = {torch.float32: 1e-4, torch.float64: 1e-9}


class PoincareBall(Hyperbolic):
    r"""The ball :math:`c|x|^2 < 1` with the metric :math:`4 |dx|^2 / (1 - c|x|^2)^2`.

    Closed forms by Möbius addition (Ganea et al. 1805.09112; Mathieu et al. 1901.06033), rearranged so that
    nearby points lose no digits: distances by asinh of ``y - x``, not by artanh of a Möbius sum. Float32
    cannot tell points within 1e-7 of the rim apart, so ``project`` keeps ``sqrt(c)|x| <= 1 - 1e-4``
    (distance 9.9 from the origin at c = 1; float64: 1 - 1e-9, distance 21). Use `Lorentz` for farther
    points.

    Measured at c = 1 against 60 digits, for points at distance r from the origin: geodesics and their
    velocities err by 2e-6 at r = 4, 4e-5 at r = 7 and 8e-4 at r = 9.5 in float32, and by 1e-13 at r = 7 and
    1e-9 at r = 18 in float64, which is the rounding of a point. ``exp(x, log(x, y))`` misses y by about
    ``2 eps e^d`` for ``d = distance(x, y)``: between opposite points 2e-3 at r = 5 and 0.2 at r = 7 in
    float32, and 3e-10 at r = 7 and 1e-5 at r = 12 in float64.
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
        r"""``x (+) tanh(sqrt(c) lambda_x |v| / 2) v / (sqrt(c) |v|)``, by way of the hyperboloid.

        With :math:`a = \sqrt c\,\lambda_x |v|` and the cosine p of the angle from x to v, times
        :math:`\sqrt c |x|`, it is :math:`(C x + \frac{\sinh a}{a} v)/(C - (\cosh a - 1)/\lambda_x)` with
        :math:`C = \cosh a + p \sinh a`. The Möbius form has to subtract a tanh from 1.
        """
        gap, norm = self._gap(x), safe_norm(v)
        angle = 2 * self.root * norm / gap
        # 1 + p: for directions back to the centre by (|sqrt(c) x + v/|v||^2 + gap)/2
        unit = v / torch.where(norm > 0, norm, 1)
        back = 0.5 * ((self.root * x + unit).square().sum(-1, keepdim=True) + gap)
        # All is times e^-a, so that nothing overflows.
        fall, sinh = (-angle).exp(), damped_sinhc(angle)
        turned = torch.where(norm > 0, back, 1) * angle * sinh + fall.square()
        bottom = turned - 0.25 * gap * (fall - 1).square()
        return (turned * x + sinh * v) / bottom.clamp_min(torch.finfo(x.dtype).tiny)

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
        r"""The circular arc through both points, as a mean of x0, x1 and the centre.

        The image of `Lorentz.geodesic`: with the weights w of `between` and :math:`\lambda = 2/(1 - c|x|^2)`,
        :math:`x_t = (w_0 \lambda_0 x_0 + w_1 \lambda_1 x_1)/(w_0 \lambda_0 + w_1 \lambda_1 + 1 - w_0 - w_1)`.
        """
        a, b = self._gap(x0), self._gap(x1)
        f = between(self.root * self._distance(x0, x1), expand(t, x0))
        bottom = f.start * b + f.end * a + 0.5 * a * b * f.inward
        x_t = (f.start * b * x0 + f.end * a * x1) / bottom
        velocity = f.rate * (x1 - x0) + 0.5 * (f.to_end * a * x1 - f.to_start * b * x0)
        return x_t, (a / bottom) * (b / bottom) * velocity

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

    def random(self, shape: Any, draw: Draw = GLOBAL) -> Tensor:
        """The wrapped normal at the origin: ``exp_0`` of a tangent that is standard normal in the metric."""
        normal = draw.normal(shape)
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
