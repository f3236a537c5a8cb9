"""Few-step sampling with flow maps."""

from __future__ import annotations

from collections.abc import Sequence

from flowloom.errors import IncompatibleError
from flowloom.fields import Field, FlowMap
from flowloom.fields.base import time_tensor
from flowloom.solvers.base import FixedGrid
from flowloom.solvers.walk import Call
from flowloom.state import State


class FlowMapSteps(FixedGrid):
    """Jump along a short grid with a flow map: ``x <- X(x, s, t)``, one evaluation a jump.

    Args:
        steps: number of equal jumps; 1 goes from source to data at once.
        grid: times to visit instead.
    """

    consumes = "flow-map"
    order = 1

    def __init__(self, steps: int = 1, grid: Sequence[float] | None = None) -> None:
        super().__init__(steps, grid)

    def prepare(self, field: Field) -> Field:
        """The flow map itself; nothing converts to one."""
        if not isinstance(field, FlowMap):
            raise IncompatibleError(
                f"flow-map steps need a flow map, and this field is a {field.kind}; train one with a "
                "few-step objective, or use an ODE solver (euler, midpoint, dopri5)"
            )
        return field

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One jump."""
        field = call.field
        assert isinstance(field, FlowMap)
        call.nfe += field.calls(t, call.cond)
        return field.jump(x, time_tensor(t, x), time_tensor(t_next, x), call.cond)
