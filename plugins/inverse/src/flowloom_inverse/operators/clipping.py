"""Values beyond a limit are cut off: overdriven sound, a saturated sensor."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowloom.state import Cond
from flowloom_inverse.operators.base import Operator

__all__ = ["Clipping"]


class Clipping(Operator):
    r"""``y = min(max(x, -c), c)``: entry by entry, not linear.

    Args:
        level: c, in the unit of the data.
    """

    linear: ClassVar[bool] = False

    def __init__(self, level: float = 0.5) -> None:
        if not level > 0:
            raise ValueError(f"level must be positive, got {level}")
        self.level = level

    def __call__(self, x: Tensor, drawn: Cond) -> Tensor:
        """Cut off."""
        return x.clamp(-self.level, self.level)

    def back(self, y: Tensor, drawn: Cond) -> Tensor:
        """The measurement itself: nothing smaller measures so."""
        return y.clamp(-self.level, self.level)

    def settle(self, x: Tensor, y: Tensor, drawn: Cond, trust: float = 0.0) -> Tensor:
        """Exact entry by entry: a state beyond the limit stays there where that is the better answer."""
        inside = torch.lerp(x, y, 1 / (1 + trust)).clamp(-self.level, self.level)
        moved = trust * (inside - x).square() + (inside - y).square()
        stays = (x.abs() >= self.level) & ((self(x, drawn) - y).square() <= moved)
        return torch.where(stays, x, inside)
