"""The contract of a dequantiser, and the uniform one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from flowloom.state import Cond
from flowloom_likelihood.bijections import Image


class Dequantizer(nn.Module, ABC):
    r"""A law q(u | x) of the place u in [0, 1)^D of data x within their cells, as a map of normal noise.

    .. math:: u = g_x(\epsilon), \quad \epsilon \sim N(0, I), \quad
              \log q(u | x) = \log N(\epsilon; 0, I) - \log|\det \partial g_x / \partial \epsilon|

    (Ho et al., "Flow++", 1902.00275, section 3.1). `log_probability` is the bound that it serves.
    """

    @abstractmethod
    def place(self, noise: Tensor, x: Tensor, cond: Cond) -> Image:
        """Places u, and ``log q(u | x)`` in nats, ``(batch,)``.

        Args:
            noise: standard normal, ``(batch, *event)``.
            x: middles of the cells, in [-1/2, 1/2], ``(batch, *event)``.
            cond: conditions of the data.
        """

    def initialise(self, noise: Tensor, x: Tensor, cond: Cond) -> None:
        """Set what starts at statistics of a first batch; called once, before training."""


class UniformDequantizer(Dequantizer):
    """Every place is as likely: q = 1, by the distribution function of the noise (1511.01844)."""

    def place(self, noise: Tensor, x: Tensor, cond: Cond) -> Image:
        """``u = Phi(noise)``."""
        return torch.special.ndtr(noise), noise.new_zeros(len(noise))
