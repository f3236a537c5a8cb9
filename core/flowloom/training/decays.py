"""Decays: the learning rate as a share of its peak, step by step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod


class Decay(ABC):
    """A law of the learning rate: linear warm-up, then a shape over the steps that are left.

    Args:
        warmup: steps over which the rate grows linearly; the first step has ``1 / warmup`` of the peak.
    """

    def __init__(self, warmup: int = 0) -> None:
        if warmup < 0:
            raise ValueError(f"warmup must not be negative, got {warmup}")
        self.warmup = warmup

    def __call__(self, step: int, of: int) -> float:
        """Share of the peak at ``step`` (counted from 0) of a training of ``of`` steps."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        return self.shape((step - self.warmup) / max(1, of - self.warmup))

    @abstractmethod
    def shape(self, done: float) -> float:
        """Share of the peak once ``done`` of the steps after warm-up are over, in ``[0, 1)``."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(warmup={self.warmup})"


class Constant(Decay):
    """The peak throughout, after warm-up."""

    def shape(self, done: float) -> float:
        """1."""
        return 1.0


class Cosine(Decay):
    """Half a cosine from the peak down to ``floor`` (Loshchilov and Hutter 1608.03983).

    Args:
        warmup: see `Decay`.
        floor: share of the peak that it ends at.
    """

    def __init__(self, warmup: int = 0, floor: float = 0.0) -> None:
        super().__init__(warmup)
        self.floor = _share(floor)

    def shape(self, done: float) -> float:
        """``floor + (1 - floor) (1 + cos(pi done)) / 2``."""
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * done))


class Linear(Decay):
    """A straight line from the peak down to ``floor``.

    Args:
        warmup: see `Decay`.
        floor: share of the peak that it ends at.
    """

    def __init__(self, warmup: int = 0, floor: float = 0.0) -> None:
        super().__init__(warmup)
        self.floor = _share(floor)

    def shape(self, done: float) -> float:
        """``1 - (1 - floor) done``."""
        return 1 - (1 - self.floor) * done


def _share(floor: float) -> float:
    if not 0 <= floor <= 1:
        raise ValueError(f"floor is a share of the peak in [0, 1], got {floor}")
    return floor
