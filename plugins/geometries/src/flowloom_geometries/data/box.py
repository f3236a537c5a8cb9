"""Points of a box, for rooms on either side of a wall."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from flowloom.data import Drawn, Examples
from flowloom.errors import DataError
from flowloom.spec import Spec


class Box(Drawn):
    """Uniform points of an axis-aligned box, which may be flat: ``low`` and ``high`` may agree.

    Args:
        low: its least corner.
        high: its largest corner.
        n: points in every split.
        seed: of the draws.
    """

    def __init__(self, low: Sequence[float], high: Sequence[float], n: int = 20_000, seed: int = 0) -> None:
        super().__init__(n, seed)
        if len(low) != len(high) or not low or any(a > b for a, b in zip(low, high, strict=True)):
            raise DataError(f"a box has corners of as many numbers, the low ones first; got {low}, {high}")
        self.low, self.high = torch.tensor(low).float(), torch.tensor(high).float()

    @property
    def spec(self) -> Spec:
        """Points ``(d,)``."""
        return Spec(shape=tuple(self.low.shape))

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Points without conditions."""
        unit = torch.rand(n, len(self.low), generator=generator)
        return Examples(self.low + (self.high - self.low) * unit)
