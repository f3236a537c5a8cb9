"""How steep the landscape is between noise and data: a plugin's kind, with laws of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

__all__ = ["Linear", "Magnitude", "Piecewise", "Truncated"]


class Magnitude(ABC):
    """The gradient magnitude c(t) of equilibrium matching (2510.02300, section 3.2).

    It is 0 at the data (t=1), or data would be no equilibrium.

    Args:
        scale: multiplier of all of it; the paper's best is 4.
    """

    def __init__(self, scale: float = 4.0) -> None:
        if scale <= 0:
            raise ValueError(f"scale must be positive, got {scale}")
        self.scale = scale

    @abstractmethod
    def shape(self, t: Tensor) -> Tensor:
        """c(t) at scale 1, in the shape of ``t``."""

    def __call__(self, t: Tensor) -> Tensor:
        """c(t), in shape and dtype of ``t``."""
        return self.scale * self.shape(t)


class Linear(Magnitude):
    """``c(t) = scale (1 - t)``.

    Args:
        scale: see `Magnitude`.
    """

    def shape(self, t: Tensor) -> Tensor:
        """``1 - t``."""
        return 1 - t


class Truncated(Magnitude):
    """``c(t) = scale min(1, (1 - t) / (1 - a))``: level up to ``a``, then linear down to 0.

    Args:
        a: where the decay begins, in [0, 1); 0 is `Linear`.
        scale: see `Magnitude`.
    """

    def __init__(self, a: float = 0.8, scale: float = 4.0) -> None:
        super().__init__(scale)
        _require_share(a, 0.0)
        self.a = a

    def shape(self, t: Tensor) -> Tensor:
        """1 up to ``a``, then linear down to 0."""
        return ((1 - t) / (1 - self.a)).clamp(max=1.0)


class Piecewise(Magnitude):
    """``c(0) = scale b``, linear to ``scale`` at ``a``, then linear down to 0.

    Args:
        a: where both pieces meet, in (0, 1).
        b: relative value at the source, not negative; 1 is `Truncated`.
        scale: see `Magnitude`.
    """

    def __init__(self, a: float = 0.8, b: float = 1.4, scale: float = 4.0) -> None:
        super().__init__(scale)
        _require_share(a, 1e-6)
        if b < 0:
            raise ValueError(f"b must not be negative, got {b}")
        self.a, self.b = a, b

    def shape(self, t: Tensor) -> Tensor:
        """``b - (b - 1) t / a`` up to ``a``, then linear down to 0."""
        return torch.where(t <= self.a, self.b - (self.b - 1) * t / self.a, (1 - t) / (1 - self.a))


def _require_share(a: float, least: float) -> None:
    if not least <= a < 1:
        raise ValueError(f"a must lie in {'(' if least else '['}0, 1), got {a}")
