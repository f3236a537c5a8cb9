"""Phonemes to frames: durations, and what is said of content in every frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.models.attention import attend, rotary
from flowloom.models.sizes import require_sizes
from flowloom_audio.models.reading import symbols_in

__all__ = ["FeedForwardBlock", "PhonemeContentMapper", "fitted", "regulated"]


class FeedForwardBlock(nn.Module):
    """Attention and two convolutions, each added to its input and normalised (FastSpeech 1905.09263).

    Args:
        width: of the tokens.
        heads: of the attention.
        hidden: channels between the convolutions.
        kernel: of the first convolution; that of the second is 1.
        dropout: in training, after both.
    """

    def __init__(self, width: int, heads: int, hidden: int, kernel: int = 9, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.into = nn.Conv1d(width, hidden, kernel, padding=kernel // 2)
        self.out = nn.Conv1d(hidden, width, 1)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """Tokens ``(batch, n, width)``; ``real`` marks those that exist, ``(batch, n)``."""
        b, n, width = x.shape
        seen = (real | ~real.any(1, keepdim=True))[:, None, None]
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = self.join(attend(q, k, v, seen).transpose(1, 2).reshape(b, n, width))
        x = self.first(x + F.dropout(mixed, self.dropout, self.training)) * real[..., None]
        inner = self.out(F.relu(self.into(x.transpose(1, 2)))).transpose(1, 2)
        answer: Tensor = self.second(x + F.dropout(inner, self.dropout, self.training)) * real[..., None]
        return answer


class PhonemeContentMapper(nn.Module):
    """The Phoneme-Content Mapper of DiFlow-TTS (2509.09631): deterministic, from symbols to frames.

    An encoder of `FeedForwardBlock` reads the symbols; two convolutions say how long each lasts; the length
    regulator repeats each as often; and one further block for every stream of content, each upon the one
    before, gives an embedding of the frame and the logits of that stream's token.

    Args:
        symbols: number of ids; 0 is padding.
        vocab: of the content tokens.
        content: streams of content; with none a single embedding is given.
        embed: size of an embedding.
        width: of the frames inside.
        text_width: of the symbols inside.
        heads: of the attention.
        hidden: channels between convolutions of the blocks and of the predictor of durations.
        depth: blocks that read the symbols.
        dropout: of the blocks; that of the predictor of durations is 0.5, where this is not 0.
        emits: streams whose tokens every symbol foretells, so that durations can be found by alignment.
    """

    def __init__(
        self,
        symbols: int,
        vocab: int,
        content: int,
        embed: int,
        width: int,
        text_width: int,
        heads: int,
        hidden: int,
        depth: int = 2,
        dropout: float = 0.0,
        emits: int = 0,
    ) -> None:
        super().__init__()
        require_sizes(embed=embed, width=width, text_width=text_width, heads=heads, hidden=hidden)
        self.content, self.vocab, self.emits = content, vocab, emits
        self.table = nn.Embedding(symbols, text_width)
        self.reader = nn.ModuleList(
            FeedForwardBlock(text_width, heads, hidden, dropout=dropout) for _ in range(depth)
        )
        self.widen = nn.Linear(text_width, width)
        self.lasts = nn.ModuleList(
            [nn.Conv1d(width, hidden, 3, padding=1), nn.Conv1d(hidden, hidden, 3, padding=1)]
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(2))
        self.pause, self.last = nn.Dropout(0.5 if dropout else 0.0), nn.Linear(hidden, 1)
        layers = max(1, content)
        self.frames = nn.ModuleList(
            FeedForwardBlock(width, heads, hidden, dropout=dropout) for _ in range(layers)
        )
        self.embeds = nn.ModuleList(nn.Linear(width, embed) for _ in range(layers))
        self.says = nn.ModuleList(nn.Linear(width, vocab) for _ in range(content))
        self.emit = nn.Linear(width, emits * vocab) if emits else None

    def read(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Symbols ``(batch, n)`` to vectors ``(batch, n, width)`` and marks of those that exist."""
        real = torch.arange(text.shape[1], device=text.device) < symbols_in(text)[:, None]
        x = self.table(text)
        x = (x + _positions(x)) * real[..., None]
        for block in self.reader:
            x = block(x, real)
        return self.widen(x) * real[..., None], real

    def log_durations(self, encoded: Tensor, real: Tensor) -> Tensor:
        """``log(1 + frames)`` of every symbol, ``(batch, n)``."""
        x = encoded
        for convolve, norm in zip(self.lasts, self.norms, strict=True):
            x = self.pause(norm(F.relu(convolve(x.transpose(1, 2)).transpose(1, 2)))) * real[..., None]
        found: Tensor = self.last(x)[..., 0]
        return found

    def speak(self, encoded: Tensor, durations: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Embeddings ``(batch, length, max(1, content), embed)``, logits ``(batch, length, content, vocab)``.

        Args:
            encoded: symbols ``(batch, n, width)``.
            durations: their frames, int64 ``(batch, n)``.
            length: frames of the answer.
        """
        which, real = regulated(durations, length)
        x = encoded.gather(1, which[..., None].expand(-1, -1, encoded.shape[-1]))
        x = (x + _positions(x)) * real[..., None]
        embeds, logits = [], []
        for i, block in enumerate(self.frames):
            x = block(x, real)
            embeds.append(self.embeds[i](x))
            if self.content:
                logits.append(self.says[i](x))
        none = x.new_zeros(*x.shape[:2], 0, self.vocab)
        return torch.stack(embeds, 2), torch.stack(logits, 2) if logits else none

    def foretold(self, encoded: Tensor) -> Tensor:
        """Log probabilities of tokens under every symbol, ``(batch, n, emits, vocab)``."""
        assert self.emit is not None
        return self.emit(encoded).unflatten(-1, (self.emits, self.vocab)).log_softmax(-1)


def regulated(durations: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """The symbol of every frame, int64 ``(batch, length)``, and marks of frames that durations reach.

    Args:
        durations: frames of every symbol, ``(batch, n)``.
        length: frames.
    """
    ends = durations.cumsum(1)
    places = torch.arange(length, device=durations.device).expand(len(durations), -1).contiguous()
    which = torch.searchsorted(ends.contiguous(), places.to(ends.dtype), right=True)
    return which.clamp(max=durations.shape[1] - 1), places < ends[:, -1:]


def fitted(durations: Tensor, frames: Tensor) -> Tensor:
    """Durations ``(batch, n)`` stretched to add up to ``frames`` ``(batch,)``, each to the nearest frame."""
    ends = durations.cumsum(1)
    stretched = (ends * frames[:, None] / ends[:, -1:].clamp_min(1)).round().long()
    return torch.diff(stretched, dim=1, prepend=torch.zeros_like(stretched[:, :1]))


def _positions(x: Tensor) -> Tensor:
    """Sines and cosines of the place (1706.03762)."""
    cos, sin = rotary(x.shape[1], x.shape[2] + x.shape[2] % 2, x)
    return torch.cat([sin, cos], -1)[:, : x.shape[2]]
