"""The Factorized Discrete Flow Denoiser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.errors import IncompatibleError, ShapeError
from flowloom.layout import Layout
from flowloom.models import TimeEmbedding
from flowloom.models.attention import rotary
from flowloom.models.block import Block
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom.state import State, Time
from flowloom_audio.diflow.streams import Streams

__all__ = ["FactorisedDenoiser"]


class FactorisedDenoiser(nn.Module):
    """Posteriors of prosody and acoustic tokens, by heads of their own (DiFlow-TTS 2509.09631).

    Of every frame, the tokens of prosody and of acoustics are embedded, and the embeddings of content, which
    objective ``factorised-flow`` finds from the text, stand between them; each has a vector of its kind
    added, and all of them together are projected to one vector of the frame. Before the frames stand those
    of a prompt, never noised, whose content is withheld (zero). DiT blocks with rotary positions follow,
    steered by the time and, where there is one, the vector of the voice; what entered the first block joins
    what leaves the last one (a long skip connection). Then prosody and acoustics part: each has a head.
    Tokens of content are neither looked at nor answered (logits 0), for they are given.

    Args:
        spec: of tokens ``(frames, streams)``, prosody first, then content, then acoustics. The
            conditions ``spoken`` (of objective ``factorised-flow``), ``prompt``, tokens ``(other frames,
            streams)``, and ``voice``, a vector, are read where it has them. Injected from the recipe.
        prosody: streams of prosody.
        content: streams of content.
        width: of the frames inside.
        depth: number of blocks.
        heads: of the attention.
        embed: size of a token's embedding.
        head: ``separate``, or ``shared``: one head for all streams, told which stream is asked for (the
            ablation of the paper).
        dropout: in training, after attention and MLP.

    Raises:
        IncompatibleError: the states are no such tokens.
    """

    def __init__(
        self,
        spec: Spec,
        prosody: int = 1,
        content: int = 0,
        width: int = 192,
        depth: int = 6,
        heads: int = 4,
        embed: int = 64,
        head: Literal["separate", "shared"] = "separate",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_sizes(width=width, depth=depth, heads=heads, embed=embed)
        if width % heads or (width // heads) % 2:
            raise IncompatibleError(f"width {width} must divide into {heads} heads of even size")
        self.spec, self.heads = spec, heads
        self.streams = Streams.of(spec, prosody, content, "model factorised-denoiser")
        self.vocab = int(spec.vocab or 0)
        spoken = spec.conditions.get("spoken")
        made = self.streams.prosody + self.streams.acoustic
        self.tables = nn.ModuleList(nn.Embedding(self.vocab + 1, embed) for _ in range(made))
        self.says = None if spoken is None else nn.Linear(spoken.shape[1], embed * max(1, content))
        self.kinds = nn.Parameter(0.02 * torch.randn(3, embed))
        self.enter = nn.Linear(embed * (made + max(1, content)), width)
        self.time = TimeEmbedding(width)
        voice = spec.conditions.get("voice")
        self.voice = (
            None
            if voice is None
            else nn.Sequential(nn.Linear(voice.shape[0], width), nn.SiLU(), nn.Linear(width, width))
        )
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(depth))
        self.join = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, 2 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)
        self.stream = nn.Parameter(0.5 * torch.randn(made, width)) if head == "shared" else None
        shares = (1,) if head == "shared" else (self.streams.prosody, self.streams.acoustic)
        self.answers = nn.ModuleList(_head(width, share * self.vocab) for share in shares)

    def forward(self, x: State, t: Time, /, **cond: Tensor) -> Tensor:
        """Tokens ``(batch, frames, streams)`` and times ``(batch,)`` to logits, one dimension more."""
        assert isinstance(x, Tensor)
        assert isinstance(t, Tensor)
        layout = Layout.of(self.spec, cond) or Layout()
        tokens: Tensor = x if layout.real is None else Layout(real=layout.real).zero(x)
        size = self.kinds.shape[1] * max(1, self.streams.content)
        silent = self.kinds.new_zeros(*x.shape[:2], size)
        frames = self._frames(tokens, silent if self.says is None else self._said(cond, x.shape[1]))
        before = cond.get("prompt")
        ahead = 0 if before is None else before.shape[1]
        if before is not None:
            silent = self.kinds.new_zeros(*before.shape[:2], size)
            frames = torch.cat([self._frames(before, silent), frames], 1)
        hidden = self.enter(frames)
        context = self.time(t).to(hidden.dtype)
        if self.voice is not None:
            context = context + self.voice(cond["voice"].to(hidden.dtype))
        seen = None
        if layout.real is not None:
            marks = F.pad(layout.real, (ahead, 0), value=True)
            seen = (marks | ~marks.any(1, keepdim=True))[:, None, None]
        steer = F.silu(context)[:, None]
        angles = rotary(hidden.shape[1], hidden.shape[-1] // self.heads, hidden)
        entered = hidden
        for block in self.blocks:
            hidden = block(hidden, steer, angles, seen)
        hidden = self.join(torch.cat([hidden, entered], -1))[:, ahead:]
        shift, scale = self.modulate(steer).chunk(2, -1)
        logits = self._answered(self.norm(hidden) * (1 + scale) + shift)
        prosody, acoustic = logits.split([self.streams.prosody, self.streams.acoustic], 2)
        blank = logits.new_zeros(*logits.shape[:2], self.streams.content, self.vocab)
        return torch.cat([prosody, blank, acoustic], 2)

    def _said(self, cond: Mapping[str, Tensor], length: int) -> Tensor:
        spoken = cond.get("spoken")
        if spoken is None or self.says is None:
            raise ShapeError("this network is told what is said as 'spoken', and was called without it")
        said: Tensor = self.says(spoken[:, :length].to(self.says.weight.dtype))
        return said

    def _frames(self, tokens: Tensor, said: Tensor) -> Tensor:
        """All embeddings of every frame side by side, ``(batch, frames, ...)``."""
        first = self.streams.prosody
        shown = torch.cat([tokens[..., :first], tokens[..., self.streams.held.stop :]], -1)
        found = [table(shown[..., i]) for i, table in enumerate(self.tables)]
        prosody = [one + self.kinds[0] for one in found[:first]]
        acoustic = [one + self.kinds[2] for one in found[first:]]
        content = said.unflatten(-1, (-1, self.kinds.shape[1])) + self.kinds[1]
        return torch.cat([*prosody, content.flatten(2), *acoustic], -1)

    def _answered(self, hidden: Tensor) -> Tensor:
        """Logits of all streams that are made, ``(batch, frames, made, vocab)``."""
        if self.stream is not None:
            shared: Tensor = self.answers[0](hidden[:, :, None] + self.stream)
            return shared
        return torch.cat([head(hidden).unflatten(-1, (-1, self.vocab)) for head in self.answers], 2)


def _head(width: int, size: int) -> nn.Sequential:
    last = nn.Linear(width, size)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(width, width), nn.SiLU(), last)
