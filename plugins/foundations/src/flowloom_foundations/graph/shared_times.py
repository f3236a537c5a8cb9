"""Times that several rows of a batch have in common."""

from __future__ import annotations

from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.times import TimeLaw, Uniform


class SharedTimes(TimeLaw):
    """Another law of times, one draw of which is for so many rows of a batch in a row.

    What networks need whose rows hear others of their own time (`NeighbourAware`): in sampling all have it.

    Args:
        law: of the times; uniform and stratified where left out, as a batch has few.
        rows: that share a time; the last of a batch may be fewer.
    """

    def __init__(self, law: TimeLaw | None = None, rows: int = 32) -> None:
        self.law = law or Uniform(stratified=True)
        super().__init__(self.law.latest)
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        self.rows, self.support = rows, self.law.support

    def quantile(self, u: Tensor) -> Tensor:
        """That of the other law."""
        return self.law.quantile(u)

    def sample(self, n: int, draw: Draw = GLOBAL) -> Tensor:
        """Times ``(n,)``, each for ``rows`` rows."""
        return self.law.sample(-(-n // self.rows), draw).repeat_interleave(self.rows)[:n]
