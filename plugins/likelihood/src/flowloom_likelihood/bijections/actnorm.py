"""Activation normalisation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowloom.state import Cond
from flowloom_likelihood.bijections.base import Bijection, Image


class ActNorm(Bijection):
    r"""A scale and a shift for every channel, which give the first batch mean 0 and variance 1.

    .. math:: y = e^{s} \odot (x + b), \qquad \log|\det| = HW \sum_c s_c

    (Kingma and Dhariwal, "Glow", 1807.03039, section 3.1). Afterwards they are ordinary parameters.

    Args:
        channels: of images ``(batch, channels, H, W)``.
        places: H and W, where every place has its own (1902.00275); else all share one pair.
    """

    def __init__(self, channels: int, places: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels, *places))
        self.log_scale = nn.Parameter(torch.zeros(channels, *places))

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Normalise."""
        y, _ = self.unnormalised(x, cond)
        return y, (self.log_scale.sum() * self._shared(x)).expand(len(x))

    def unnormalised(self, x: Tensor, cond: Cond) -> Image:
        """Normalise; the determinant is the same for every x."""
        y = (x + self._wide(self.shift)) * self._wide(self.log_scale.exp())
        return y, x.new_zeros(len(x))

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Undo it."""
        return z * self._wide((-self.log_scale).exp()) - self._wide(self.shift)

    @torch.no_grad()
    def initialise(self, x: Tensor, cond: Cond) -> Tensor:
        """Take mean and deviation of every channel, over rows and the places that share one, from ``x``."""
        over = (0,) if self.shift.ndim > 1 else (0, 2, 3)
        deviation, mean = torch.std_mean(x, over, correction=0)
        self.shift.copy_(-mean)
        self.log_scale.copy_(-(deviation + 1e-6).log())
        return self.transform(x, cond)[0]

    def _wide(self, values: Tensor) -> Tensor:
        return values if values.ndim > 1 else values[:, None, None]

    def _shared(self, x: Tensor) -> int:
        return 1 if self.shift.ndim > 1 else math.prod(x.shape[2:])
