"""Multi-scale structure: squeezing places into channels, and letting half of the channels go."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flowloom.errors import ShapeError
from flowloom.state import Cond
from flowloom_likelihood.bijections.base import Bijection, Image
from flowloom_likelihood.bijections.coupling import ZeroConv


class Squeeze(Bijection):
    """Every 2x2 block of places becomes four channels: ``(C, H, W)`` to ``(4C, H/2, W/2)``.

    Args:
        undo: the other way round.
    """

    def __init__(self, undo: bool = False) -> None:
        super().__init__()
        self.undo = undo

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Squeeze; volumes stay."""
        return self._moved(x, self.undo), x.new_zeros(len(x))

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Put the blocks back."""
        return self._moved(z, not self.undo)

    def _moved(self, x: Tensor, undo: bool) -> Tensor:
        if undo:
            return torch.nn.functional.pixel_shuffle(x, 2)
        if x.shape[-1] % 2 or x.shape[-2] % 2:
            raise ShapeError(f"squeezing needs an even height and width, got {tuple(x.shape[-2:])}")
        return torch.nn.functional.pixel_unshuffle(x, 2)


class FactorOut(Bijection):
    r"""The second half of the channels becomes noise at once, the first half goes on.

    .. math:: z_2 = (h_2 - \mu(h_1)) / \sigma(h_1), \qquad z_1 = g(h_1), \qquad
              \log|\det| = -\sum \log\sigma(h_1) + \log|\det g|

    which is the conditional prior :math:`N(h_2; \mu(h_1), \sigma^2(h_1))` of 1807.03039 (section 3.6, and
    RealNVP 1605.08803) written as a bijection: all of z is standard normal, in the shape of h.

    Args:
        channels: of h, even.
        onward: what becomes of the first half.
    """

    def __init__(self, channels: int, onward: Bijection) -> None:
        super().__init__()
        self.prior = ZeroConv(channels // 2, channels)
        self.onward = onward

    def _apart(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first, second = x.chunk(2, 1)
        mean, log_std = self.prior(first).chunk(2, 1)
        return first, (second - mean) * (-log_std).exp(), -log_std.flatten(1).sum(1)

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Both halves, side by side."""
        return self._both(x, cond, self.onward.transform)

    def unnormalised(self, x: Tensor, cond: Cond) -> Image:
        """What goes on leaves out its constant."""
        return self._both(x, cond, self.onward.unnormalised)

    def _both(self, x: Tensor, cond: Cond, onward: Callable[[Tensor, Cond], Image]) -> Image:
        first, second, log_det = self._apart(x)
        first, further = onward(first, cond)
        return torch.cat([first, second], 1), log_det + further

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """The first half tells the law of the second."""
        first, second = z.chunk(2, 1)
        first = self.onward.inverse(first, cond)
        mean, log_std = self.prior(first).chunk(2, 1)
        return torch.cat([first, second * log_std.exp() + mean], 1)

    def initialise(self, x: Tensor, cond: Cond) -> Tensor:
        """What goes on is initialised."""
        first, second, _ = self._apart(x)
        return torch.cat([self.onward.initialise(first, cond), second], 1)
