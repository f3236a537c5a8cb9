"""Which rows are held out: an exact share, drawn, told by the number of a row alone."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor

from flowloom.errors import DataError
from flowloom.seeds import derive, hashed

__all__ = ["HeldOut"]

_FINEST = 10**6
"""Parts of one that shares are counted in; closer to a given share none is."""


class HeldOut:
    r"""Rows that are held out, told by their numbers: nothing is stored, and how many there are is not asked.

    Of a share :math:`p / q` in lowest terms, every block of q rows gives exactly p, and the first n rows give
    :math:`n p / q` within two, whatever n. A block is a circle that is turned by a random angle and cut into
    p pieces of equal length (but for one row); of every piece one row is drawn. Each row is so held out with
    probability :math:`p / q`, whatever period the rows have, and those held out are spread over all of them
    (systematic sampling with a random start, Madow and Madow 1944, with a draw within each of its steps).

    The draws belong to the number of a row: rows that are added later move no other, a stream can be told
    apart from its beginning without an end, and a hundred million rows cost what ten do.

    Args:
        share: held out, from 0 to 0.5.

    Raises:
        DataError: it is no such share.

    >>> rows = HeldOut(0.2)
    >>> rows.count(1000), rows.held(torch.arange(3)).tolist(), rows.kept(torch.arange(3)).tolist()
    (200, [3, 5, 10], [0, 1, 2])
    """

    def __init__(self, share: float) -> None:
        if not 0 <= share <= 0.5:
            raise DataError(f"held_out is a share from 0 to 0.5, got {share}")
        part = Fraction(share).limit_denominator(_FINEST)
        if share and not part:
            raise DataError(f"held_out is 0 or a share from {1 / _FINEST} on, got {share}")
        self.part, self.block = part.numerator, part.denominator

    def count(self, n: int) -> int:
        """How many of the first ``n`` rows are held out."""
        return int(self._before(torch.tensor([n])))

    def holds(self, rows: Tensor) -> Tensor:
        """Which of some rows are held out, bool."""
        return self._before(rows + 1) > self._before(rows)

    def held(self, places: Tensor) -> Tensor:
        """Rows of the held-out ones at ``places``, int64, in their order."""
        block, place = places // self.part, places % self.part
        turn = self._turn(block)
        piece = (self._drawn(block, turn) + place) % self.part
        return block * self.block + (self._chosen(block, piece) - turn) % self.block

    def kept(self, places: Tensor) -> Tensor:
        """Rows of those that are not held out at ``places``, int64, in their order."""
        # The least row before which so many are kept. It lies at most two held-out rows behind where their
        # share alone would have it, so that few looks are needed.
        rows = torch.maximum(places, (places - 2) * self.block // (self.block - self.part))
        while not bool(((further := places + self._before(rows + 1)) == rows).all()):
            rows = further
        return rows

    def _before(self, rows: Tensor) -> Tensor:
        """How many rows with smaller numbers are held out."""
        if not self.part:
            return torch.zeros_like(rows)
        block, place = rows // self.block, rows % self.block
        turn = self._turn(block)
        return block * self.part + self._drawn(block, turn + place) - self._drawn(block, turn)

    def _drawn(self, block: Tensor, place: Tensor) -> Tensor:
        """How many of the first places of a circle, gone round more than once, are drawn."""
        rounds, place = place // self.block, place % self.block
        piece = place * self.part // self.block
        return rounds * self.part + piece + (self._chosen(block, piece) < place)

    def _turn(self, block: Tensor) -> Tensor:
        return hashed(block, _TURN) % self.block

    def _chosen(self, block: Tensor, piece: Tensor) -> Tensor:
        """The place on the circle that is drawn of a piece."""
        begin, end = (-(-edge * self.block // self.part) for edge in (piece, piece + 1))
        return begin + hashed(hashed(block, _BLOCK) ^ piece, _PIECE) % (end - begin)


_TURN, _BLOCK, _PIECE = (derive(0, f"held_out/{what}") & 0xFFFFFFFF for what in ("turn", "block", "piece"))
