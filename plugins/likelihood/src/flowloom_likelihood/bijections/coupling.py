"""Coupling layers: one half of the channels moves, by what a network says of the other half."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from flowloom.state import Cond
from flowloom_likelihood.bijections.actnorm import ActNorm
from flowloom_likelihood.bijections.base import Bijection, Image


class ZeroConv(nn.Module):
    """A 3x3 convolution that answers 0 at first, with a learned scale ``exp(3 s)`` for every channel.

    Args:
        inputs: channels in.
        outputs: channels out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        nn.init.zeros_(self.conv.weight)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)
        self.log_scale = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, inputs, H, W)`` to ``(batch, outputs, H, W)``."""
        scaled: Tensor = self.conv(x) * (3 * self.log_scale).exp()[:, None, None]
        return scaled


class CouplingNet(nn.Module):
    """Glow's network of a coupling: convolutions 3x3, 1x1 and 3x3, the last one zero at first (1807.03039).

    Activation normalisation takes the place of biases, as in the authors' code.

    Args:
        inputs: channels in.
        outputs: channels out.
        width: channels between.
    """

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 1, bias=False)
        for conv in (self.first, self.second):
            nn.init.normal_(conv.weight, std=0.05)
        self.norms = nn.ModuleList([ActNorm(width), ActNorm(width)])
        self.last = ZeroConv(width, outputs)

    def forward(self, x: Tensor, initialise: bool = False) -> Tensor:
        """``(batch, inputs, H, W)`` to ``(batch, outputs, H, W)``."""
        for conv, norm in zip((self.first, self.second), self.norms, strict=True):
            assert isinstance(norm, ActNorm)
            x = conv(x)
            x = (norm.initialise(x, {}) if initialise else norm.transform(x, {})[0]).relu()
        answer: Tensor = self.last(x)
        return answer


class Coupling(Bijection):
    r"""An affine or additive coupling of the halves :math:`(x_a, x_b)` of the channels.

    .. math:: (r, m) = \mathrm{NN}(x_b), \quad s = \mathrm{sigmoid}(r + 2), \quad
              y_a = s \odot x_a + m, \quad y_b = x_b, \quad \log|\det| = \sum \log s

    (1807.03039, table 1, with the bounded scale of the authors' code). The additive one has s = 1.

    Args:
        channels: of images ``(batch, channels, H, W)``, even.
        width: of the network.
        kind: ``affine`` or ``additive``.
    """

    def __init__(
        self, channels: int, width: int = 512, kind: Literal["affine", "additive"] = "affine"
    ) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(f"a coupling halves its channels, and {channels} is odd")
        if kind not in ("affine", "additive"):
            raise ValueError(f"kind is affine or additive, got {kind!r}")
        self.affine = kind == "affine"
        self.net = CouplingNet(channels // 2, channels if self.affine else channels // 2, width)

    def _parameters_of(self, half: Tensor, initialise: bool = False) -> tuple[Tensor, Tensor]:
        """Log scale and shift of the other half."""
        said = self.net(half, initialise)
        if not self.affine:
            return torch.zeros_like(said), said
        raw, shift = said.chunk(2, 1)
        return nn.functional.logsigmoid(raw + 2), shift

    def _moved(self, x: Tensor, initialise: bool) -> Image:
        a, b = x.chunk(2, 1)
        log_scale, shift = self._parameters_of(b, initialise)
        return torch.cat([log_scale.exp() * a + shift, b], 1), log_scale.flatten(1).sum(1)

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Move the first half."""
        return self._moved(x, initialise=False)

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Move it back; one network call, as forwards."""
        a, b = z.chunk(2, 1)
        log_scale, shift = self._parameters_of(b)
        return torch.cat([(a - shift) * (-log_scale).exp(), b], 1)

    @torch.no_grad()
    def initialise(self, x: Tensor, cond: Cond) -> Tensor:
        """Normalise the network's activations on ``x``."""
        return self._moved(x, initialise=True)[0]
