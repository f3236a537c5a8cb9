"""Which rows a step sees: shuffled epochs as a pure function of the step, in bounded memory."""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Tensor

from flowloom.seeds import derive, hashed

_ROUNDS = 6
_KEPT = 2**16
"""Rows up to which the order of an epoch is kept, as it is asked for again: half a megabyte."""


class EpochOrder:
    """Batches of shuffled epochs; every row is seen once an epoch, and batches run across its end.

    Position k of an epoch is sent to its row by a keyed permutation that is computed, not stored: a balanced
    Feistel network on as many bits as the rows need, walked again where it leaves them (Black and Rogaway,
    "Ciphers with arbitrary finite domains", 2002). Ten rows and ten billion cost the same.

    Args:
        n: number of rows.
        batch: rows a step.
        seed: of the run.
    """

    def __init__(self, n: int, batch: int, seed: int) -> None:
        self.n, self.batch, self.seed = n, batch, seed
        self._kept: tuple[int, Tensor] | None = None

    def rows(self, step: int) -> Tensor:
        """Row indices of ``step``, int64 ``(batch,)``."""
        start, stop = step * self.batch, (step + 1) * self.batch
        pieces = []
        while start < stop:
            epoch, offset = divmod(start, self.n)
            count = min(self.n - offset, stop - start)
            pieces.append(self._piece(epoch, offset, count))
            start += count
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0]

    def _piece(self, epoch: int, offset: int, count: int) -> Tensor:
        key = derive(self.seed, "order", epoch)
        if self.n > _KEPT:
            return permuted(torch.arange(offset, offset + count), self.n, key)
        kept = self._kept  # one look: another thread may put the next epoch there
        if kept is None or kept[0] != epoch:
            kept = self._kept = (epoch, permuted(torch.arange(self.n), self.n, key))
        return kept[1][offset : offset + count].clone()


def permuted(positions: Tensor, n: int, key: int) -> Tensor:
    """Where the permutation of ``0 .. n - 1`` that belongs to ``key`` sends some ``positions``, int64."""
    if n <= 1:
        return torch.zeros_like(positions)
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    digest = blake2b(key.to_bytes(8, "little"), digest_size=4 * _ROUNDS).digest()
    keys = [int.from_bytes(digest[4 * r : 4 * r + 4], "little") for r in range(_ROUNDS)]
    out = _feistel(positions, half, keys)
    # The network permutes a power of four, at most four times n; four walks in five end at once or soon.
    while bool((outside := out >= n).any()):
        out[outside] = _feistel(out[outside], half, keys)
    return out


def _feistel(x: Tensor, half: int, keys: list[int]) -> Tensor:
    low = (1 << half) - 1
    left, right = x >> half, x & low
    for key in keys:
        left, right = right, left ^ (hashed(right, key) & low)
    return (left << half) | right
