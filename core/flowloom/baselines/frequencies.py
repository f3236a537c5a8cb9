"""Tokens by how often each stands at its place."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["draw_tokens"]


def draw_tokens(train: Tensor, real: Tensor | None, n: int, generator: torch.Generator) -> Tensor:
    """Independent tokens ``(n, *event)`` by the frequencies of their place.

    Places that no training row has take the frequencies of all places.

    Args:
        train: ids ``(m, *event)``.
        real: which of them exist, over leading dimensions; all where None.
        n: how many.
        generator: on the CPU.
    """
    ids = train.reshape(len(train), -1)
    exists = torch.ones_like(train, dtype=torch.bool)
    if real is not None:
        exists = real.reshape(real.shape + (1,) * (train.ndim - real.ndim)).expand_as(train)
    counted = exists.reshape(ids.shape)
    ids = torch.where(counted, ids.long(), 0)
    counts = torch.zeros(ids.shape[1], int(ids.max()) + 1, dtype=torch.float64)
    places = torch.arange(ids.shape[1]).expand_as(ids)
    counts.index_put_((places[counted], ids[counted]), torch.ones((), dtype=torch.float64), accumulate=True)
    counts = torch.where(counts.sum(1, keepdim=True) > 0, counts, counts.sum(0) + 1e-9)
    drawn = torch.multinomial(counts, n, replacement=True, generator=generator)
    return drawn.T.reshape(n, *train.shape[1:]).to(train.dtype)
