"""Values beyond a limit are cut off: overdriven sound, a saturated sensor."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.spec import Spec
from flowloom.state import Cond, expand
from flowloom_inverse.operators.base import Operator

__all__ = ["Clipping"]

LIMIT = "limit"


class Clipping(Operator):
    r"""``y = min(max(x, -c), c)``: entry by entry, not linear.

    Args:
        level: c, in the unit of the data.
        of_peak: c is ``level`` times the largest magnitude of each row instead, below 1: every row is cut
            off, however loud.
    """

    linear: ClassVar[bool] = False

    def __init__(self, level: float = 0.5, of_peak: bool = False) -> None:
        if not level > 0 or (of_peak and not level < 1):
            raise ValueError(f"level must be positive, and below 1 as a share of the peak; got {level}")
        self.level, self.of_peak = level, of_peak

    def draw(self, rows: Examples, spec: Spec, generator: torch.Generator) -> dict[str, Tensor]:
        """The limit of every row, where rows have their own; a measurement tells it by its flat tops."""
        if not self.of_peak:
            return {}
        assert isinstance(rows.x, Tensor)
        return {LIMIT: self.level * rows.x.abs().flatten(1).amax(1)}

    def __call__(self, x: Tensor, drawn: Cond) -> Tensor:
        """Cut off."""
        limit = self._limit(x, drawn)
        return torch.minimum(torch.maximum(x, -limit), limit)

    def back(self, y: Tensor, drawn: Cond) -> Tensor:
        """The measurement itself: nothing smaller measures so."""
        return self(y, drawn)

    def settle(self, x: Tensor, y: Tensor, drawn: Cond, trust: float = 0.0) -> Tensor:
        """Exact entry by entry: a state beyond the limit stays there where that is the better answer."""
        inside = self(torch.lerp(x, y, 1 / (1 + trust)), drawn)
        moved = trust * (inside - x).square() + (inside - y).square()
        stays = (x.abs() >= self._limit(x, drawn)) & ((self(x, drawn) - y).square() <= moved)
        return torch.where(stays, x, inside)

    def known(self, y: Tensor, drawn: Cond) -> Tensor | None:
        """What lies within the limit."""
        return y.abs() < self._limit(y, drawn)

    def _limit(self, like: Tensor, drawn: Cond) -> Tensor:
        return expand(drawn[LIMIT].to(like), like) if self.of_peak else like.new_tensor(self.level)
