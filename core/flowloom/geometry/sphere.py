"""The unit sphere S^n in R^(n+1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.geometry.base import Geometry
from flowloom.geometry.numerics import safe_norm, sinc
from flowloom.state import Shape, expand


class Sphere(Geometry):
    """The unit sphere S^n with the round metric; points are unit vectors of R^(n+1).

    Angles come from ``atan2`` of chord and co-chord, and tangents from projected differences, so float32
    keeps full relative accuracy for points that nearly coincide. For antipodes the shortest path is not
    unique: ``log`` then leaves in a pseudo-random tangent direction that is a fixed function of the point
    (no generator is consumed, nothing is NaN, and the same point always takes the same way).

    Args:
        dim: intrinsic dimension n.
    """

    point_ndim = 1

    def __init__(self, dim: int = 2) -> None:
        if dim < 1:
            raise ValueError(f"a sphere has dimension 1 or more, got {dim}")
        self.dim: int = dim

    def project(self, x: Tensor) -> Tensor:
        """Divide by the norm; the origin, which has no nearest point, goes to the first axis."""
        norm = x.norm(dim=-1, keepdim=True)
        axis = torch.zeros_like(x)
        axis[..., 0] = 1
        return torch.where(norm > 0, x / torch.where(norm > 0, norm, 1), axis)

    def to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """``v - <x, v> x``."""
        return v - (x * v).sum(-1, keepdim=True) * x

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """``cos|v| x + sin|v| v/|v|``."""
        angle = safe_norm(v)
        return angle.cos() * x + sinc(angle) * v

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """The tangent at ``x`` towards ``y`` whose length is their angle."""
        angle, direction, toward = self._polar(x, y)
        # At y = x the polar form has the right value and a vanishing derivative; the difference has both.
        return torch.where(angle > 0, angle * direction, toward)

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The great circle: ``cos(t a) x0 + sin(t a) e`` and its derivative."""
        angle, e, toward = self._polar(x0, x1)
        time = expand(t, x0)
        swept = time * angle
        cos, sin = swept.cos(), swept.sin()
        apart = angle > 0
        x_t = torch.addcmul(cos * x0, sin, e)
        velocity = angle * torch.addcmul(cos * e, sin, x0, value=-1)
        return torch.where(apart, x_t, x0 + time * toward), torch.where(apart, velocity, toward)

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """The ambient inner product."""
        return (u * v).sum(-1)

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """``2 atan2(|y - x|, |y + x|)``, accurate from coincident to antipodal points."""
        return 2 * torch.atan2(safe_norm(y - x), safe_norm(y + x)).squeeze(-1)

    def log_volume(self) -> float:
        """``log(2 pi^((n+1)/2) / Gamma((n+1)/2))``."""
        half = (self.dim + 1) / 2
        return math.log(2) + half * math.log(math.pi) - math.lgamma(half)

    def violation(self, x: Tensor) -> Tensor:
        """Deviation of the norm from 1, the worst of a power."""
        off = (x.norm(dim=-1) - 1).abs()
        return off.flatten(1).amax(1) if off.ndim > 1 else off

    def random(
        self,
        shape: Shape,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Uniform points: normalised Gaussians."""
        normal = torch.randn(shape, generator=generator, device=device, dtype=dtype)  # type: ignore[arg-type]
        return self.project(normal)

    def _polar(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Angle ``(..., 1)`` from x to y, a unit tangent at x pointing there (0 where x = y), and P_x(y)."""
        cos = (x * y).sum(-1, keepdim=True)
        # P_x(y) = P_x(y -+ x): subtracting the nearer of the two poles first avoids cancellation.
        toward = self.to_tangent(x, torch.where(cos < 0, y + x, y - x))
        squared = toward.square().sum(-1, keepdim=True)
        tiny = 16 * torch.finfo(x.dtype).eps ** 2
        antipodal = (squared <= tiny) & (cos < 0)
        positive = squared > 0
        sin = torch.where(positive, squared, 1).sqrt() * positive
        direction = toward / torch.where(positive, sin, 1)
        direction = torch.where(antipodal, self._scatter(x), direction)
        return torch.atan2(sin, cos), direction, toward

    def _scatter(self, x: Tensor) -> Tensor:
        """A unit tangent at x that depends on x like a hash does; detached, as the choice is arbitrary."""
        x = x.detach()
        phase = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype)
        noise = torch.sin(x.roll(1, -1) * 4375.85 + x * 1299.71 + phase)
        # The axis least aligned with x is never parallel to it, so the tangent cannot vanish.
        axis = torch.nn.functional.one_hot(x.abs().argmin(-1), x.shape[-1]).to(x.dtype)
        tangent = self.to_tangent(x, noise)
        fallback = self.to_tangent(x, axis)
        tangent = torch.where(tangent.norm(dim=-1, keepdim=True) > 1e-2, tangent, fallback)
        return tangent / tangent.norm(dim=-1, keepdim=True)

    def __repr__(self) -> str:
        return f"Sphere(dim={self.dim})"
