"""Per-time weights of a loss."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from flowloom.schedules import CondOT, Schedule

__all__ = ["Constant", "InverseSigma", "MinSNR", "Weight"]


class Weight(ABC):
    """A positive weight for every time; multiplies the per-example loss."""

    @abstractmethod
    def __call__(self, t: Tensor) -> Tensor:
        """Weights in the shape of ``t``."""


class Constant(Weight):
    """Every time counts alike."""

    def __call__(self, t: Tensor) -> Tensor:
        """Ones."""
        return torch.ones_like(t)


class MinSNR(Weight):
    r"""``min(snr, gamma) / snr`` on noise prediction, i.e. ``min(snr, gamma)`` on data prediction.

    Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy" (2303.09556), in the form
    for a loss on the data.

    Args:
        schedule: whose signal-to-noise ratio counts.
        gamma: the cap.
    """

    def __init__(self, schedule: Schedule | None = None, gamma: float = 5.0) -> None:
        if not gamma > 0:
            raise ValueError(f"gamma must be positive, got {gamma}")
        self.schedule, self.gamma = schedule or CondOT(), gamma

    def __call__(self, t: Tensor) -> Tensor:
        """Weights in the shape of ``t``."""
        ratio = self.schedule.alpha(t) / self.schedule.sigma(t).clamp_min(1e-6)
        return ratio.square().clamp(max=self.gamma)


class InverseSigma(Weight):
    """``1 / sigma(t)^power``, capped: turns a data-prediction loss into a velocity one.

    Args:
        schedule: whose sigma counts.
        power: 2 makes a data-prediction loss equal to the velocity loss on the straight path.
        cap: largest weight.
    """

    def __init__(self, schedule: Schedule | None = None, power: float = 2.0, cap: float = 1e4) -> None:
        if not (math.isfinite(power) and cap > 0):
            raise ValueError(f"power is finite and cap positive, got {power} and {cap}")
        self.schedule, self.power, self.cap = schedule or CondOT(), power, cap

    def __call__(self, t: Tensor) -> Tensor:
        """Weights in the shape of ``t``."""
        return self.schedule.sigma(t).clamp_min(1e-6).pow(-self.power).clamp(max=self.cap)
