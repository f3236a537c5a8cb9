"""A plain transformer block, and what it remembers of tokens that it has read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flowloom.models.attention import attend, turn


@dataclass
class Past:
    """Keys and values ``(batch, heads, read, size)`` of the tokens that one attention has read.

    Handed to a causal block call after call, it makes reading token by token the same as reading all at
    once, at the cost of the new tokens alone.
    """

    keys: Tensor | None = None
    values: Tensor | None = None

    @property
    def read(self) -> int:
        """How many tokens."""
        return 0 if self.keys is None else self.keys.shape[-2]

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Remember further tokens; keys and values of all of them."""
        if self.keys is not None and self.values is not None:
            k, v = torch.cat([self.keys, k], -2), torch.cat([self.values, v], -2)
        self.keys, self.values = k, v
        return k, v


class EncoderBlock(nn.Module):
    """Attention and MLP, each behind a LayerNorm and added to its input (ViT, 2010.11929, equations 2 and 3).

    Args:
        width: of the tokens.
        heads: of the attention.
        causal: whether a token sees itself and those before it only.
        hidden: width inside the MLP; four times that of the tokens where None.
    """

    def __init__(self, width: int, heads: int, causal: bool = False, hidden: int | None = None) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        hidden = 4 * width if hidden is None else hidden
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(
        self,
        x: Tensor,
        angles: tuple[Tensor, Tensor] | None = None,
        past: Past | None = None,
        seen: Tensor | None = None,
    ) -> Tensor:
        """Tokens ``(batch, tokens, width)``.

        Args:
            x: those that are new.
            angles: of their positions, by which queries and keys are turned (`flowloom.models.attention`).
            past: of a causal block: those read before, which these are added to.
            seen: marks the tokens that each may look at, ``(..., tokens or 1, tokens)``; all where None.
        """
        b, n, width = x.shape
        q, k, v = (
            self.qkv(self.first(x)).reshape(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        )
        if angles is not None:
            q, k = turn(q, angles), turn(k, angles)
        if past is not None:
            k, v = past.extend(k, v)
        x = x + self.join(attend(q, k, v, seen, causal=self.causal).transpose(1, 2).reshape(b, n, width))
        answer: Tensor = x + self.mlp(self.second(x))
        return answer
