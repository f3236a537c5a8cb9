"""Images as tokens."""

from __future__ import annotations

from torch import Tensor

from flowloom.state import Cond
from flowloom_likelihood.bijections.base import Bijection, Image


class Tokens(Bijection):
    """Images ``(batch, C, H, W)`` as tokens ``(batch, H W / p^2, C p^2)`` of patches, row by row.

    Args:
        grid: rows and columns of the patches.
        patch: p.
        undo: the other way round, tokens to images.
    """

    rounds = 0

    def __init__(self, grid: tuple[int, int], patch: int, undo: bool = False) -> None:
        super().__init__()
        self.grid, self.patch, self.undo = grid, patch, undo

    def _cut(self, x: Tensor) -> Tensor:
        (rows, columns), p = self.grid, self.patch
        n, channels = x.shape[:2]
        cells = x.reshape(n, channels, rows, p, columns, p).permute(0, 2, 4, 1, 3, 5)
        return cells.reshape(n, rows * columns, channels * p * p)

    def _laid(self, tokens: Tensor) -> Tensor:
        (rows, columns), p = self.grid, self.patch
        n, channels = len(tokens), tokens.shape[2] // p**2
        cells = tokens.reshape(n, rows, columns, channels, p, p).permute(0, 3, 1, 4, 2, 5)
        return cells.reshape(n, channels, rows * p, columns * p)

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Nothing is stretched."""
        return self._laid(x) if self.undo else self._cut(x), x.new_zeros(len(x))

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """The other way."""
        return self._cut(z) if self.undo else self._laid(z)
