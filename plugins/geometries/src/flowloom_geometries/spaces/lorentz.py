"""Hyperbolic space as a sheet of the hyperboloid."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.geometry.numerics import safe_norm, safe_sqrt
from flowloom.state import expand
from flowloom_geometries.spaces.hyperbolic import Hyperbolic, angle_from, between, dot, sinhc


def minkowski(u: Tensor, v: Tensor) -> Tensor:
    """``-u_0 v_0 + u_1 v_1 + ...``: ``(..., 1)``."""
    return dot(u[..., 1:], v[..., 1:]) - u[..., :1] * v[..., :1]


class Lorentz(Hyperbolic):
    r"""The sheet :math:`\langle x, x\rangle_L = -1/c,\ x_0 > 0` of :math:`\mathbb R^{1,n}`, time first.

    Points have ``dim + 1`` coordinates (formulas: Nickel and Kiela 1806.03417), and all formulas work with
    the space parts, which determine points and tangent vectors. Measured at c = 1 against 60 digits, for
    points at distance r from the origin, as far as they can be written down (r = 8 in float32, 18 in
    float64): norms, and distances of points well apart, are right to 1e-6 and 4e-15; points of geodesics,
    and distances of close points, to the rounding of a point, ``eps e^r / 4`` (1e-4 at r = 8 in float32,
    1e-12 at r = 10 in float64). Tangents to far points hold less: ``exp(x, log(x, y))`` misses y by
    ``eps e^(r + d) / 4`` at distance d, because rounding ``log`` turns it. Between opposite points that is
    2e-4 at r = 3 and 0.1 at r = 5 in float32, and 2e-10 at r = 5 and 6e-4 at r = 10 in float64.
    """

    def __init__(self, dim: int = 2, curvature: float = 1.0) -> None:
        super().__init__(dim, curvature)
        self.point_shape = (dim + 1,)

    def project(self, x: Tensor) -> Tensor:
        """Scale onto the sheet along the ray, at most twofold, and recompute the time coordinate.

        The ray is the Lorentzian normal, so a field composed with this is constant along normals near the
        sheet, which `flowloom.likelihood` relies on. A solver's step of length h (at c = 1) then moves
        artanh(h); the bound on the scale keeps steps beyond 0.87, towards and outside the light cone,
        from running off. No projection is right there: take more steps, or ``retraction="exp"``.
        """
        space, time = x[..., 1:], x[..., :1]
        norm = safe_norm(space)
        squared = self.curvature * (time - norm) * (time + norm)
        upper = time > 0
        scale = torch.where(upper, squared, 1).clamp_min(0.25).rsqrt()
        # Far out, rounding alone moves the scale; it is then 1, with the derivative of the true one.
        noise = 32 * torch.finfo(x.dtype).eps * (1 + self.curvature * time.square())
        rounded = upper & ((squared - 1).abs() <= noise)
        return self._lift(torch.where(rounded, 1 - 0.5 * (squared - squared.detach()), scale) * space)

    def to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """``v + c <x, v>_L x``."""
        return v + self.curvature * minkowski(x, v) * x

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """``cosh(sqrt(c)|v|) x + sinh(sqrt(c)|v|)/(sqrt(c)|v|) v``, from the space part of ``v``."""
        angle = self.root * safe_sqrt(self.inner_point(x, v, v)[..., None])
        return self._lift(angle.cosh() * x[..., 1:] + sinhc(angle) * v[..., 1:])

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """The tangent at ``x`` towards ``y``, of length their distance."""
        here, difference = x[..., 1:], y[..., 1:] - x[..., 1:]
        squared = self._chord(x, y)
        toward = difference - 0.5 * self.curvature * squared * here
        return self._lift_tangent(x, toward / sinhc(self._angle(squared)))

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        r""":math:`(\sinh((1-t)a)\, x_0 + \sinh(ta)\, x_1)/\sinh a` and its derivative, see `between`."""
        start, end = x0[..., 1:], x1[..., 1:]
        angle = self._angle(self._chord(x0, x1))
        f = between(angle, expand(t, x0))
        x_t = self._lift(f.start * start + f.end * end)
        velocity = f.rate * (end - start) + f.to_end * end - f.to_start * start
        return x_t, self._lift_tangent(x_t, velocity)

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        r"""The Minkowski product of tangent vectors, from their space parts (which determine them).

        Along the direction of the space part of ``x`` lengths shrink by :math:`\sqrt c\, x_0`, across it they
        stay: no term cancels, where :math:`-u_0 v_0 + \dots` loses the digits of :math:`c x_0^2`.
        """
        space, same, u = x[..., 1:], v is u, u[..., 1:]
        size = self.curvature * dot(space, space)
        # Near the axis that direction is ill defined, and nothing cancels: there, none is split off.
        far = size > 1
        share = self.curvature / torch.where(far, size, torch.inf)
        along = dot(space, u)
        across = u - share * along * space
        if same:
            total, squared = dot(across, across), along.square()
        else:
            v = v[..., 1:]
            other = dot(space, v)
            total, squared = dot(across, v - share * other * space), along * other
        weight = torch.where(far, share / self.curvature, -1) / x[..., :1].square()
        return (total + weight * squared).squeeze(-1)

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        r""":math:`\frac{2}{\sqrt c} \mathrm{asinh}(\frac{\sqrt c}{2} |y - x|_L)`."""
        return (self._angle(self._chord(x, y)) / self.root).squeeze(-1)

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

    def random(self, shape: Any, draw: Draw = GLOBAL) -> Tensor:
        """The wrapped normal at the origin ``(1/sqrt(c), 0, ...)``."""
        size = (*shape[:-1], shape[-1] - 1)
        normal = draw.normal(size)
        v = torch.cat([torch.zeros_like(normal[..., :1]), normal], -1)
        return self.exp(self.origin(v), v)

    def origin(self, like: Tensor) -> Tensor:
        """The point ``(1/sqrt(c), 0, ...)`` in the shape of ``like``."""
        zero = torch.zeros_like(like)
        return torch.cat([zero[..., :1] + 1 / self.root, zero[..., 1:]], -1)

    def _chord(self, x: Tensor, y: Tensor) -> Tensor:
        r"""``<y - x, y - x>_L``, ``(..., 1)``, as a sum of terms of one sign, so that no digits are lost.

        With the difference :math:`\delta` and the sum s of the space parts and :math:`T = x_0 + y_0`, it is
        :math:`q = 2(x_0 y_0 - x \cdot y - 1/c)` for space parts at obtuse angles,
        :math:`(|\delta_\perp|^2 |s|^2 + 4 \langle\delta, s\rangle^2/(c T^2))/q'` for others, where
        :math:`\delta_\perp` is the part across s and q' is q with the other sign of the product, and
        :math:`|\delta|^2 - \langle\delta, s\rangle^2/T^2` near the axis.
        """
        here, there = x[..., 1:], y[..., 1:]
        delta, total = there - here, there + here
        inner, size, along = dot(here, there), dot(total, total), dot(delta, total)
        time = (x[..., :1] + y[..., :1]).square()
        acute = inner > 0
        q = 2 * (x[..., :1] * y[..., :1] + torch.where(acute, inner, -inner) - 1 / self.curvature)
        far = self.curvature * q > 2
        across = delta - along / torch.where(far & acute, size, time) * total
        across, drift = dot(across, across), along.square() / time
        slanted = (across * size + 4 / self.curvature * drift) / torch.where(far, q, torch.inf)
        # |delta|^2 is that of `across` and of what was split off.
        near = across + (1 - size / time) * drift
        return torch.where(far, torch.where(acute, slanted, q), near)

    def _lift(self, space: Tensor) -> Tensor:
        """The point with this space part."""
        return torch.cat([(1 / self.curvature + dot(space, space)).sqrt(), space], -1)

    def _lift_tangent(self, x: Tensor, space: Tensor) -> Tensor:
        """The tangent vector at ``x`` with this space part."""
        return torch.cat([dot(x[..., 1:], space) / x[..., :1], space], -1)

    def _angle(self, squared: Tensor) -> Tensor:
        """``sqrt(c)`` times the distance of points with this squared chord."""
        return angle_from(self.curvature * squared)
