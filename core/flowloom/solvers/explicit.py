"""Explicit Runge-Kutta methods of fixed step, from their Butcher tableaus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from flowloom.solvers import tableaus
from flowloom.solvers.base import FixedGrid
from flowloom.solvers.stepping import Retraction, move, slope_at_start
from flowloom.solvers.tableaus import Tableau
from flowloom.solvers.walk import Call
from flowloom.state import State


class ExplicitRungeKutta(FixedGrid):
    """An explicit Runge-Kutta method on a fixed grid, on any continuous geometry.

    Args:
        steps: number of equal steps.
        grid: times to walk instead.
        retraction: how steps return to a curved space, both at the order of the method: ``project`` adds
            and projects; ``exp`` follows geodesics, in normal coordinates (`slope_at_start`), which costs a
            derivative of the geometry's ``log`` a stage and makes Euler exact on geodesics.
    """

    tableau: ClassVar[Tableau]

    def __init__(
        self, steps: int = 20, grid: Sequence[float] | None = None, retraction: Retraction = "project"
    ) -> None:
        super().__init__(steps, grid)
        self.retraction: Retraction = retraction

    @property
    def evaluations_per_step(self) -> int:
        """One per stage that has a weight."""
        return self.tableau.own

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One step; the field is evaluated once per stage."""
        dt, geometry = t_next - t, call.field.geometry
        stages = self.tableau.own
        slopes, _ = self.slopes(call, x, t, dt, call(x, t), stages)
        return move(geometry, x, dt, self.tableau.weights[:stages], slopes, self.retraction)

    def slopes(
        self, call: Call, x: State, t: float, dt: float, first: State, stages: int
    ) -> tuple[list[State], tuple[State, State]]:
        """Slopes of the first ``stages`` stages as `move` adds them at ``x``.

        Args:
            call: the field.
            x: where the step begins.
            t: its time.
            dt: length.
            first: the field at ``x`` and ``t``.
            stages: how many.

        Returns:
            The slopes, and the last stage: its state, and the field there.
        """
        geometry, slopes = call.field.geometry, [first]
        as_it_is = self.retraction == "project"
        stage, slope = x, first
        tableau = self.tableau
        for i in range(1, stages):
            stage = move(geometry, x, dt, tableau.stages[i], slopes, self.retraction)
            slope = call(stage, t + tableau.nodes[i] * dt)
            slopes.append(slope if as_it_is else slope_at_start(geometry, x, stage, slope, self.retraction))
        return slopes, (stage, slope)


class Euler(ExplicitRungeKutta):
    """Euler's method: one evaluation a step, order 1."""

    order = 1
    tableau = tableaus.EULER


class Midpoint(ExplicitRungeKutta):
    """The explicit midpoint rule: two evaluations a step, order 2."""

    order = 2
    tableau = tableaus.MIDPOINT


class Heun(ExplicitRungeKutta):
    """Heun's method (explicit trapezoid): two evaluations a step, order 2."""

    order = 2
    tableau = tableaus.HEUN


class BogackiShampine(ExplicitRungeKutta):
    """Bogacki and Shampine's third-order method: three evaluations a step."""

    order = 3
    tableau = tableaus.BOGACKI_SHAMPINE


class RK4(ExplicitRungeKutta):
    """The classical Runge-Kutta method: four evaluations a step, order 4."""

    order = 4
    tableau = tableaus.RK4


class DormandPrince(ExplicitRungeKutta):
    """Dormand and Prince's fifth-order method: six evaluations a step."""

    order = 5
    tableau = tableaus.DORMAND_PRINCE
