"""Seeded splits that keep the share of every class."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import DataError


def stratified(labels: Tensor, held: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split row numbers so that every class gives the same share to the held-out side.

    Args:
        labels: class ids, int64 ``(n,)``.
        held: share to hold out, in ``(0, 1)``; every class of at least two rows gives at least one.
        seed: of the draw.

    Returns:
        Row numbers kept and held out, both sorted.

    Raises:
        DataError: ``held`` is out of range, or one side would be empty.
    """
    if not 0 < held < 1:
        raise DataError(f"the held-out share must lie between 0 and 1, got {held}")
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for label in range(int(labels.max()) + 1 if len(labels) else 0):
        rows = torch.where(labels == label)[0]
        count = max(0, min(max(round(held * len(rows)), 1), len(rows) - 1))
        chosen.append(rows[torch.randperm(len(rows), generator=generator)[:count]])
    out = torch.cat(chosen) if chosen else labels
    is_held = torch.zeros(len(labels), dtype=torch.bool)
    is_held[out] = True
    kept, held_out = torch.where(~is_held)[0], torch.where(is_held)[0]
    if len(kept) == 0 or len(held_out) == 0:
        raise DataError(f"{len(labels)} examples are too few to hold out a share of {held}")
    return kept, held_out
