"""Data whose density is known: draws of a flow with random weights."""

from __future__ import annotations

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
    """

    def __init__(
        self, dim: int = 32, n: int = 20_000, seed: int = 0, alpha: float = 0.3, spread: float = 3.0
    ) -> None:
        super().__init__(n, seed)
        self.dim, self.alpha, self.spread = dim, alpha, spread

    @property
    def spec(self) -> Spec:
        """Vectors."""
        return Spec(shape=(self.dim,))

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Rows ``(n, dim)``, of mean 0 and covariance 1 up to how well the law's own draws tell them."""
        law = torch.Generator().manual_seed(2_305)
        bent = SmoothLeaky(self.alpha)
        first, second = (torch.randn(self.dim, self.dim, generator=law) for _ in range(2))
        second = torch.linalg.qr(second).Q * self.spread
        offset = torch.randn(self.dim, generator=law)

        def draws(count: int, by: torch.Generator) -> Tensor:
            z = torch.randn(count, self.dim, generator=by)
            with torch.no_grad():
                return bent.inverse(z @ second.T + offset, {}) @ first.T

        many = draws(max(4 * self.dim, min(20_000, 2**22 // self.dim)), law).double()
        factor = torch.linalg.cholesky(many.T.cov())
        centred = (draws(n, generator).double() - many.mean(0)).T
        whitened = torch.linalg.solve_triangular(factor, centred, upper=False).T
        return Examples(whitened.to(torch.get_default_dtype()))
