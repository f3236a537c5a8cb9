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
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Normalise."""
        y, _ = self.unnormalised(x, cond)
        return y, (self.log_scale.sum() * math.prod(x.shape[2:])).expand(len(x))

    def unnormalised(self, x: Tensor, cond: Cond) -> Image:
        """Normalise; the determinant is the same for every x."""
        y = (x + self.shift[:, None, None]) * self.log_scale.exp()[:, None, None]
        return y, x.new_zeros(len(x))

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Undo it."""
        return z * (-self.log_scale).exp()[:, None, None] - self.shift[:, None, None]

    @torch.no_grad()
    def initialise(self, x: Tensor, cond: Cond) -> Tensor:
        """Take mean and deviation of every channel, over rows and places, from ``x``."""
        deviation, mean = torch.std_mean(x, (0, 2, 3), correction=0)
        self.shift.copy_(-mean)
        self.log_scale.copy_(-(deviation + 1e-6).log())
        return self.transform(x, cond)[0]
