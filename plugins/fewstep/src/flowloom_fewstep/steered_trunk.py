"""The large transformer of transition matching: blocks steered by the time, that may read a text."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.conditions import or_zeros
from flowloom.errors import IncompatibleError
from flowloom.models import ConditionEmbedding, TimeEmbedding
from flowloom.models.attention import attend, turn
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import Cond
from flowloom_fewstep.flow_head import normal

__all__ = ["Past", "SteeredTrunk"]


@dataclass
class Past:
    """Keys and values of tokens that were read, a pair a block.

    Args:
        pairs: each ``(batch, heads, tokens, width of a head)``.
    """

    pairs: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """How many were read."""
        return self.pairs[0][0].shape[-2] if self.pairs else 0


class SteeredTrunk(nn.Module):
    """Blocks that attend to the tokens, then to a text, then feed forward (Shaul et al. 2506.23589, A.1).

    The paper gives the trunk's size, 1.7 B, and not how time and text enter it. Here both do as in
    PixArt-alpha (2310.00426): one adaptive norm that all blocks share, each with offsets of its own, and two
    layers on the text. That makes 1.65 B, and 1.69 B with the head; a norm for each block would make 2.3 B.

    Args:
        spec: of the data, for its conditions.
        entries: numbers of a token.
        width: of the tokens within.
        depth: blocks.
        heads: of the attention.
        text: condition of shape ``(tokens, features)`` that blocks attend to; None for none. Where it is
            withheld there are zeros in its place. Other conditions are added to the time.
        who: is told of in refusals.

    Raises:
        IncompatibleError: the text is missing.
        ValueError: heads do not divide the width into multiples of 4.
    """

    def __init__(
        self, spec: Spec, entries: int, width: int, depth: int, heads: int, text: str | None, who: str
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, heads=heads)
        if width % heads or (width // heads) % 4:
            raise ValueError(f"width over heads must be a multiple of 4, got {width} over {heads}")
        if text is not None and len(getattr(spec.conditions.get(text), "shape", ())) != 2:
            raise IncompatibleError(
                f"{who} attends to a condition '{text}' of shape (tokens, features); give null for none"
            )
        self.shape, self.text = () if text is None else spec.conditions[text].shape, text
        self.turned = width // heads // 2
        rest = {name: c for name, c in spec.conditions.items() if name != text}
        self.time, self.condition = TimeEmbedding(width), ConditionEmbedding(rest, width)
        self.to_text = None if text is None else _text_layers(self.shape[1], width)
        self.to_tokens, self.steer = nn.Linear(entries, width), nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(_Block(width, heads, told=text is not None) for _ in range(depth))
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)

    def forward(
        self,
        tokens: Tensor,
        t: Tensor,
        cond: Cond,
        angles: tuple[Tensor, Tensor],
        *,
        places: Tensor | None = None,
        seen: Tensor | None = None,
        past: Past | None = None,
    ) -> Tensor:
        """Features of every token, ``(batch, tokens, width)``.

        Args:
            tokens: ``(batch, tokens, entries)``.
            t: times ``(batch,)``.
            cond: conditions.
            angles: cosines and sines of every token's position; see `flowloom.models.attention.turn`.
            places: added to the tokens, ``(tokens, width)``.
            seen: which tokens, those of ``past`` first, each of these looks at; all where None.
            past: what was read before; it is told of these as well.
        """
        shared = self.steer(F.silu(self.time(t) + self.condition(cond, len(tokens)))).unflatten(-1, (6, -1))
        hidden, text = self.to_tokens(tokens), self._text(tokens, cond)
        if places is not None:
            hidden = hidden + places
        for i, block in enumerate(self.blocks):
            hidden = block(hidden, shared, text, angles, seen, past, i)
        return normal(hidden)

    def _text(self, x: Tensor, cond: Cond) -> Tensor | None:
        if self.text is None or self.to_text is None:
            return None
        told: Tensor = self.to_text(or_zeros(cond, self.text, self.shape, x))
        return told


class _Block(nn.Module):
    """Attention, attention to the text, feed-forward; the first and the last steered by what is shared."""

    def __init__(self, width: int, heads: int, told: bool) -> None:
        super().__init__()
        self.heads = heads
        self.offsets = nn.Parameter(torch.randn(6, width) / width**0.5)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.ask = nn.Linear(width, width) if told else None
        self.answer = nn.Linear(width, 2 * width) if told else None
        self.tell = nn.Linear(width, width) if told else None
        if self.tell is not None:  # as in PixArt-alpha: the text is heard when there is something to hear
            nn.init.zeros_(self.tell.weight)
            nn.init.zeros_(self.tell.bias)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def forward(
        self,
        x: Tensor,
        shared: Tensor,
        text: Tensor | None,
        angles: tuple[Tensor, Tensor],
        seen: Tensor | None,
        past: Past | None,
        number: int,
    ) -> Tensor:
        shift, scale, gate, shift_feed, scale_feed, gate_feed = (shared + self.offsets)[:, :, None].unbind(1)
        q, k, v = self._split(self.qkv(normal(x) * (1 + scale) + shift), 3)
        q, k = turn(q, angles), turn(k, angles)
        if past is not None:
            k, v = _kept(past, number, k, v)
        x = x + gate * self.mix(attend(q, k, v, seen).transpose(1, 2).flatten(2))
        if text is not None and self.ask is not None and self.answer is not None and self.tell is not None:
            (q,), (k, v) = self._split(self.ask(x), 1), self._split(self.answer(text), 2)
            x = x + self.tell(attend(q, k, v).transpose(1, 2).flatten(2))
        return x + gate_feed * self.feed(normal(x) * (1 + scale_feed) + shift_feed)

    def _split(self, tokens: Tensor, parts: int) -> tuple[Tensor, ...]:
        return tokens.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def _kept(past: Past, number: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """All keys and values of a block, these put beside those that were there."""
    if number == len(past.pairs):
        past.pairs.append((k, v))
    else:
        before = past.pairs[number]
        past.pairs[number] = torch.cat([before[0], k], -2), torch.cat([before[1], v], -2)
    return past.pairs[number]


def _text_layers(features: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, width), nn.GELU("tanh"), nn.Linear(width, width))
