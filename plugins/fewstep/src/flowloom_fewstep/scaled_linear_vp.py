"""The schedule of Stable Diffusion."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.schedules import Schedule, require_latest

__all__ = ["ScaledLinearVP"]


class ScaledLinearVP(Schedule):
    r"""Variance preserving, with a noise rate whose root is linear: that of Stable Diffusion (2112.10752).

    With :math:`\sqrt{\beta(s)} = a + (b - a) s`, :math:`s = 1 - t` and :math:`T = \int_0^s \beta`:
    :math:`\alpha_t = e^{-T/2},\ \sigma_t = \sqrt{1 - \alpha_t^2}`; rates are 0.85 to 12 over unit time, which
    are 0.00085 to 0.012 over each of 1,000 steps. 6.9 % of the data are left at t=0, where sampling starts
    from noise alone, as it does there.

    Args:
        beta_min: of the noise rate.
        beta_max: of the noise rate.
        latest: sigma' diverges at t=1; times beyond this are evaluated here.

    Raises:
        ValueError: an argument is out of range.
    """

    leaves = 0.07

    def __init__(self, beta_min: float = 0.85, beta_max: float = 12.0, latest: float = 1 - 1e-3) -> None:
        require_latest(latest)
        if not 0 < beta_min < beta_max < math.inf:
            raise ValueError(f"rates are positive, finite and grow, got {beta_min} and {beta_max}")
        self.beta_min, self.beta_max, self.latest = beta_min, beta_max, latest

    def _root(self, t: Tensor) -> Tensor:
        low, high = math.sqrt(self.beta_min), math.sqrt(self.beta_max)
        return low + (high - low) * (1 - t)

    def _log_alpha(self, t: Tensor) -> Tensor:
        # A difference of cubes, divided by that of the roots.
        low, root = math.sqrt(self.beta_min), self._root(t)
        return -(1 - t) * (root.square() + root * low + low**2) / 6

    def alpha(self, t: Tensor) -> Tensor:
        """``exp(-T/2)``."""
        return self._log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        """``sqrt(1 - alpha^2)``."""
        return (-torch.expm1(2 * self._log_alpha(t))).clamp_min(0).sqrt()

    def d_alpha(self, t: Tensor) -> Tensor:
        """``beta / 2 alpha``."""
        return 0.5 * self._root(t).square() * self.alpha(t)

    def d_sigma(self, t: Tensor) -> Tensor:
        """``-alpha alpha' / sigma``, at no later than ``latest``."""
        t = t.clamp(max=self.latest)
        return -self.alpha(t) * self.d_alpha(t) / self.sigma(t)
