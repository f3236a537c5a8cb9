"""A smooth activation that can be inverted."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from flowloom.state import Cond, sum_event
from flowloom_likelihood.bijections.base import Bijection, Image
from flowloom_likelihood.bijections.increasing import solve_increasing


class SmoothLeaky(Bijection):
    r"""The smooth leaky ReLU of every entry, whose second derivative is not zero.

    .. math:: y = \alpha x + (1 - \alpha) \log(1 + e^x) + r x, \qquad
              \log|\det| = \sum \log\big(\alpha + (1 - \alpha)\,\mathrm{sigmoid}(x) + r\big)

    (2305.15267, section 5, after Gresele et al. 2006.15090). The inverse is found by bisection between the
    leaky ReLU below it and the one above.

    Args:
        alpha: slope on the far left, in (0, 1).
        residual: whether r is 1 and not 0.
    """

    def __init__(self, alpha: float = 0.3, residual: bool = False) -> None:
        super().__init__()
        if not 0 < alpha < 1:
            raise ValueError(f"alpha lies in (0, 1), got {alpha}")
        self.alpha, self.residual = alpha, float(residual)

    def _value(self, x: Tensor) -> Tensor:
        return (self.alpha + self.residual) * x + (1 - self.alpha) * softplus(x)

    def _slope(self, x: Tensor) -> Tensor:
        return self.alpha + self.residual + (1 - self.alpha) * x.sigmoid()

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Bend."""
        return self._value(x), sum_event(self._slope(x).log())

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Straighten."""

        def leaky(y: Tensor) -> Tensor:
            return torch.where(y < 0, y / (self.alpha + self.residual), y / (1 + self.residual))

        gap = (1 - self.alpha) * math.log(2)
        return solve_increasing(self._value, self._slope, z, leaky(z - gap), leaky(z))
