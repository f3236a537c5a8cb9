"""Waveforms of examples, as metrics want them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.layout import Layout

__all__ = ["lengths_of", "sounds_of", "text_of", "waves_of", "word_errors"]


def waves_of(examples: Examples) -> Tensor:
    """Waveforms ``(n, samples)`` with silence in padding; what is not finite is silence too."""
    x = examples.x
    assert isinstance(x, Tensor)
    clean = x if examples.layout is None else examples.layout.zero(x)
    return torch.nan_to_num(clean.float(), nan=0.0, posinf=0.0, neginf=0.0)


def lengths_of(examples: Examples) -> Tensor:
    """How many samples of every row are real, ``(n,)``."""
    assert isinstance(examples.x, Tensor)
    real = (examples.layout or Layout()).real
    n, samples = examples.x.shape
    return torch.full((n,), samples) if real is None else real.sum(1)


def sounds_of(examples: Examples, least: int = 0) -> list[Tensor]:
    """The waveform of every row without its padding, ``(samples,)`` each.

    Args:
        examples: waveforms.
        least: samples that are kept of a row of which less is real, silence where nothing is.
    """
    pairs = zip(waves_of(examples), lengths_of(examples).tolist(), strict=True)
    return [wave[: max(least, n)] for wave, n in pairs]


def text_of(ids: Tensor, tokens: Sequence[str]) -> str:
    """The text of ids ``(symbols,)``, without padding."""
    return "".join(tokens[i] for i in ids.tolist())


def word_errors(said: Sequence[str], wanted: Sequence[str]) -> int:
    """Words to insert, delete or replace to make one sequence of the other (Levenshtein 1966)."""
    row = list(range(len(wanted) + 1))
    for i, a in enumerate(said, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(wanted, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]
