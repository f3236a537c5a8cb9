"""Time laws of simplex flows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.paths import Path
from flowloom.times import TimeLaw
from flowloom_sequences.simplex.path import DirichletPath


class ExponentialTimes(TimeLaw):
    r"""The training law of Dirichlet flows: :math:`a = 1 + 2\,\mathrm{Exp}(1)` (2402.05841, appendix).

    With the path's :math:`a = 1 + (a_{max} - 1) t` that is :math:`t = \theta\,\mathrm{Exp}(1)`,
    :math:`\theta = 2 / (a_{max} - 1)`. The paper does not bound a, but its sampler stops at ``largest``,
    so the law is cut there (t <= 1): at the default 8 that leaves out 3 % of the draws.

    Args:
        scale: mean of ``a - 1`` before the cut.
        largest: the concentration at t = 1; the path's where left out, 8 where that has none.
        latest: see `TimeLaw`.
        stratified: see `TimeLaw`.
        path: whose ``largest`` it is; injected from the recipe.
    """

    def __init__(
        self,
        scale: float = 2.0,
        largest: float | None = None,
        latest: float = 1.0,
        stratified: bool = False,
        path: Path | None = None,
    ) -> None:
        super().__init__(latest, stratified)
        if largest is None:
            largest = path.largest if isinstance(path, DirichletPath) else 8.0
        if scale <= 0 or largest <= 1:
            raise ValueError(f"need scale > 0 and largest > 1, got {scale} and {largest}")
        self.theta = scale / (largest - 1)

    def quantile(self, u: Tensor) -> Tensor:
        """``-theta log(1 - u (1 - exp(-1/theta)))``."""
        return -self.theta * torch.log1p(-u * -math.expm1(-1 / self.theta))


class AtSource(TimeLaw):
    """Always t = 0: for one-step students, which only ever see x0."""

    def __init__(self) -> None:
        super().__init__()

    def quantile(self, u: Tensor) -> Tensor:
        """Zeros."""
        return torch.zeros_like(u)
