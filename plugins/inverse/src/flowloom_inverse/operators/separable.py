r"""Linear measurements that act on each dimension by itself: :math:`A = K_1 \otimes K_2 \otimes \dots`.

Each factor is a small matrix, so that adjoint, pseudo-inverse and the nearest fitting answer are exact, at
any boundary: with :math:`K_d = U_d S_d V_d^T`, A has the singular values :math:`s = \prod_d s_d` and

.. math:: \arg\min_u \tau\|u - x\|^2 + \|A u - y\|^2 = x + V\,\frac{s}{s^2 + \tau}\,U^T (y - A x).

Where all measured dimensions are the last ones and few entries together, each of these maps is one small
matrix, written out once: a product with it costs less than the way through the factors.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom_inverse.operators.base import Operator

__all__ = ["AveragePool", "GaussianBlur", "Separable"]


_WRITTEN_OUT = 256
"""Entries, of which a map is written out as one matrix."""


@dataclass(frozen=True)
class _Factor:
    """One matrix ``(m, n)`` with its singular value decomposition."""

    matrix: Tensor
    left: Tensor
    values: Tensor
    right: Tensor  # (n, k)
    inverse: Tensor  # (n, m)
    condition: float  # the least singular value over the largest


class Separable(Operator):
    """A linear measurement along some dimensions of an event.

    Args:
        dims: dimensions of an event that are measured, from 0 or from the end; every one by `matrix`.
        cutoff: singular values below this share of the largest count as 0 where measurements are brought
            back: what a blur has all but erased is not brought back as noise.
    """

    def __init__(self, dims: Sequence[int] = (-2, -1), cutoff: float = 1e-3) -> None:
        if not dims or len(set(dims)) != len(dims):
            raise ValueError(f"dims names dimensions of an event, each once; got {list(dims)}")
        if not 0 <= cutoff < 1:
            raise ValueError(f"cutoff is a share of the largest singular value in [0, 1), got {cutoff}")
        self.dims, self.cutoff = tuple(dims), cutoff
        self._factors: dict[tuple[int, torch.dtype, torch.device], _Factor] = {}
        self._matrices: dict[tuple[object, ...], tuple[Tensor, torch.Size]] = {}

    @abstractmethod
    def matrix(self, size: int) -> Tensor:
        """The factor ``(m, size)`` in float64 for a dimension of ``size`` entries."""

    def require(self, spec: Spec) -> None:
        """As for all, and that the data have the dimensions."""
        super().require(spec)
        n = len(spec.shape)
        for dim in self.dims:
            if not -n <= dim < n:
                raise IncompatibleError(
                    f"{type(self).__name__} measures along dimension {dim} (dims), and data have the shape "
                    f"{tuple(spec.shape)}; a series of steps and columns is measured by dims: [0]"
                )
            self.matrix(spec.shape[dim])

    def __call__(self, x: Tensor, drawn: Cond) -> Tensor:
        """Every dimension by its matrix."""
        return self._mapped("measured", x, self._measured)

    def adjoint(self, y: Tensor, drawn: Cond) -> Tensor:
        """Every dimension by its transpose."""
        return self._mapped("adjoint", y, self._turned)

    def back(self, y: Tensor, drawn: Cond) -> Tensor:
        """The pseudo-inverse, of singular values above the cut-off."""
        return self._mapped(0.0, y, lambda v: self._brought(v, 0.0))

    def settle(self, x: Tensor, y: Tensor, drawn: Cond, trust: float = 0.0) -> Tensor:
        """In the coordinates of the singular vectors."""
        return x + self._mapped(float(trust), y - self(x, drawn), lambda v: self._brought(v, trust))

    def _mapped(self, name: object, x: Tensor, by: Callable[[Tensor], Tensor]) -> Tensor:
        """``by(x)``, a linear map along the measured dimensions, by one matrix where it is small."""
        places = self._places(x)
        sizes = tuple(x.shape[place] for place in places)
        if math.prod(sizes) > _WRITTEN_OUT or sorted(places) != list(range(-len(places), 0)):
            return by(x)
        last = x.shape[-len(places) :]
        key = (name, last, tuple(places), x.dtype, x.device)
        if key not in self._matrices:
            # In double precision, of what the map makes of each entry by itself; with as many dimensions as
            # x, so that those counted from the front are the same.
            basis = torch.eye(math.prod(sizes), dtype=torch.float64, device=x.device)
            image = by(basis.reshape(-1, *(1,) * (x.ndim - 1 - len(places)), *last))
            self._matrices[key] = image.flatten(1).to(x), image.shape[-len(places) :]
        matrix, shape = self._matrices[key]
        return (x.flatten(-len(places)) @ matrix).unflatten(-1, shape)

    def _measured(self, x: Tensor) -> Tensor:
        for dim, factor in self._along(x):
            x = _apply(x, factor.matrix, dim)
        return x

    def _turned(self, y: Tensor) -> Tensor:
        for dim, factor in self._of(y):
            y = _apply(y, factor.matrix.T, dim)
        return y

    def _brought(self, y: Tensor, trust: float) -> Tensor:
        factors = self._of(y)
        if trust == 0 and math.prod(factor.condition for _, factor in factors) >= max(self.cutoff, 1e-6):
            for dim, factor in factors:  # nothing is cut off, and each dimension is brought back by itself
                y = _apply(y, factor.inverse, dim)
            return y
        values = y.new_ones(())
        for dim, factor in factors:
            y = _apply(y, factor.left.T, dim)
            values = values[..., None] * factor.values  # in the order of dims
        # Trust bounds the gain by itself.
        kept = values >= self.cutoff * values.amax() if trust == 0 else values > 0
        gain = torch.where(kept, values / (values.square() + trust), 0.0)
        places = [dim % y.ndim for dim, _ in factors]
        # The gain is (dims...); lay it over the dimensions of y.
        order = sorted(range(len(places)), key=places.__getitem__)
        shape = [1] * y.ndim
        for place in places:
            shape[place] = y.shape[place]
        y = y * gain.permute(order).reshape(shape)
        for dim, factor in factors:
            y = _apply(y, factor.right, dim)
        return y

    def _along(self, x: Tensor) -> list[tuple[int, _Factor]]:
        return [(dim, self._factor(x.shape[dim], x)) for dim in self._places(x)]

    def _of(self, y: Tensor) -> list[tuple[int, _Factor]]:
        return [(dim, self._factor(self.size_of(y.shape[dim]), y)) for dim in self._places(y)]

    def size_of(self, measured: int) -> int:
        """Entries of the data along a dimension of which so many were measured."""
        return measured

    def _places(self, x: Tensor) -> list[int]:
        return [dim if dim < 0 else dim + 1 - x.ndim for dim in self.dims]

    def _factor(self, size: int, like: Tensor) -> _Factor:
        key = (size, like.dtype, like.device)
        if key not in self._factors:
            matrix = self.matrix(size)
            left, values, right = torch.linalg.svd(matrix, full_matrices=False)
            parts = (matrix, left, values, right.T, torch.linalg.pinv(matrix))
            condition = float(values.min() / values.max())
            matrix, left, values, right, inverse = (v.to(like) for v in parts)
            self._factors[key] = _Factor(matrix, left, values, right, inverse, condition)
        return self._factors[key]


class AveragePool(Separable):
    """Means of neighbouring entries: what super-resolution undoes.

    Args:
        factor: entries that become one, along each dimension.
        dims: dimensions of an event; height and width of images by default.
        cutoff: see `Separable`.
    """

    def __init__(self, factor: int = 2, dims: Sequence[int] = (-2, -1), cutoff: float = 1e-3) -> None:
        super().__init__(dims, cutoff)
        if factor < 2:
            raise ValueError(f"factor must be at least 2, got {factor}")
        self.factor = factor

    def matrix(self, size: int) -> Tensor:
        """Rows of ``factor`` equal weights.

        Raises:
            IncompatibleError: the size is no multiple of the factor.
        """
        if size % self.factor:
            raise IncompatibleError(f"average-pool: {size} entries are no multiple of factor {self.factor}")
        eye = torch.eye(size // self.factor, dtype=torch.float64)
        return eye.repeat_interleave(self.factor, 1) / self.factor

    def size_of(self, measured: int) -> int:
        """``factor`` times as many."""
        return measured * self.factor


class GaussianBlur(Separable):
    """A Gaussian blur that renormalises at the borders, where part of its kernel lies outside.

    Args:
        sigma: of the kernel, in entries.
        dims: dimensions of an event; height and width of images by default.
        cutoff: see `Separable`.
    """

    def __init__(self, sigma: float = 1.0, dims: Sequence[int] = (-2, -1), cutoff: float = 0.05) -> None:
        super().__init__(dims, cutoff)
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, got {sigma}")
        self.sigma = sigma

    def matrix(self, size: int) -> Tensor:
        """Rows of a Gaussian about each entry, with sum 1."""
        place = torch.arange(size, dtype=torch.float64)
        kernel = (-0.5 * ((place - place[:, None]) / self.sigma).square()).exp()
        return kernel / kernel.sum(1, keepdim=True)


def _apply(x: Tensor, matrix: Tensor, dim: int) -> Tensor:
    """``matrix`` along a dimension counted from the end; the last two need no copies."""
    if dim == -1:
        return x @ matrix.T
    if dim == -2:
        return matrix @ x
    return (x.movedim(dim, -1) @ matrix.T).movedim(-1, dim)
