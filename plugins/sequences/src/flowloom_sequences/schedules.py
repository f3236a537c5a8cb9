"""Schedules of discrete flows."""

from __future__ import annotations

from torch import Tensor

from flowloom.schedules import Schedule


class Cubic(Schedule):
    r"""The cubic with chosen slopes at both ends (Gat et al. 2407.15595, section 4):

    :math:`\kappa_t = -2t^3 + 3t^2 + a(t^3 - 2t^2 + t) + b(t^3 - t^2)`, so that
    :math:`\dot\kappa_0 = a` and :math:`\dot\kappa_1 = b`.

    Args:
        start: a, the slope at t = 0.
        end: b, the slope at t = 1. Both in [0, 3], where the cubic is increasing.
    """

    def __init__(self, start: float = 1.0, end: float = 1.0) -> None:
        if not (0 <= start <= 3 and 0 <= end <= 3):
            raise ValueError(f"slopes must lie in [0, 3], where kappa increases; got {start} and {end}")
        self.start, self.end = start, end

    def alpha(self, t: Tensor) -> Tensor:
        """kappa."""
        a, b = self.start, self.end
        return t * (a + t * (3 - 2 * a - b + t * (a + b - 2)))

    def sigma(self, t: Tensor) -> Tensor:
        """``1 - kappa``."""
        return 1 - self.alpha(t)

    def d_alpha(self, t: Tensor) -> Tensor:
        """kappa'."""
        a, b = self.start, self.end
        return a + t * (2 * (3 - 2 * a - b) + t * 3 * (a + b - 2))

    def d_sigma(self, t: Tensor) -> Tensor:
        """``-kappa'``."""
        return -self.d_alpha(t)
