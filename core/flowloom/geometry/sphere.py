"""The unit sphere S^n in R^(n+1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.geometry.base import Geometry
from flowloom.geometry.numerics import dot, safe_norm, sinc
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
        self.point_shape = (dim + 1,)

    def project(self, x: Tensor) -> Tensor:
        """Divide by the norm; the origin has no nearest point and stays, for `require` to name it."""
        # Squares of very short and very long vectors leave the range of numbers. A look at the norms costs
        # less than to be safe from them, except on an accelerator, which would have to be waited for, and
        # in a graph.
        if x.is_cpu and x.numel() and not torch.compiler.is_compiling():
            few = x.numel() <= 4096
            norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True) if few else dot(x, x).sqrt()
            if _can_divide(norm):
                return x / norm
        return _scaled_to_one(x)

    def to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """``v - <x, v> x``."""
        return torch.addcmul(v, dot(x, v), x, value=-1)

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """``cos|v| x + sin|v| v/|v|``."""
        angle = safe_norm(v)
        return angle.cos() * x + sinc(angle) * v

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """The tangent at ``x`` towards ``y`` whose length is their angle."""
        angle, sin, toward = _polar(_coordinates_first(x), _coordinates_first(y))
        return _coordinates_last(angle / sin * toward)

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The great circle: ``cos(t a) x0 + sin(t a) e`` and its derivative."""
        start = _coordinates_first(x0)
        angle, sin, toward = _polar(start, _coordinates_first(x1))
        direction = toward / sin
        swept = expand(t, angle) * angle
        across, along = swept.sin(), swept.cos()
        x_t = torch.addcmul(along * start, across, direction)
        velocity = torch.addcmul(along * direction, across, start, value=-1) * angle
        return _coordinates_last(x_t), _coordinates_last(velocity)

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

    def random(self, shape: Shape, draw: Draw = GLOBAL) -> Tensor:
        """Uniform points: normalised Gaussians."""
        normal = draw.normal(shape)
        return self.project(normal)

    def __repr__(self) -> str:
        return f"Sphere(dim={self.dim})"


def _can_divide(norm: Tensor) -> bool:
    """Whether the squares behind every norm stayed within the range of numbers, as far as can be seen."""
    least, most = torch.aminmax(norm)
    shortest, longest = _NORMS_OF_FULL_PRECISION[norm.dtype]
    try:
        return shortest < least.item() and most.item() < longest
    except RuntimeError:  # Inside torch.func.vmap no value can be read.
        return False


_NORMS_OF_FULL_PRECISION = {
    dtype: (torch.finfo(dtype).tiny ** 0.4, torch.finfo(dtype).max ** 0.4)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
}


def _scaled_to_one(x: Tensor) -> Tensor:
    """``x / |x|`` for vectors of any length; 0 stays."""
    limits = torch.finfo(x.dtype)
    if x.dtype != torch.float64:  # Double precision holds the squares of all others.
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float64)
        return x / norm.to(x.dtype).clamp_min(limits.tiny * limits.eps)
    largest = x.detach().abs().amax(-1, keepdim=True)
    x = x / torch.where(largest > 0, largest, 1)
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(limits.tiny)


def _coordinates_first(x: Tensor) -> Tensor:
    """``(..., n) -> (n, ...)``; short points are copied, as the CPU is slow along a short last dimension."""
    if x.device.type == "cpu" and x.shape[-1] <= 8:
        return torch.stack(x.unbind(-1))
    return x.movedim(-1, 0)


def _coordinates_last(x: Tensor) -> Tensor:
    """``(n, ...) -> (..., n)``; powers are copied, so that ``view`` can merge their dimensions.

    Plain batches stay strided: networks read them as well, and a copy would cost a tenth of a path.
    """
    moved = x.movedim(0, -1)
    return moved if x.ndim == 2 else moved.contiguous()


def _polar(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Angle from x to y and its sine, never 0, and a tangent of that sine's length; coordinates come first.

    Subtracting the nearer of the two poles before projecting, ``P_x(y) = P_x(y -+ x)``, avoids
    cancellation. At the poles themselves nothing would be left, so a vector far below rounding is
    added: it makes the quotients ``angle / sin`` and ``toward / sin`` exact limits (with the right
    derivatives at y = x), and gives antipodes their direction.
    """
    cos = (x * y).sum(0)
    # The speck's square must stay a normal number.
    size = torch.finfo(x.dtype).tiny ** 0.4
    beside = torch.addcmul(y, cos.sign(), x, value=-1).add(_hash(x.detach()), alpha=size)
    toward = torch.addcmul(beside, (x * beside).sum(0), x, value=-1)
    sin = (toward * toward).sum(0).sqrt()
    return torch.atan2(sin, cos), sin, toward


def _hash(x: Tensor) -> Tensor:
    """Pseudo-random numbers in (-1, 1) that are a fixed function of the point."""
    # Half precision has no digits behind the point at 4375.
    fine = x.float() if x.dtype.itemsize < 4 else x
    golden = 0.6180339887
    phase = torch.arange(golden, (len(x) + 0.5) * golden, golden, device=x.device, dtype=fine.dtype)
    mixed = torch.add(phase.view(-1, *(1,) * (x.ndim - 1)), fine, alpha=4375.85)
    return mixed.frac_().to(x.dtype)
