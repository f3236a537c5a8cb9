"""Couplings of patch tokens: channels against channels, or places against places."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from flowloom.models.encoder import EncoderBlock
from flowloom.state import Cond
from flowloom_likelihood.bijections.base import Bijection, Image
from flowloom_likelihood.bijections.coupling import CouplingNet

Split = Literal["channels", "checkerboard", "columns", "rows"]
SPATIAL: tuple[Split, ...] = ("checkerboard", "columns", "rows")
"""Splits of places, in the order in which the authors' code goes through them."""
BOUND = 2.0
"""m, the largest scale; sigmoid(0) m = 1, so that a coupling starts as the identity."""


class TokenNet(nn.Module):
    """A vision transformer between two linear maps, the last one zero at first; no class token.

    Args:
        tokens: their number, for learned positions.
        inputs: numbers in every token.
        outputs: numbers out.
        width: of the transformer.
        depth: its blocks.
        heads: of its attention.
    """

    def __init__(self, tokens: int, inputs: int, outputs: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.places = nn.Parameter(torch.randn(tokens, width) / math.sqrt(width))
        self.blocks = nn.Sequential(*(EncoderBlock(width, heads) for _ in range(depth)))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, initialise: bool = False) -> Tensor:
        """``(batch, tokens, inputs)`` to ``(batch, tokens, outputs)``; nothing starts at statistics."""
        answer: Tensor = self.out(self.norm(self.blocks(self.embed(x) + self.places)))
        return answer


class GridNet(CouplingNet):
    """Glow's convolutions on tokens laid out as a grid: what a transformer is compared with.

    Args:
        grid: rows and columns.
        inputs: numbers in every token.
        outputs: numbers out.
        width: channels between.
    """

    def __init__(self, grid: tuple[int, int], inputs: int, outputs: int, width: int) -> None:
        super().__init__(inputs, outputs, width)
        self.grid = grid

    def forward(self, x: Tensor, initialise: bool = False) -> Tensor:
        """``(batch, tokens, inputs)`` to ``(batch, tokens, outputs)``."""
        image = x.transpose(1, 2).unflatten(2, self.grid)
        return super().forward(image, initialise).flatten(2).transpose(1, 2)


class PatchCoupling(Bijection):
    r"""One half of tokens ``(batch, T, c)`` moves, by what a network says of the other half.

    .. math:: (b, r) = \mathrm{NN}(x_1), \quad s = m\,\mathrm{sigmoid}(r), \quad y_1 = x_1, \quad
              y_2 = (x_2 + b) \odot s, \quad \log|\det| = \sum \log s

    with m = 2 (Kolesnikov et al., "Jet", 2412.15129, section 3). Halves are those of a fixed order of the
    channels, drawn once, or of places: the colours of a checkerboard, every other column or every other row.
    A token of such a half is cut into two, so that the network always sees T tokens of c/2 numbers.

    Args:
        net: reads a half ``(batch, T, c/2)`` and tells shift and raw scale of the other, ``(batch, T, c)``.
        split: into which halves.
        grid: rows and columns of the tokens.
        channels: c.
        flip: which half moves.
    """

    order: Tensor

    def __init__(
        self, net: nn.Module, split: Split, grid: tuple[int, int], channels: int, flip: bool = False
    ) -> None:
        super().__init__()
        self.net, self.axis, self.flip = net, 2 if split == "channels" else 1, flip
        if split == "channels":
            order = torch.randperm(channels)
        else:
            row, column = torch.arange(grid[0])[:, None], torch.arange(grid[1])[None]
            places = {"checkerboard": row + column, "columns": column + 0 * row, "rows": row + 0 * column}
            order = (places[split] % 2).flatten().argsort(stable=True)
        self.register_buffer("order", order)

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        cut = len(x), x.shape[1], x.shape[2] // 2
        first, second = x.index_select(self.axis, self.order).chunk(2, self.axis)
        first, second = first.reshape(cut), second.reshape(cut)
        return (second, first) if self.flip else (first, second)

    def _joined(self, still: Tensor, moved: Tensor) -> Tensor:
        halves = [moved, still] if self.flip else [still, moved]
        if self.axis == 1:
            halves = [half.reshape(len(half), half.shape[1] // 2, -1) for half in halves]
        both = torch.cat(halves, self.axis)
        return both.index_select(self.axis, self.order.argsort())

    def _said(self, still: Tensor, initialise: bool = False) -> tuple[Tensor, Tensor]:
        shift, raw = self.net(still, initialise).chunk(2, -1)
        return shift, nn.functional.logsigmoid(raw) + math.log(BOUND)

    def _moved(self, x: Tensor, initialise: bool) -> Image:
        still, moving = self._halves(x)
        shift, log_scale = self._said(still, initialise)
        return self._joined(still, (moving + shift) * log_scale.exp()), log_scale.flatten(1).sum(1)

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Move one half; one network call."""
        return self._moved(x, initialise=False)

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Move it back; one network call, as forwards."""
        still, moved = self._halves(z)
        shift, log_scale = self._said(still)
        return self._joined(still, moved * (-log_scale).exp() - shift)

    @torch.no_grad()
    def initialise(self, x: Tensor, cond: Cond) -> Tensor:
        """Normalise the activations of a convolutional network on ``x``."""
        return self._moved(x, initialise=True)[0]
