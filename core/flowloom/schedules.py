r"""Schedules: how much data and how much source a point at time t holds.

.. math:: x_t = \alpha_t x_1 + \sigma_t x_0, \qquad \alpha: 0 \to 1, \quad \sigma: 1 \to 0.

Sampling starts at x0 itself, so sigma is 1 at t=0. Whether alpha is 0 there is another matter: diffusions
that only add noise (variance exploding, EDM) keep the data as they are throughout, :math:`\alpha = 1`, and
drown them in a source that is much wider. Such a schedule says so (`Schedule.leaves`).

A schedule is immutable and is the one place that path, conversions and solvers ask, so that training and
sampling cannot disagree. Conventions follow Lipman et al., "Flow Matching Guide and Code" (2412.06264).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError

__all__ = [
    "VP",
    "CondOT",
    "Cosine",
    "LinearVP",
    "Polynomial",
    "Schedule",
    "require_latest",
    "starting_at_source",
]


class Schedule(ABC):
    """alpha and sigma with their derivatives, as functions of a time tensor of any shape.

    Attributes:
        latest: derivatives of some schedules diverge at t=1; times beyond ``latest`` are evaluated there.
        leaves: alpha at t=0, by design, up to 2 %: what is left of the data where sampling starts from the
            source alone. 1 where noise is only added; the source must then be much wider than the data.
    """

    latest: float = 1.0
    leaves: float = 0.0

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Weight of the data."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Weight of the source."""

    @abstractmethod
    def d_alpha(self, t: Tensor) -> Tensor:
        """Time derivative of alpha."""

    @abstractmethod
    def d_sigma(self, t: Tensor) -> Tensor:
        """Time derivative of sigma."""

    def ratio(self, t: Tensor) -> Tensor:
        """``rho = alpha / sigma``, increasing in t; the square of it is the signal-to-noise ratio."""
        return self.alpha(t) / self.sigma(t)

    def time_of_ratio(self, rho: Tensor) -> Tensor:
        """Inverse of `ratio`: the t at which ``alpha / sigma = rho``.

        The default bisects (60 halvings); closed forms override it.
        """
        low, high = torch.zeros_like(rho), torch.ones_like(rho)
        for _ in range(60):
            middle = (low + high) / 2
            below = self.alpha(middle) < rho * self.sigma(middle)
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    def __repr__(self) -> str:
        settings = ", ".join(f"{k}={v}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"{type(self).__name__}({settings})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), tuple(sorted(vars(self).items()))))


class CondOT(Schedule):
    r"""The straight path: :math:`\alpha = t,\ \sigma = 1 - (1 - \sigma_{min}) t` (Lipman et al. 2210.02747).

    Args:
        sigma_min: noise left at t=1; 0 ends exactly on the data.
    """

    def __init__(self, sigma_min: float = 0.0) -> None:
        if not 0 <= sigma_min < 1:
            raise ValueError(f"sigma_min must lie in [0, 1), got {sigma_min}")
        self.sigma_min = sigma_min

    def alpha(self, t: Tensor) -> Tensor:
        """``t``."""
        return t

    def sigma(self, t: Tensor) -> Tensor:
        """``1 - (1 - sigma_min) t``."""
        return 1 - (1 - self.sigma_min) * t

    def d_alpha(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(t)

    def d_sigma(self, t: Tensor) -> Tensor:
        """``-(1 - sigma_min)``."""
        return torch.full_like(t, self.sigma_min - 1)

    def time_of_ratio(self, rho: Tensor) -> Tensor:
        """``rho / (1 + (1 - sigma_min) rho)``; an infinite ratio is t=1."""
        finite = torch.where(rho.isinf(), 1, rho)
        return torch.where(rho.isinf(), 1, finite / (1 + (1 - self.sigma_min) * finite)).clamp(max=1)


class Polynomial(Schedule):
    """``alpha = t^n, sigma = 1 - t^n``.

    Args:
        n: exponent, positive.
    """

    def __init__(self, n: float = 2.0) -> None:
        if not 0 < n < math.inf:
            raise ValueError(f"n must be positive and finite, got {n}")
        self.n = n

    def alpha(self, t: Tensor) -> Tensor:
        """``t^n``."""
        return t**self.n

    def sigma(self, t: Tensor) -> Tensor:
        """``1 - t^n``."""
        return 1 - t**self.n

    def d_alpha(self, t: Tensor) -> Tensor:
        """``n t^(n-1)``."""
        return self.n * t ** (self.n - 1)

    def d_sigma(self, t: Tensor) -> Tensor:
        """``-n t^(n-1)``."""
        return -self.n * t ** (self.n - 1)

    def time_of_ratio(self, rho: Tensor) -> Tensor:
        """``(rho / (1 + rho))^(1/n)``."""
        share = torch.where(rho.isinf(), 1, rho / (1 + torch.where(rho.isinf(), 0, rho)))
        return share ** (1 / self.n)


class Cosine(Schedule):
    """The trigonometric path: ``alpha = sin(pi t / 2), sigma = cos(pi t / 2)`` (variance preserving)."""

    def alpha(self, t: Tensor) -> Tensor:
        """``sin(pi t / 2)``."""
        return torch.sin(math.pi / 2 * t)

    def sigma(self, t: Tensor) -> Tensor:
        """``cos(pi t / 2)``, written as a sine so that it is exactly 0 at t=1."""
        return torch.sin(math.pi / 2 * (1 - t))

    def d_alpha(self, t: Tensor) -> Tensor:
        """``pi/2 cos(pi t / 2)``."""
        return math.pi / 2 * torch.sin(math.pi / 2 * (1 - t))

    def d_sigma(self, t: Tensor) -> Tensor:
        """``-pi/2 sin(pi t / 2)``."""
        return -math.pi / 2 * torch.sin(math.pi / 2 * t)

    def time_of_ratio(self, rho: Tensor) -> Tensor:
        """``2/pi atan(rho)``."""
        return torch.atan(rho) * (2 / math.pi)


class LinearVP(Schedule):
    """``alpha = t, sigma = sqrt(1 - t^2)``: variance preserving with linear signal.

    Args:
        latest: sigma' diverges at t=1; times beyond this are evaluated here.
    """

    def __init__(self, latest: float = 1 - 1e-3) -> None:
        require_latest(latest)
        self.latest = latest

    def alpha(self, t: Tensor) -> Tensor:
        """``t``."""
        return t

    def sigma(self, t: Tensor) -> Tensor:
        """``sqrt(1 - t^2)``."""
        return (1 - t.square()).clamp_min(0).sqrt()

    def d_alpha(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(t)

    def d_sigma(self, t: Tensor) -> Tensor:
        """``-t / sigma``, at no later than ``latest``."""
        t = t.clamp(max=self.latest)
        return -t / self.sigma(t)

    def time_of_ratio(self, rho: Tensor) -> Tensor:
        """``rho / sqrt(1 + rho^2)``."""
        return torch.sin(torch.atan(rho))


class VP(Schedule):
    r"""The variance-preserving diffusion path (Song et al. 2011.13456), with t=1 at the data.

    With :math:`T(s) = \beta_{min} s + (\beta_{max} - \beta_{min}) s^2 / 2` and :math:`s = 1 - t`:
    :math:`\alpha_t = e^{-T(s)/2},\ \sigma_t = \sqrt{1 - \alpha_t^2}`. A little signal (0.7 %) is left at t=0.

    Args:
        beta_min: of the linear noise rate.
        beta_max: of the linear noise rate.
        latest: sigma' diverges at t=1; times beyond this are evaluated here.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0, latest: float = 1 - 1e-3) -> None:
        require_latest(latest)
        if not (0 <= beta_min < math.inf and 0 <= beta_max < math.inf and beta_min + beta_max > 0):
            raise ValueError(f"betas are finite, not negative and not both 0, got {beta_min} and {beta_max}")
        self.beta_min, self.beta_max, self.latest = beta_min, beta_max, latest

    def _log_alpha(self, t: Tensor) -> Tensor:
        s = 1 - t
        return -0.5 * (self.beta_min * s + 0.5 * (self.beta_max - self.beta_min) * s.square())

    def alpha(self, t: Tensor) -> Tensor:
        """``exp(-T(1-t)/2)``."""
        return self._log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        """``sqrt(1 - alpha^2)``, through expm1 so that small noise keeps its digits."""
        return (-torch.expm1(2 * self._log_alpha(t))).clamp_min(0).sqrt()

    def d_alpha(self, t: Tensor) -> Tensor:
        """``T'(1-t)/2 alpha``."""
        return 0.5 * (self.beta_min + (self.beta_max - self.beta_min) * (1 - t)) * self.alpha(t)

    def d_sigma(self, t: Tensor) -> Tensor:
        """``-alpha alpha' / sigma``, at no later than ``latest``."""
        t = t.clamp(max=self.latest)
        return -self.alpha(t) * self.d_alpha(t) / self.sigma(t)

    def time_of_ratio(self, rho: Tensor) -> Tensor:
        """Solves ``T(s) = log(1 + 1/rho^2)`` for s; ratios below the first are t=0."""
        # A ratio of 0 would end as infinity over infinity below.
        target = torch.log1p(rho.square().clamp_min(torch.finfo(rho.dtype).tiny).reciprocal())
        slope = self.beta_max - self.beta_min
        root = (self.beta_min**2 + 2 * slope * target).sqrt()
        # The rationalised quadratic formula keeps its digits near s=0 and survives a constant rate.
        return (1 - 2 * target / (self.beta_min + root)).clamp(0, 1)


def require_latest(latest: float) -> None:
    """Ask for a time before t=1, where derivatives that diverge there are still finite.

    Raises:
        ValueError: it is none.
    """
    if not 0 < latest < 1:
        raise ValueError(f"latest lies in (0, 1), where sigma' is finite, got {latest}")


def starting_at_source(schedule: Schedule) -> Schedule:
    """The schedule, for paths that must be at x0 where they start.

    Raises:
        IncompatibleError: it leaves the data there, which only affine paths of a wide source may.
    """
    if schedule.leaves:
        raise IncompatibleError(
            f"{schedule} leaves data of weight {schedule.leaves:g} at t=0, and this path starts at x0 alone; "
            "take it with path: affine, or another schedule such as cond-ot"
        )
    return schedule
