"""Which frame says which symbol: spread evenly, or found by monotonic alignment search."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import ShapeError

__all__ = ["monotonic_alignment", "spread"]


def spread(symbols: Tensor, frames: Tensor, length: int) -> Tensor:
    r"""The symbol of every frame where all symbols of a row last equally long: int64 ``(batch, length)``.

    Frame f of F says symbol :math:`\lfloor f N / F \rfloor` of N. A network that sees text so needs no
    durations: it only has to shift what is roughly in place (ZipVoice 2506.13053).

    Args:
        symbols: how many every row has, ``(batch,)``, at least 1.
        frames: how many every row has, ``(batch,)``.
        length: of the answer; frames beyond a row's own say its last symbol.
    """
    places = torch.arange(length, device=symbols.device)
    found = places * symbols[:, None] // frames.clamp_min(1)[:, None]
    return torch.minimum(found, symbols[:, None] - 1)


@torch.no_grad()
def monotonic_alignment(scores: Tensor, symbols: Tensor, frames: Tensor) -> Tensor:
    r"""The best way through a table of scores that never goes back and skips nothing.

    Maximises :math:`\sum_f \mathrm{scores}[a(f), f]` over :math:`a` with :math:`a(0) = 0`,
    :math:`a(F - 1) = N - 1` and :math:`a(f + 1) - a(f) \in \{0, 1\}` (Glow-TTS 2005.11129), by dynamic
    programming over frames, all rows and symbols at once.

    Args:
        scores: log-likelihood of every frame under every symbol, ``(batch, symbols, frames)``.
        symbols: how many are real in every row, ``(batch,)``.
        frames: how many are real in every row, ``(batch,)``.

    Returns:
        The symbol of every frame, int64 ``(batch, frames)``; -1 beyond a row's frames.

    Raises:
        ShapeError: a row has fewer frames than symbols, or none: no such way exists.
    """
    batch, n, length = scores.shape
    if bool((symbols > frames).any()) or bool((symbols < 1).any()):
        row = int(((symbols > frames) | (symbols < 1)).int().argmax())
        raise ShapeError(
            f"row {row} has {int(symbols[row])} symbols and {int(frames[row])} frames; an alignment needs at "
            "least one symbol, and a frame for each"
        )
    best = scores.new_full((batch, n), -torch.inf)
    best[:, 0] = scores[:, 0, 0]
    stepped = torch.zeros(batch, length, n, dtype=torch.bool, device=scores.device)
    none = scores.new_full((batch, 1), -torch.inf)
    for f in range(1, length):
        before = torch.cat([none, best[:, :-1]], 1)
        moved = before > best
        stepped[:, f] = moved
        found = torch.where(moved, before, best) + scores[:, :, f]
        # Rows that have ended keep the table of their last frame.
        best = torch.where((f < frames)[:, None], found, best)
    path = torch.full((batch, length), -1, dtype=torch.long, device=scores.device)
    at = symbols - 1
    for f in range(length - 1, -1, -1):
        real = f < frames
        path[:, f] = torch.where(real, at, path[:, f])
        back = stepped[:, f].gather(1, at[:, None])[:, 0] & real
        at = at - back.long()
    return path
