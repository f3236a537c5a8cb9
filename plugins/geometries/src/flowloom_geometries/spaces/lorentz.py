"""Hyperbolic space as a sheet of the hyperboloid."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowloom.geometry.numerics import safe_norm
from flowloom.state import expand
from flowloom_geometries.spaces.hyperbolic import Hyperbolic, sinhc


def minkowski(u: Tensor, v: Tensor) -> Tensor:
    """``-u_0 v_0 + u_1 v_1 + ...``: ``(..., 1)``."""
    return (u[..., 1:] * v[..., 1:]).sum(-1, keepdim=True) - u[..., :1] * v[..., :1]


class Lorentz(Hyperbolic):
    r"""The sheet :math:`\langle x, x\rangle_L = -1/c,\ x_0 > 0` of :math:`\mathbb R^{1,n}`, time first.

    Points have ``dim + 1`` coordinates. Distances come from the Minkowski length of ``y - x`` (an asinh),
    so nearby points lose no digits (formulas: Nickel and Kiela 1806.03417).
    """

    def project(self, x: Tensor) -> Tensor:
        """Scale onto the sheet along the ray, or, outside the cone, recompute the time coordinate.

        The ray is the Lorentzian normal, so a field composed with this is constant along normals, which
        `flowloom.likelihood` relies on.
        """
        space, time = x[..., 1:], x[..., :1]
        norm = safe_norm(space)
        squared = self.curvature * (time - norm) * (time + norm)
        inside = (squared > 0) & (time > 0)
        scale = torch.where(inside, squared, 1).rsqrt()
        # Far out, rounding alone moves the scale; it is then 1, with the derivative of the true one.
        noise = 16 * torch.finfo(x.dtype).eps * (1 + self.curvature * time.square())
        scale = torch.where((scale - 1).abs() <= noise, 1 + (scale - scale.detach()), scale)
        space = torch.where(inside, scale, 1) * space
        return torch.cat([(1 / self.curvature + space.square().sum(-1, keepdim=True)).sqrt(), space], -1)

    def to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """``v + c <x, v>_L x``."""
        return v + self.curvature * minkowski(x, v) * x

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """``cosh(sqrt(c)|v|) x + sinh(sqrt(c)|v|)/(sqrt(c)|v|) v``."""
        angle = self.root * self._length(v)
        return self._settle(angle.cosh() * x + sinhc(angle) * v)

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """The tangent at ``x`` towards ``y``, of length their distance."""
        difference = y - x
        squared = self._chord(x, y, difference)
        angle = self.root * self._distance_from(squared)
        toward = difference - 0.5 * self.curvature * squared * x
        return toward / sinhc(angle)

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """``cosh(t a) x0 + sinh(t a)/a v`` and its derivative."""
        v, share = self.log(x0, x1), expand(t, x0)
        angle = self.root * self._distance_from(self._chord(x0, x1, x1 - x0))
        swept = share * angle
        x_t = self._settle(swept.cosh() * x0 + share * sinhc(swept) * v)
        velocity = angle * swept.sinh() * x0 + swept.cosh() * v
        return x_t, velocity

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """The Minkowski product, positive on tangent vectors."""
        return minkowski(u, v).squeeze(-1)

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        r""":math:`\frac{2}{\sqrt c} \mathrm{asinh}(\frac{\sqrt c}{2} |y - x|_L)`."""
        return self._distance_from(self._chord(x, y, y - x)).squeeze(-1)

    def violation(self, x: Tensor) -> Tensor:
        """Deviation of ``c <x, x>_L`` from -1 as a share of the time coordinate; infinite on the lower sheet.

        That is about the Riemannian length of the error. Rounding alone exceeds what `require` allows
        beyond a distance from the origin of about 8 in float32 and 19 in float64 (at c = 1): farther
        points cannot be written down.
        """
        size = 1 + self.root * x[..., 0].abs()
        off = (self.curvature * minkowski(x, x).squeeze(-1) + 1).abs() / size
        off = torch.where(x[..., 0] > 0, off, torch.inf)
        return off.flatten(1).amax(1) if off.ndim > 1 else off

    def random(
        self,
        shape: Any,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """The wrapped normal at the origin ``(1/sqrt(c), 0, ...)``."""
        size = (*shape[:-1], shape[-1] - 1)
        normal = torch.randn(size, generator=generator, device=device, dtype=dtype)
        v = torch.cat([torch.zeros_like(normal[..., :1]), normal], -1)
        return self.exp(self.origin(v), v)

    def origin(self, like: Tensor) -> Tensor:
        """The point ``(1/sqrt(c), 0, ...)`` in the shape of ``like``."""
        zero = torch.zeros_like(like)
        return torch.cat([zero[..., :1] + 1 / self.root, zero[..., 1:]], -1)

    def _settle(self, x: Tensor) -> Tensor:
        """Recompute the time coordinate, which removes rounding without moving the space part."""
        space = x[..., 1:]
        return torch.cat([(1 / self.curvature + space.square().sum(-1, keepdim=True)).sqrt(), space], -1)

    def _chord(self, x: Tensor, y: Tensor, difference: Tensor) -> Tensor:
        """``<y - x, y - x>_L``, never negative; the time part without cancellation."""
        space = difference[..., 1:]
        mean = (x[..., 1:] + y[..., 1:]) / (x[..., :1] + y[..., :1])
        time = (space * mean).sum(-1, keepdim=True)
        return (space.square().sum(-1, keepdim=True) - time.square()).clamp_min(0)

    def _distance_from(self, squared: Tensor) -> Tensor:
        positive = squared > 0
        chord = torch.where(positive, squared, 1).sqrt() * positive
        return 2 / self.root * (0.5 * self.root * chord).asinh()

    def _length(self, v: Tensor) -> Tensor:
        squared = minkowski(v, v)
        positive = squared > 0
        return torch.where(positive, squared, 1).sqrt() * positive
