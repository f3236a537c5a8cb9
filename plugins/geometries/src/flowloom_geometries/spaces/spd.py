"""Symmetric positive definite matrices, with two metrics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowloom.geometry import Geometry
from flowloom.geometry.numerics import safe_norm
from flowloom.state import expand, sum_event
from flowloom_geometries.spaces.spectral_function import (
    divided_difference,
    frechet,
    powers,
    symmetric_function,
)


def symmetric(x: Tensor) -> Tensor:
    """``(x + x^T) / 2``."""
    return 0.5 * (x + x.mT)


class _Positive(Geometry):
    """Common to both metrics: the set, its tangents (symmetric matrices) and a standard law.

    Args:
        size: rows of a matrix.
        floor: least eigenvalue that ``project`` leaves.
    """

    point_ndim = 2

    def __init__(self, size: int = 2, floor: float = 1e-6) -> None:
        if size < 1 or floor <= 0:
            raise ValueError(f"size must be at least 1 and floor positive, got {size} and {floor}")
        self.size, self.floor = size, floor
        self.dim: int = size * (size + 1) // 2

    def project(self, x: Tensor) -> Tensor:
        """Symmetrise, and lift eigenvalues below ``floor`` to it."""
        x = symmetric(x)
        values, vectors = torch.linalg.eigh(x.detach())
        # Only what lies below the floor is lifted, so that matrices inside pass through unchanged.
        lift = (vectors * (self.floor - values).clamp_min(0)[..., None, :]) @ vectors.mT
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
        safe = torch.where(finite.reshape(-1, *(1,) * (x.ndim - 1)), x, 0)
        values = torch.linalg.eigvalsh(symmetric(safe))
        lacking = (4 * torch.finfo(x.dtype).eps * values[..., -1].abs() - values[..., 0]).clamp_min(0)
        lacking = lacking.flatten(1).amax(1) if lacking.ndim > 1 else lacking
        return torch.where(finite, torch.maximum(asymmetry, lacking), torch.inf)

    def random(
        self,
        shape: Any,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Exponentials of symmetric matrices that are standard normal in the Frobenius metric."""
        normal = torch.randn(shape, generator=generator, device=device, dtype=dtype)
        # Off-diagonal entries of (a + a^T)/2 have variance 1/2, so each coordinate has variance 1.
        return symmetric_function(symmetric(normal), "exp")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size})"


class SPD(_Positive):
    r"""Positive matrices with the affine-invariant metric :math:`\mathrm{tr}(X^{-1} U X^{-1} V)`.

    The same under :math:`X \mapsto A X A^T`; complete, of non-positive curvature, so every pair has one
    geodesic (Pennec, Fillard and Ayache 2006; Moakher 2005).

    Args:
        size: rows of a matrix.
        floor: least eigenvalue that ``project`` leaves.
    """

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """``x^(1/2) exp(x^(-1/2) v x^(-1/2)) x^(1/2)``."""
        root, inverse = powers(x)
        return symmetric(root @ symmetric_function(inverse @ v @ inverse, "exp") @ root)

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """``x^(1/2) log(x^(-1/2) y x^(-1/2)) x^(1/2)``."""
        root, inverse = powers(x)
        return symmetric(root @ symmetric_function(self._between(inverse, x, y), "log") @ root)

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """``x0^(1/2) M^t x0^(1/2)`` and its derivative, with ``M = x0^(-1/2) x1 x0^(-1/2)``."""
        root, inverse = powers(x0)
        rate = symmetric_function(self._between(inverse, x0, x1), "log")
        moved = symmetric_function(expand(t, rate) * rate, "exp")
        return symmetric(root @ moved @ root), symmetric(root @ (rate @ moved) @ root)

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """``tr(x^-1 u x^-1 v)``."""
        _, inverse = powers(x)
        return ((inverse @ u @ inverse) * (inverse @ v @ inverse)).sum((-2, -1))

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """``|log(x^(-1/2) y x^(-1/2))|_F``."""
        _, inverse = powers(x)
        rate = symmetric_function(self._between(inverse, x, y), "log")
        return safe_norm(rate.flatten(-2)).squeeze(-1)

    def log_sqrt_det(self, x: Tensor) -> Tensor:
        """``-(n + 1)/2 log det x``."""
        return sum_event(-0.5 * (self.size + 1) * torch.linalg.slogdet(x)[1])

    @staticmethod
    def _between(inverse: Tensor, x: Tensor, y: Tensor) -> Tensor:
        # I + x^(-1/2) (y - x) x^(-1/2) is exact for coincident points, x^(-1/2) y x^(-1/2) for distant ones.
        eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        change = symmetric(inverse @ (y - x) @ inverse)
        near = change.detach().abs().amax((-2, -1), keepdim=True) < 0.5
        return torch.where(near, eye + change, symmetric(inverse @ y @ inverse))


class LogEuclideanSPD(_Positive):
    r"""Positive matrices with the flat metric that the matrix logarithm pulls back from symmetric ones.

    :math:`d(X, Y) = |\log X - \log Y|_F` (Arsigny et al. 2006). Cheaper than the affine-invariant metric,
    and equal to it on matrices that commute.

    Args:
        size: rows of a matrix.
        floor: least eigenvalue that ``project`` leaves.
    """

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """``exp(log x + dlog_x(v))``."""
        return symmetric_function(symmetric_function(x, "log") + self._dlog(x, v), "exp")

    def log(self, x: Tensor, y: Tensor) -> Tensor:
        """``dexp`` at ``log x`` of ``log y - log x``."""
        start = symmetric_function(x, "log")
        return self._dexp(start, symmetric_function(y, "log") - start)

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """``exp((1-t) log x0 + t log x1)`` and its derivative."""
        start = symmetric_function(x0, "log")
        rate = symmetric_function(x1, "log") - start
        at = start + expand(t, rate) * rate
        return symmetric_function(at, "exp"), self._dexp(at, rate)

    def inner_point(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """``<dlog_x(u), dlog_x(v)>``."""
        return (self._dlog(x, u) * self._dlog(x, v)).sum((-2, -1))

    def distance_point(self, x: Tensor, y: Tensor) -> Tensor:
        """``|log y - log x|_F``."""
        difference = symmetric_function(y, "log") - symmetric_function(x, "log")
        return safe_norm(difference.flatten(-2)).squeeze(-1)

    def log_sqrt_det(self, x: Tensor) -> Tensor:
        """Sum over ``i <= j`` of the log of the divided differences of log at the eigenvalues."""
        values = torch.linalg.eigvalsh(symmetric(x)).clamp_min(torch.finfo(x.dtype).tiny)
        upper = divided_difference(values, "log").log().triu()
        return sum_event(upper.sum((-2, -1)))

    @staticmethod
    def _dlog(x: Tensor, v: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(symmetric(x))
        return frechet(values.clamp_min(torch.finfo(x.dtype).tiny), vectors, v, "log")

    @staticmethod
    def _dexp(at: Tensor, v: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(symmetric(at))
        return frechet(values, vectors, v, "exp")
