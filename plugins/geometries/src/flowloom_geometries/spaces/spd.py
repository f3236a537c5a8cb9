"""Symmetric positive definite matrices, with two metrics."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.geometry import Geometry
from flowloom.geometry.numerics import safe_norm
from flowloom.geometry.precision import apart_from_autocast
from flowloom.state import expand, sum_event
from flowloom_geometries.spaces.spectral_function import (
    Spectrum,
    derivative,
    divided_differences,
    powers,
    spectrum,
    symmetric_function,
)


def symmetric(x: Tensor) -> Tensor:
    """``(x + x^T) / 2``."""
    return 0.5 * (x + x.mT)


def log_det(x: Tensor) -> Tensor:
    """``log |det x|``; unlike that of ``slogdet``, its forward derivative can be differentiated again."""
    if not torch.is_grad_enabled():
        return torch.linalg.slogdet(x)[1]  # a fifth of the time
    return torch.linalg.lu_factor_ex(x).LU.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)


@apart_from_autocast
class _Positive(Geometry):
    """Common to both metrics: the set, its tangents (symmetric matrices) and a standard law.

    Args:
        size: rows of a matrix.
        floor: least eigenvalue that ``project`` leaves, of matrices below 1 relative to their size.
    """

    point_ndim = 2

    def __init__(self, size: int = 2, floor: float = 1e-6) -> None:
        if size < 1 or floor <= 0:
            raise ValueError(f"size must be at least 1 and floor positive, got {size} and {floor}")
        self.size, self.floor = size, floor
        self.dim: int = size * (size + 1) // 2
        self.point_shape = (size, size)

    def project(self, x: Tensor) -> Tensor:
        """Symmetrise, and lift eigenvalues below the floor to it."""
        x = symmetric(x)
        values, vectors = torch.linalg.eigh(x.detach())
        # Data may come in any unit: of small matrices, small eigenvalues are no rounding.
        size = values.abs().amax(-1, keepdim=True)
        floor = self.floor * torch.where(size > 0, size, 1.0).clamp_max(1.0)
        # Only what lies below the floor is lifted, so that matrices inside pass through unchanged.
        lift = (vectors * (floor - values).clamp_min(0)[..., None, :]) @ vectors.mT
        return x + lift

    def to_tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """Symmetrise."""
        return symmetric(v)

    def violation(self, x: Tensor) -> Tensor:
        """The larger of the asymmetry and of what the least eigenvalue lacks to be told from 0.

        An eigenvalue below four roundings of the largest one is noise: such a matrix is singular to
        working precision.
        """
        asymmetry = (x - x.mT).abs().flatten(1).amax(1)
        finite = x.flatten(1).isfinite().all(1)
        safe = torch.where(expand(finite, x), x, 0)
        values = torch.linalg.eigvalsh(symmetric(safe))
        lacking = (4 * torch.finfo(x.dtype).eps * values[..., -1].abs() - values[..., 0]).clamp_min(0)
        lacking = lacking.flatten(1).amax(1) if lacking.ndim > 1 else lacking
        return torch.where(finite, torch.maximum(asymmetry, lacking), torch.inf)

    def random(self, shape: Any, draw: Draw = GLOBAL) -> Tensor:
        """Exponentials of symmetric matrices that are standard normal in the Frobenius metric."""
        normal = draw.normal(shape)
        # Off-diagonal entries of (a + a^T)/2 have variance 1/2, so each coordinate has variance 1.
        return symmetric_function(symmetric(normal), "exp")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size})"


@apart_from_autocast
class SPD(_Positive):
    r"""Positive matrices with the affine-invariant metric :math:`\mathrm{tr}(X^{-1} U X^{-1} V)`.

    The same under :math:`X \mapsto A X A^T`; complete, of non-positive curvature, so every pair has one
    geodesic (Pennec, Fillard and Ayache 2006; Moakher 2005).

    Args:
        size: rows of a matrix.
        floor: least eigenvalue that ``project`` leaves, of matrices below 1 relative to their size.
    """

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """``x^(1/2) exp(x^(-1/2) v x^(-1/2)) x^(1/2)``."""
        root, inverse = powers(x)
        return symmetric(root @ symmetric_function(inverse @ v @ inverse, "exp") @ root)

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """``x^(1/2) log(x^(-1/2) y x^(-1/2)) x^(1/2)``."""
        root, inverse = powers(x)
        return symmetric(root @ self._rate(inverse, x, y)[0] @ root)

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """``x0^(1/2) M^t x0^(1/2)`` and its derivative, with ``M = x0^(-1/2) x1 x0^(-1/2)``."""
        root, inverse = powers(x0)
        rate, known = self._rate(inverse, x0, x1)
        times = expand(t, rate)
        # t log M has the eigenvectors of M.
        scaled = known._replace(values=times.detach().squeeze(-1) * known.values)
        moved = symmetric_function(times * rate, "exp", scaled)
        return symmetric(root @ moved @ root), symmetric(root @ (rate @ moved) @ root)

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """``tr(x^-1 u x^-1 v)``."""
        _, inverse = powers(x)
        return ((inverse @ u @ inverse) * (inverse @ v @ inverse)).sum((-2, -1))

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """``|log(x^(-1/2) y x^(-1/2))|_F``."""
        _, inverse = powers(x)
        return safe_norm(self._rate(inverse, x, y)[0].flatten(-2)).squeeze(-1)

    def log_sqrt_det(self, x: Tensor) -> Tensor:
        """``-(n + 1)/2 log det x``."""
        return sum_event(-0.5 * (self.size + 1) * log_det(x))

    @staticmethod
    def _rate(inverse: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Spectrum]:
        """``log(x^(-1/2) y x^(-1/2))`` and its spectrum.

        Of near points it is ``log(I + x^(-1/2) (y - x) x^(-1/2))`` by the eigenvalues of the change, which
        keep the digits that 1 would swallow.
        """
        change = symmetric(inverse @ (y - x) @ inverse)
        near = torch.linalg.matrix_norm(change.detach())[..., None] < 0.5
        between = torch.where(near[..., None], change, symmetric(inverse @ y @ inverse))
        known = spectrum(between, near.to(x.dtype), positive=True)
        rates = divided_differences(known.values, known.base, "log", 0)
        rate = symmetric_function(between, "log", known)
        return rate, Spectrum(rates, known.vectors, torch.zeros_like(known.base))


@apart_from_autocast
class LogEuclideanSPD(_Positive):
    r"""Positive matrices with the flat metric that the matrix logarithm pulls back from symmetric ones.

    :math:`d(X, Y) = |\log X - \log Y|_F` (Arsigny et al. 2006). Cheaper than the affine-invariant metric,
    and equal to it on matrices that commute.

    Args:
        size: rows of a matrix.
        floor: least eigenvalue that ``project`` leaves, of matrices below 1 relative to their size.
    """

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """``exp(log x + dlog_x(v))``."""
        known = spectrum(x, positive=True)
        moved = symmetric_function(x, "log", known) + derivative(x, v, "log", known)
        return symmetric_function(moved, "exp")

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """``dexp`` at ``log x`` of ``log y - log x``."""
        start, rate = self._rate(x, y)
        return derivative(start, rate, "exp")

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """``exp((1-t) log x0 + t log x1)`` and its derivative."""
        start, rate = self._rate(x0, x1)
        at = start + expand(t, rate) * rate
        known = spectrum(at, positive=False)
        return symmetric_function(at, "exp", known), derivative(at, rate, "exp", known)

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """``<dlog_x(u), dlog_x(v)>``."""
        known = spectrum(x, positive=True)
        left = derivative(x, u, "log", known)
        right = left if v is u else derivative(x, v, "log", known)
        return (left * right).sum((-2, -1))

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """``|log y - log x|_F``."""
        return safe_norm(self._rate(x, y)[1].flatten(-2)).squeeze(-1)

    def log_sqrt_det(self, x: Tensor) -> Tensor:
        """``log det`` of ``dlog_x`` on symmetric matrices.

        That is the sum over ``i <= j`` of the log of the divided differences of log at the eigenvalues,
        but eigenvalues have no second derivative where they repeat.
        """
        if not torch.is_grad_enabled():
            return sum_event(self._first_order(x))
        basis = self._basis(x)
        images = derivative(x.unsqueeze(-3), basis, "log")
        return sum_event(log_det(images.flatten(-2) @ basis.flatten(-2).mT))

    @staticmethod
    def _first_order(x: Tensor) -> Tensor:
        """The log density by divided differences, with first derivatives only: a sixth of the time."""
        values, vectors, base = spectrum(x, positive=True)
        slopes = divided_differences(values, base, "log", 1)
        # f[a, b] moves with a by f[a, a, b]; on the diagonal both arguments do.
        bends = divided_differences(values, base, "log", 2).diagonal(dim1=-3, dim2=-2).mT / slopes
        gradient = bends.sum(-1) + bends.diagonal(dim1=-2, dim2=-1)
        along = (vectors.mT @ (x - x.detach()) @ vectors).diagonal(dim1=-2, dim2=-1)
        return slopes.log().triu().sum((-2, -1)) + (gradient * along).sum(-1)

    def _basis(self, like: Tensor) -> Tensor:
        """Orthonormal symmetric matrices, ``(dim, size, size)``."""
        basis = like.new_zeros(self.dim, self.size, self.size)
        row, column = torch.triu_indices(self.size, self.size).tolist()
        entry = [1.0 if i == j else math.sqrt(0.5) for i, j in zip(row, column, strict=True)]
        each = range(self.dim)
        basis[each, row, column] = basis[each, column, row] = like.new_tensor(entry)
        return basis

    @staticmethod
    def _rate(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """``log x`` and ``log y - log x``.

        The difference loses the digits of near points. There its value (not its derivatives, which need
        no help) is that of ``(dlog_x + dlog_y)(y - x) / 2``, of relative error ``|y - x|^2 / 6``.
        """
        ends = spectrum(x, positive=True), spectrum(y, positive=True)
        start = symmetric_function(x, "log", ends[0])
        rate = symmetric_function(y, "log", ends[1]) - start
        change = symmetric(y - x).detach()
        scale = ends[0].values.rsqrt()
        turned = ends[0].vectors.mT @ change @ ends[0].vectors
        length = torch.linalg.matrix_norm(scale[..., None] * turned * scale[..., None, :])[..., None, None]
        near = length < (6 * torch.finfo(x.dtype).eps) ** (1 / 3)
        slope = 0.5 * (
            derivative(x.detach(), change, "log", ends[0]) + derivative(y.detach(), change, "log", ends[1])
        )
        return start, rate + torch.where(near, slope - rate.detach(), 0)
