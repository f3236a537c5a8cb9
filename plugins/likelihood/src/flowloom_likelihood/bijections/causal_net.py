"""A transformer that tells the law of every token given those before it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.models.encoder import EncoderBlock, Past
from flowloom.models.sizes import require_sizes
from flowloom.spec import Condition
from flowloom.state import Cond
from flowloom_likelihood.bijections.prefix import Prefix

Moments = tuple[Tensor, Tensor]
"""Means and log standard deviations of tokens, ``(batch, tokens, channels)`` each."""
Positions = Literal["rotary", "learned"]
Scale = Literal["softplus", "exp"]
_ONE = math.log(math.e - 1)
"""softplus of this is 1, so that a scale of raw value 0 is 1."""


@dataclass
class Reading:
    """Where a network stands that reads tokens one after the other.

    Args:
        past: what every block remembers.
        place: of the token whose law is told next.
    """

    past: list[Past]
    place: int = 0


class TokenLaws(nn.Module, ABC):
    """A network that tells the Gaussian law of every token given those before it.

    Attributes:
        grid: rows and columns of the tokens.
        branches: evaluations that one call costs.
    """

    grid: tuple[int, int]
    branches: int = 1

    @abstractmethod
    def begin(self) -> Reading:
        """Nothing has been read."""

    @abstractmethod
    def read(self, x: Tensor, cond: Cond, reading: Reading) -> Moments:
        """Read further tokens ``(batch, n, channels)``, and tell the law of the token after each.

        The first call of a reading tells that of the first token as well.
        """

    def forward(self, x: Tensor, cond: Cond) -> Moments:
        """The law of every one of the tokens ``(batch, T, channels)``, all at once."""
        return self.read(x[:, :-1], cond, self.begin())


class CausalNet(TokenLaws):
    r"""Means and scales of tokens, each by a causal transformer of what came before (2506.06276, section 3).

    .. math:: (m, r)_i = c \tanh\big(\mathrm{NN}(\text{conditions}, x_{<i}) / c\big), \qquad
              \mu = m, \quad \sigma = \mathrm{softplus}(r + \log(e - 1))

    or :math:`\sigma = e^r`. The last layer is zero at first, so that :math:`\mu = 0, \sigma = 1`.

    Args:
        grid: rows and columns of the tokens.
        channels: numbers in every token.
        width: of the transformer.
        depth: its blocks.
        heads: of its attention.
        conditions: those that it is told; None for none.
        prefix: tell them as tokens before the others; otherwise their mean is added to every token.
        start: read a learned first token, whose answer is the law of the first; otherwise the first token
            stays as it is.
        positions: ``rotary`` in two dimensions (and one of the prefix), or ``learned``.
        scale: ``softplus`` or ``exp``.
        clip: c; 0 for none.
        norm: whether an RMS norm stands before the last layer.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        channels: int,
        width: int,
        depth: int,
        heads: int,
        conditions: Mapping[str, Condition] | None = None,
        prefix: bool = True,
        start: bool = True,
        positions: Positions = "rotary",
        scale: Scale = "softplus",
        clip: float = 4.0,
        norm: bool = True,
    ) -> None:
        super().__init__()
        require_sizes(channels=channels, width=width, depth=depth, heads=heads)
        if width % heads or (positions == "rotary" and width // heads % 2):
            raise ValueError(f"width {width} must divide into {heads} heads, of even size where they turn")
        if positions not in ("rotary", "learned") or scale not in ("softplus", "exp"):
            raise ValueError("positions are rotary or learned, and scale is softplus or exp")
        if clip < 0:
            raise ValueError(f"clip must be positive, or 0 for none, got {clip}")
        self.grid, self.prefix, self.scale, self.clip = grid, prefix, scale, clip
        self.size = width // heads
        told = Prefix(conditions, width) if conditions else None
        self.told = told if told is not None and told.length else None
        self.enter = nn.Linear(channels, width)
        self.start = nn.Parameter(torch.randn(1, channels)) if start else None
        # A learned first token stands at the first place, and all others may be read after it.
        tokens = grid[0] * grid[1] + int(start)
        self.places = nn.Parameter(0.01 * torch.randn(tokens, width)) if positions == "learned" else None
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, causal=True) for _ in range(depth))
        self.norm = nn.RMSNorm(width) if norm else nn.Identity()
        self.out = nn.Linear(width, 2 * channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def begin(self) -> Reading:
        """Nothing has been read."""
        return Reading([Past() for _ in self.blocks])

    def read(self, x: Tensor, cond: Cond, reading: Reading) -> Moments:
        """See `TokenLaws.read`."""
        fresh = reading.place == 0
        hidden = self._read(x, cond, reading)
        raw = self.out(self.norm(hidden.to(self.out.weight.dtype)))
        if fresh and self.start is None:
            raw = torch.cat([raw.new_zeros(len(x), 1, raw.shape[-1]), raw], 1)
        reading.place += x.shape[1] + int(fresh)
        if self.clip:
            raw = self.clip * torch.tanh(raw / self.clip)
        # Single precision at least, whatever the transformer computes in: the map has to invert.
        mean, raw = raw.to(torch.promote_types(raw.dtype, torch.float32)).chunk(2, -1)
        return mean, raw if self.scale == "exp" else F.softplus(raw + _ONE).log()

    def hidden(self, x: Tensor, cond: Cond, layer: int) -> Tensor:
        """What the first ``layer`` blocks make of tokens ``(batch, T, channels)``, ``(batch, T, width)``.

        What stands at a token has seen that token, and those before it.
        """
        return self._read(x, cond, Reading([Past() for _ in range(layer)]))[:, -x.shape[1] :]

    def _read(self, x: Tensor, cond: Cond, reading: Reading) -> Tensor:
        """Answers of the blocks to the tokens ``x``, and to the learned first one where nothing was read."""
        fresh, n = reading.place == 0, len(x)
        if fresh and self.start is not None:
            x = torch.cat([self.start.expand(n, 1, -1).to(x.dtype), x], 1)
        # The place of a token that is read: without a learned first one, the one before what it tells.
        place = reading.place if fresh or self.start is not None else reading.place - 1
        hidden = self.enter(x)
        new, before = hidden.shape[1], 0
        if self.places is not None:
            hidden = hidden + self.places[place : place + new]
        if self.told is not None:
            told = self.told(cond, n)
            assert told is not None
            if not self.prefix:
                hidden = hidden + told.mean(1, keepdim=True)
            elif fresh:
                hidden, before = torch.cat([told.to(hidden.dtype), hidden], 1), told.shape[1]
        angles = None if self.places is not None else self._angles(place, new, before, hidden)
        for block, past in zip(self.blocks, reading.past, strict=False):
            hidden = block(hidden, angles, past)
        return hidden[:, before:]

    def _angles(self, place: int, n: int, before: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines ``(before + n, size / 2)`` of a prefix, and of ``n`` places from ``place``."""
        where = torch.arange(place, place + n, device=like.device)
        columns = self.grid[1]
        step = torch.arange(before, device=like.device) / max(1, before) * max(self.grid)
        along = torch.stack([where // columns, where % columns, torch.zeros_like(where)], 1).float()
        told = torch.stack([torch.zeros_like(step), torch.zeros_like(step), step], 1)
        pairs = self.size // 2
        prefix = pairs // 4 if self.told is not None and self.prefix else 0
        sizes = ((pairs - prefix + 1) // 2, (pairs - prefix) // 2, prefix)
        spread = [10_000.0 ** -(torch.arange(size, device=like.device) / max(1, size)) for size in sizes]
        position = torch.cat([told, along])
        angle = torch.cat([position[:, k, None] * spread[k] for k in range(3)], 1)
        return angle.cos().to(like.dtype), angle.sin().to(like.dtype)
