"""Rewards in closed form, as energies: a reward is minus the energy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.energies import Energy
from flowloom.errors import ShapeError
from flowloom.spec import Spec
from flowloom.state import Cond, State

__all__ = ["Along", "DistanceTo"]


class DistanceTo(Energy):
    r""":math:`E(x) = \|x - p\|`.

    Args:
        point: p, as many numbers as a state has.
    """

    def __init__(self, point: Sequence[float]) -> None:
        self.point = torch.as_tensor(list(point), dtype=torch.float64)
        self.spec = Spec((len(self.point),))

    def __call__(self, x: State, cond: Cond) -> Tensor:
        """The distance of every row."""
        assert isinstance(x, Tensor)
        return torch.linalg.vector_norm(x - self.point.to(x), dim=1)


class Along(Energy):
    r""":math:`E(x, c) = -\langle a, x\rangle - b_c`: an unbounded reward, and what prompts add to it.

    Args:
        direction: a, as many numbers as a state has.
        offsets: b, a number for every class; none where left out.
        by: the condition that says the class.

    Raises:
        ShapeError: there are offsets, and rows without their class or of one that has none.
    """

    def __init__(self, direction: Sequence[float], offsets: Sequence[float] = (), by: str = "label") -> None:
        self.direction = torch.as_tensor(list(direction), dtype=torch.float64)
        self.offsets, self.by = torch.as_tensor(list(offsets), dtype=torch.float64), by
        self.spec = Spec((len(self.direction),))

    def __call__(self, x: State, cond: Cond) -> Tensor:
        """Minus the projection of every row, and minus the offset of its class."""
        assert isinstance(x, Tensor)
        value = -(x @ self.direction.to(x))
        if not len(self.offsets):
            return value
        if self.by not in cond:
            raise ShapeError(
                f"energy along has offsets by '{self.by}', and rows tell {sorted(cond) or 'nothing'}"
            )
        classes = cond[self.by]
        if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < len(self.offsets):
            raise ShapeError(
                f"energy along has offsets of {len(self.offsets)} classes, and there are rows of class "
                f"{int(classes.max())}; give one for every class"
            )
        return value - self.offsets.to(x)[classes]
