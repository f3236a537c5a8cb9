"""Rotations of three-dimensional space."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.geometry import Geometry
from flowloom.geometry.numerics import safe_norm, sinc
from flowloom.geometry.precision import apart_from_autocast
from flowloom.state import expand
from flowloom_geometries.spaces.polar import polar_factor


def hat(w: Tensor) -> Tensor:
    """The skew matrix with ``hat(w) @ y = cross(w, y)``: ``(..., 3) -> (..., 3, 3)``."""
    x, y, z = w.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def vee(matrix: Tensor) -> Tensor:
    """The axis vector of the skew part of ``matrix``: ``(..., 3, 3) -> (..., 3)``; inverse of `hat`."""
    skew = matrix - matrix.mT
    return 0.5 * torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)


def rotation(w: Tensor) -> Tensor:
    r"""The rotation by ``|w|`` about ``w`` (Rodrigues): ``(..., 3) -> (..., 3, 3)``.

    :math:`I + \frac{\sin a}{a} [w] + \frac12 \mathrm{sinc}^2(a/2) [w]^2` with :math:`a = |w|`.
    """
    angle, skew = safe_norm(w)[..., None], hat(w)
    eye = torch.eye(3, dtype=w.dtype, device=w.device)
    return eye + sinc(angle) * skew + 0.5 * sinc(0.5 * angle).square() * (skew @ skew)


def rotation_vector(x: Tensor, y: Tensor) -> Tensor:
    """The shortest ``w`` with ``x @ rotation(w) = y``: ``(..., 3)``, of length at most pi.

    Near the identity the axis comes from the skew part of ``x^T (y - x)``, which keeps the relative
    accuracy of small angles; beyond 120 degrees it comes from the symmetric part, whose largest column
    stays well conditioned up to half turns.
    """
    relative = x.mT @ y
    skew = vee(x.mT @ (y - x))
    sin = safe_norm(skew)
    cos = 0.5 * (relative.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) - 1)
    angle = torch.atan2(sin, cos)
    far = cos < -0.5
    # Where the other branch is taken, this one divides by 1 so that its gradient is finite.
    small = skew * torch.where(sin > 0, angle / torch.where((sin > 0) & ~far, sin, 1), 1)
    # (R + R^T)/2 - cos I = (1 - cos) n n^T
    symmetric = 0.5 * (relative + relative.mT) - cos[..., None] * torch.eye(3, dtype=x.dtype, device=x.device)
    largest = symmetric.diagonal(dim1=-2, dim2=-1).argmax(-1)
    column = torch.take_along_dim(symmetric, largest[..., None, None], -1).squeeze(-1)
    column = torch.where(far, column, torch.ones_like(column))
    axis = column / column.norm(dim=-1, keepdim=True)
    along = (axis * skew).sum(-1, keepdim=True)
    axis = torch.where(along < 0, -axis, axis)
    return torch.where(far, angle * axis, small)


@apart_from_autocast
class SO3(Geometry):
    r"""Rotation matrices with the metric whose distance is the angle of the relative rotation.

    A point is a matrix ``R`` of shape ``(3, 3)``, a tangent vector at ``R`` the ambient matrix
    ``R hat(w)``, with :math:`\langle U, V\rangle = \frac12 \mathrm{tr}(U^T V) = w_U \cdot w_V`.
    The metric is invariant under rotations from both sides. At half turns the shortest way is not unique;
    ``log`` then takes the axis whose largest entry is positive. Volume :math:`8\pi^2`.
    """

    point_ndim = 2
    point_shape = (3, 3)
    dim = 3

    def project(self, x: Tensor) -> Tensor:
        """The nearest rotation in the Frobenius norm (special orthogonal Procrustes)."""
        return polar_factor(x, special=True)

    def to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """``x skew(x^T v)``, as ``(v - x v^T x) / 2``."""
        return 0.5 * (v - x @ v.mT @ x)

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """``x rotation(w)`` for ``v = x hat(w)``."""
        return x @ rotation(vee(x.mT @ v))

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """``x hat(w)`` with the shortest ``w`` that turns x into y."""
        return x @ hat(rotation_vector(x, y))

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Turn about a fixed axis at constant speed."""
        w = rotation_vector(x0, x1)
        x_t = x0 @ rotation(expand(t, w) * w)
        return x_t, x_t @ hat(w)

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Half the Frobenius inner product."""
        return 0.5 * (u * v).sum((-2, -1))

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        r"""The angle a, from :math:`\sin a` and :math:`\cos a = (\mathrm{tr}(x^T y) - 1)/2`.

        The sine is the length of the skew part of :math:`x^T (y - x)`, so both ends keep their digits: half
        turns too, where the chord is flat. There the distance has a ridge and no gradient. Up to it the
        gradient has length 1, with a direction as sure as the skew part: to ``eps / (pi - a)``.
        """
        difference = y - x
        (x1, x2, x3), (d1, d2, d3) = x.unbind(-1), difference.unbind(-1)
        # The columns of the skew part, much faster than by a product of small matrices
        skew = torch.stack([x2 * d3 - x3 * d2, x3 * d1 - x1 * d3, x1 * d2 - x2 * d1])
        first, second, third = skew.unbind(-1)
        sin = 0.5 * safe_norm(first + second + third, 0).squeeze(0)
        return torch.atan2(sin, 1 + 0.5 * (x * difference).sum((-2, -1)))

    def log_volume(self) -> float:
        r"""``log(8 pi^2)``."""
        return math.log(8) + 2 * math.log(math.pi)

    def violation(self, x: Tensor) -> Tensor:
        """Largest entry of ``x^T x - I``, infinite for reflections."""
        eye = torch.eye(3, dtype=x.dtype, device=x.device)
        off = (x.mT @ x - eye).abs().flatten(1).amax(1)
        mirrored = (torch.linalg.det(x) < 0).flatten(1).any(1) if x.ndim > 3 else torch.linalg.det(x) < 0
        return torch.where(mirrored, torch.inf, off)

    def random(self, shape: Any, draw: Draw = GLOBAL) -> Tensor:
        """Uniform (Haar) rotations, from uniform unit quaternions."""
        size = (*shape[:-2], 4)
        q = draw.normal(size)
        return from_quaternion(q / q.norm(dim=-1, keepdim=True))


def from_quaternion(q: Tensor) -> Tensor:
    """The rotation of the unit quaternion ``(w, x, y, z)``: ``(..., 4) -> (..., 3, 3)``."""
    real, axis = q[..., :1, None], q[..., 1:]
    skew = hat(axis)
    eye = torch.eye(3, dtype=q.dtype, device=q.device)
    return eye + 2 * (real * skew + skew @ skew)
