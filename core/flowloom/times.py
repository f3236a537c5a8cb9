"""Time laws: how often each t is visited in training.

A law is given by its quantile function, so that plain and stratified draws are the same code. The time law
and the per-time weight are separate knobs; their product is what the loss sees.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw

__all__ = ["Beta", "LogitNormal", "TimeLaw", "Uniform"]


class TimeLaw(ABC):
    """A law of t, on [0, 1] unless it says otherwise.

    Attributes:
        support: lowest and highest time that it draws; those of the path's span, in whichever order.

    Args:
        latest: draws are scaled to ``[0, latest]``; discrete losses with a weight that diverges at t=1
            set it a little below 1.
        stratified: spread the draws of a batch evenly: one uniform offset for the whole batch, then a
            random order (Kingma et al. 2107.00630, low-discrepancy sampler).
    """

    support: tuple[float, float] = (0.0, 1.0)

    def __init__(self, latest: float = 1.0, stratified: bool = False) -> None:
        if not 0 < latest <= 1:
            raise ValueError(f"latest must lie in (0, 1], got {latest}")
        self.latest, self.stratified = latest, stratified

    @abstractmethod
    def quantile(self, u: Tensor) -> Tensor:
        """The inverse of the distribution function at ``u`` in ``[0, 1]``: shape of ``u``."""

    def sample(self, n: int, draw: Draw = GLOBAL) -> Tensor:
        """Draw times of shape ``(n,)``."""
        asked = draw.dtype or torch.get_default_dtype()
        if asked.itemsize < 4:  # quantiles need digits that half precision has not
            return self.sample(n, draw.in_dtype(torch.float32)).to(asked)
        even = self.stratified
        u = (draw.permutation(n) + draw.uniform(())) / n if even else draw.uniform((n,))
        return self.quantile(u) * self.latest


class Uniform(TimeLaw):
    """Every t alike."""

    def quantile(self, u: Tensor) -> Tensor:
        """``u``."""
        return u


class LogitNormal(TimeLaw):
    """``logit(t) ~ N(mean, std^2)``: most visits in the middle (Esser et al. 2403.03206).

    Args:
        mean: of the logit; positive favours the data end.
        std: of the logit.
        latest: see `TimeLaw`.
        stratified: see `TimeLaw`.
    """

    def __init__(
        self, mean: float = 0.0, std: float = 1.0, latest: float = 1.0, stratified: bool = False
    ) -> None:
        super().__init__(latest, stratified)
        if not (0 < std < math.inf and math.isfinite(mean)):
            raise ValueError(f"mean and std are finite, and std positive; got {mean} and {std}")
        self.mean, self.std = mean, std

    def quantile(self, u: Tensor) -> Tensor:
        """``sigmoid(mean + std ndtri(u))``, with u kept off 0 where the logit is infinite."""
        u = u.clamp(torch.finfo(u.dtype).tiny, 1 - torch.finfo(u.dtype).eps)
        return torch.sigmoid(self.mean + self.std * torch.special.ndtri(u))


class Beta(TimeLaw):
    """``t ~ Beta(a, b)``; the default visits the data end more.

    Policies of robots visit the noise more: pi0 (2410.24164) is ``a: 1, b: 1.5, latest: 0.999`` here.

    Args:
        a: exponent at the data end, positive; larger visits t near 1 more.
        b: exponent at the source end, positive; larger visits t near 0 more.
        latest: see `TimeLaw`.
        stratified: see `TimeLaw`.
    """

    def __init__(self, a: float = 1.5, b: float = 1.0, latest: float = 1.0, stratified: bool = False) -> None:
        super().__init__(latest, stratified)
        if not (0 < a < math.inf and 0 < b < math.inf):
            raise ValueError(f"a and b must be positive and finite, got a={a}, b={b}")
        self.a, self.b = a, b

    def quantile(self, u: Tensor) -> Tensor:
        """The inverse of the regularised incomplete beta function (scipy, on the CPU)."""
        from scipy.special import betaincinv

        values = betaincinv(self.a, self.b, u.detach().double().cpu().numpy())
        return torch.as_tensor(values, dtype=u.dtype, device=u.device)
