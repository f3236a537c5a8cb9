"""A causal language model of continuous frames with a flow-matching head for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flowloom.conditions import withheld
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import ConditionEmbedding
from flowloom.models.attention import rotary
from flowloom.models.encoder import EncoderBlock, Past
from flowloom.models.sizes import require_sizes
from flowloom.module_names import module_name
from flowloom.spec import Spec
from flowloom.state import Cond, State, Time
from flowloom_audio.felle.heads import LEVELS, FrameHead, Levels
from flowloom_audio.models.reading import heard, symbols_in

__all__ = ["FrameLanguageModel", "Reading"]


@dataclass
class Reading:
    """Where a language model stands that reads frame after frame.

    Args:
        past: what every block remembers.
        marks: which of the tokens that were read are real, ``(batch, read)``; None before any.
        frames: that were read.
    """

    past: list[Past]
    marks: Tensor | None = None
    frames: int = 0


class FrameLanguageModel(nn.Module):
    r"""Contexts :math:`z_i` of frames from text, a prompt and the frames before, and heads that draw by them.

    One sequence is read by a causal transformer (FELLE, 2502.11128, section 4.1): what holds for the example
    as a whole, frames of the prompt, symbols of the text, a first token, and the frames so far, which pass
    through three fully connected layers. Text, prompt and frames count their places each from 0. From
    :math:`z_i` follow the velocities of frame i (`FrameHead`), what is expected of it, and whether it is the
    last. Called as a network, it answers with what it expects of every frame, given those before it.

    Withheld conditions have learned vectors in their place.

    Args:
        spec: of the states, frames ``(frames, bands)``; injected from the recipe.
        width: of the tokens.
        depth: blocks.
        heads: of the attention.
        hidden: width inside the blocks; four times ``width`` where None.
        head_width: of the heads; ``width`` where None.
        head_depth: residual blocks of each.
        levels: ``coarse-to-fine``: even bands, then odd ones, which are told the even ones. ``whole``: all
            bands at once. ``decoupled``: even and odd ones, which do not know of each other.
        dropout: between the layers that frames pass before they are read, in training.
        ignore: conditions that it is not told (those that only judges want).

    Raises:
        IncompatibleError: the states are no frames, or a condition stands beside every frame.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        width: int = 192,
        depth: int = 4,
        heads: int = 4,
        hidden: int | None = None,
        head_width: int | None = None,
        head_depth: int = 3,
        levels: Levels = "coarse-to-fine",
        dropout: float = 0.0,
        ignore: Sequence[str] = (),
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, heads=heads, hidden=hidden, head_width=head_width)
        require_sizes(head_depth=head_depth)
        if width % heads or width % 2:
            raise IncompatibleError(f"width {width} must be even and divide into {heads} heads")
        if levels not in LEVELS:
            raise ValueError(f"levels are {', '.join(LEVELS)}, not {levels!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        self.spec, self.told = spec, heard(spec, ignore, (), "frame-language-model")
        self.ignored = self.told.ignored
        if self.told.beside or spec.named("given"):
            names = ", ".join((*self.told.beside, *spec.named("given")))
            raise IncompatibleError(
                f"frame-language-model makes frames one after the other, and knows nothing beside them; "
                f"'{names}' stands there: name it in ignore, leave out views that give frames, or use "
                "speech-transformer"
            )
        bands = spec.shape[1]
        if bands < 2 and levels != "whole":
            raise IncompatibleError(f"a frame of {bands} band has no levels; set levels: whole")
        self.width, self.levels = width, LEVELS[levels]
        self.before = nn.Sequential(
            *(nn.Linear(bands, width), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(width, width),
        )
        self.whole = ConditionEmbedding(self.told.whole, width)
        self.front, self.start = (nn.Parameter(0.02 * torch.randn(width)) for _ in "ab")
        self.texts = nn.ModuleDict(
            {module_name(n): nn.Embedding(spec.conditions[n].classes or 1, width) for n in self.told.texts}
        )
        self.null = nn.ParameterDict(
            {
                module_name(n): nn.Parameter(0.02 * torch.randn(width))
                for n in (*self.told.voices, *self.told.texts)
            }
        )
        self.kinds = nn.Parameter(0.02 * torch.randn(len(self.null), width)) if len(self.null) else None
        self.blocks = nn.ModuleList(_block(width, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.drawers = nn.ModuleList(
            FrameHead(*level.sizes(bands), width, head_width or width, head_depth) for level in self.levels
        )
        self.expected, self.last = nn.Linear(width, bands), nn.Linear(width, 1)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """What is expected of every frame of ``(batch, frames, bands)`` given those before it."""
        assert isinstance(x, Tensor)
        layout = Layout.of(self.spec, cond) or Layout()
        answer: Tensor = layout.zero(self.expected(self.contexts(layout.zero(x), cond)))
        return answer

    def contexts(self, frames: Tensor, cond: Cond) -> Tensor:
        """Contexts ``(batch, frames, width)`` of all frames at once, each of the frames before it."""
        return self.read(frames[:, :-1], cond, self.begin())

    def velocity(self, level: int, x: Tensor, t: Tensor, z: Tensor, frame: Tensor) -> Tensor:
        """Velocities of the bands of a level.

        Args:
            level: its number.
            x: those bands, on their way, ``(*points, bands of the level)``.
            t: times ``(*points)``.
            z: contexts ``(*points, width)``.
            frame: frames ``(*points, bands)``, of which the bands of earlier levels are looked at.
        """
        told = self.levels[level].told
        answer: Tensor = self.drawers[level](x, t, z, None if told is None else frame[..., told])
        return answer

    def begin(self) -> Reading:
        """Nothing has been read."""
        return Reading([Past() for _ in self.blocks])

    def read(self, frames: Tensor, cond: Cond, reading: Reading) -> Tensor:
        """Read further frames ``(batch, n, bands)``; the contexts of the frame after each.

        The first call reads the conditions, and gives the context of the first frame as well: ``n + 1``.
        """
        n, new = frames.shape[:2]
        hidden = self.before(frames) + self._places(reading.frames, new, frames)
        marks = frames.new_ones(n, new, dtype=torch.bool)
        behind = 0
        if reading.marks is None:
            ahead, real = self._conditions(cond, n, frames)
            behind = ahead.shape[1] - 1
            hidden, marks = torch.cat([ahead.to(hidden.dtype), hidden], 1), torch.cat([real, marks], 1)
        else:
            marks = torch.cat([reading.marks, marks], 1)
        reading.marks, reading.frames = marks, reading.frames + new
        # Without text nothing is padded in front of a frame, and the fused causal kernel serves.
        seen = marks[:, None, None] if self.told.texts else None
        for block, past in zip(self.blocks, reading.past, strict=True):
            hidden = block(hidden, None, past, seen)
        answer: Tensor = self.norm(hidden[:, behind:])
        return answer

    def _conditions(self, cond: Cond, n: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens that stand before the frames, ``(batch, tokens, width)``, and which of them are real."""
        pieces = [(self.front + self.whole(cond, n)).expand(n, -1)[:, None]]
        marks = [like.new_ones(n, 1, dtype=torch.bool)]
        for kind, name in enumerate((*self.told.voices, *self.told.texts)):
            value, null = cond.get(name), self.null[module_name(name)]
            length = self.spec.conditions[name].shape[0] if value is None else value.shape[1]
            tokens, real = null.expand(n, length, -1), like.new_ones(n, length, dtype=torch.bool)
            if value is not None:
                text = name in self.told.texts
                said = self.texts[module_name(name)](value) if text else self.before(value.to(like.dtype))
                there = (
                    torch.arange(length, device=like.device) < symbols_in(value)[:, None] if text else real
                )
                rows = withheld(cond, name)
                hide = real.new_zeros(n, 1) if rows is None else rows[:, None]
                tokens, real = torch.where(hide[..., None], tokens, said), there | hide
            assert self.kinds is not None
            pieces.append(tokens + self.kinds[kind] + self._places(0, length, like))
            marks.append(real)
        pieces.append(self.start.expand(n, 1, -1))
        marks.append(like.new_ones(n, 1, dtype=torch.bool))
        return torch.cat(pieces, 1), torch.cat(marks, 1)

    def _places(self, first: int, count: int, like: Tensor) -> Tensor:
        """Cosines and sines ``(count, width)`` of places from ``first`` on."""
        return torch.cat(rotary(first + count, self.width, like), -1)[first:]


def _block(width: int, heads: int, hidden: int | None) -> EncoderBlock:
    """A causal block with rectified units, as the paper has them."""
    block = EncoderBlock(width, heads, causal=True, hidden=hidden)
    block.mlp[1] = nn.ReLU()
    return block
