"""Euler's method within pieces of the time, with features of where each piece began."""

from __future__ import annotations

from itertools import pairwise

from flowloom.errors import SolverError
from flowloom.fields import Field
from flowloom.solvers import Euler
from flowloom.solvers.walk import Call
from flowloom.state import State
from flowloom_fewstep.blockwise import BlockwiseModel
from flowloom_fewstep.blockwise_field import KIND, Remembering, blocks_in, renewed

__all__ = ["BlockwiseEuler"]


class BlockwiseEuler(Euler):
    """Equal steps of Euler in every piece of a network of blocks; none crosses a boundary (2510.21167).

    The trunk is asked once a piece, and `change` afterwards. Guidance serves as with any solver.
    ``evaluations`` count calls of the flow; what they cost is told by the score sampling-operations.

    Args:
        steps: in a piece.
        remembered: False asks the trunk at every step.
    """

    consumes = KIND

    def __init__(self, steps: int = 8, remembered: bool = True) -> None:
        super().__init__(steps)
        self.remembered = remembered

    def prepare(self, field: Field) -> Field:
        """A copy of the field that remembers, of this solve alone."""
        return renewed(super().prepare(field))

    def walked(self, field: Field, span: tuple[float, float]) -> list[float]:
        """Boundaries of pieces, and equal steps between them.

        Raises:
            SolverError: the walk leads backwards.
        """
        start, end = span
        if end <= start:
            raise SolverError("blockwise-euler walks from source to data; use euler for the way back")
        count = self._count(field)
        inner = [m / count for m in range(1, count) if start < m / count < end]
        bounds = [start, *inner, end]
        times = [a + (b - a) * i / self.steps for a, b in pairwise(bounds) for i in range(self.steps)]
        return [*times, end]

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One step, one evaluation."""
        memory, place = blocks_in(call.field), t * self._count(call.field)
        if isinstance(memory, Remembering) and (
            # A walk may begin within a piece.
            memory.features is None or not self.remembered or abs(place - round(place)) < 1e-6
        ):
            memory.begin(t)
        return super().step(call, x, t, t_next, last=last)

    @staticmethod
    def _count(field: Field) -> int:
        blocks = blocks_in(field)
        if blocks is None:
            return 1
        assert isinstance(blocks.model, BlockwiseModel)
        return blocks.model.pieces.count
