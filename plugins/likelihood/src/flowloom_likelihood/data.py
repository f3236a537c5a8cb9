"""Data whose density is known: draws of a flow with random weights."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.data.drawn import Drawn
from flowloom.spec import Spec
from flowloom_likelihood.bijections.smooth_leaky import SmoothLeaky


class RandomFlow(Drawn):
    """Draws of a flow of two full matrices with a smooth leaky ReLU between them, of unit covariance.

    The matrices are random and do not depend on ``seed``, which draws the rows.

    Args:
        dim: D, of the vectors.
        n: rows of every split.
        seed: of the draws.
        alpha: left slope of the activation.
        spread: deviation of what is bent; the larger, the further from a Gaussian.

    Raises:
        ValueError: one of them is out of range.
    """

    def __init__(
        self, dim: int = 32, n: int = 20_000, seed: int = 0, alpha: float = 0.3, spread: float = 3.0
    ) -> None:
        super().__init__(n, seed)
        if dim < 1 or not 0 < alpha < 1 or not 0 < spread < math.inf:
            raise ValueError(
                f"dim counts from 1, alpha lies in (0, 1) and spread is positive: {dim}, {alpha}, {spread}"
            )
        self.dim, self.alpha, self.spread = dim, alpha, spread

    @property
    def spec(self) -> Spec:
        """Vectors."""
        return Spec(shape=(self.dim,))

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Rows ``(n, dim)``, of mean 0 and covariance 1 up to how well the law's own draws tell them."""
        law = _law(self.dim, self.alpha, self.spread)
        centred = (law.draws(n, generator).double() - law.mean).T
        whitened = torch.linalg.solve_triangular(law.factor, centred, upper=False).T
        return Examples(whitened.to(torch.get_default_dtype()))


class _Law:
    """The matrices, and what makes their draws white."""

    def __init__(self, dim: int, alpha: float, spread: float) -> None:
        by = torch.Generator().manual_seed(2_305)
        self.bent = SmoothLeaky(alpha)
        self.first, second = (torch.randn(dim, dim, generator=by) for _ in range(2))
        self.second = torch.linalg.qr(second).Q * spread
        self.offset = torch.randn(dim, generator=by)
        many = self.draws(max(4 * dim, min(20_000, 2**22 // dim)), by).double()
        self.mean, self.factor = many.mean(0), torch.linalg.cholesky(many.T.cov())

    @torch.no_grad()
    def draws(self, n: int, by: torch.Generator) -> Tensor:
        """``n`` of them, not white yet."""
        z = torch.randn(n, len(self.offset), generator=by)
        return self.bent.inverse(z @ self.second.T + self.offset, {}) @ self.first.T


@lru_cache(maxsize=4)
def _law(dim: int, alpha: float, spread: float) -> _Law:
    return _Law(dim, alpha, spread)
