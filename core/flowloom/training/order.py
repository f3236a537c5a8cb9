"""Which rows a step sees: shuffled epochs as a pure function of the step."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.training.seeds import generator


class EpochOrder:
    """Batches of shuffled epochs; every row is seen once an epoch, and batches run across its end.

    Args:
        n: number of rows.
        batch: rows a step.
        seed: of the run.
    """

    def __init__(self, n: int, batch: int, seed: int) -> None:
        self.n, self.batch, self.seed = n, batch, seed
        self._cached: dict[int, Tensor] = {}

    def rows(self, step: int) -> Tensor:
        """Row indices of ``step``, int64 ``(batch,)``."""
        start, stop = step * self.batch, (step + 1) * self.batch
        pieces = []
        while start < stop:
            epoch, offset = divmod(start, self.n)
            piece = self._permutation(epoch)[offset : offset + stop - start]
            pieces.append(piece)
            start += len(piece)
        return torch.cat(pieces) if len(pieces) > 1 else pieces[0]

    def _permutation(self, epoch: int) -> Tensor:
        known = self._cached
        found = known.get(epoch)
        if found is None:
            found = torch.randperm(self.n, generator=generator(self.seed, "order", epoch))
            # Replaced whole, never changed: a prefetching thread may ask at the same time.
            self._cached = {e: p for e, p in known.items() if e == epoch - 1} | {epoch: found}
        return found
