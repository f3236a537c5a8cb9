"""Explicit Runge-Kutta methods of fixed step, from their Butcher tableaus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from flowloom.solvers.base import FixedGrid
from flowloom.solvers.stepping import Retraction, move, slope_at_start
from flowloom.solvers.walk import Call
from flowloom.state import State


@dataclass(frozen=True)
class Tableau:
    """A Butcher tableau of an explicit method.

    Args:
        nodes: ``c``, share of the step at which each stage sits.
        stages: rows of ``a`` below the diagonal; the first stage has none.
        weights: ``b``.
    """

    nodes: tuple[float, ...]
    stages: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


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
        """One per stage."""
        return len(self.tableau.weights)

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One step; the field is evaluated once per stage."""
        dt, geometry = t_next - t, call.field.geometry
        slopes = [call(x, t)]
        for node, row in zip(self.tableau.nodes[1:], self.tableau.stages[1:], strict=True):
            stage = move(geometry, x, dt, row, slopes, self.retraction)
            slope = call(stage, t + node * dt)
            slopes.append(slope_at_start(geometry, x, stage, slope, self.retraction))
        return move(geometry, x, dt, self.tableau.weights, slopes, self.retraction)


class Euler(ExplicitRungeKutta):
    """Euler's method: one evaluation a step, order 1."""

    order = 1
    tableau = Tableau((0.0,), ((),), (1.0,))


class Midpoint(ExplicitRungeKutta):
    """The explicit midpoint rule: two evaluations a step, order 2."""

    order = 2
    tableau = Tableau((0.0, 0.5), ((), (0.5,)), (0.0, 1.0))


class Heun(ExplicitRungeKutta):
    """Heun's method (explicit trapezoid): two evaluations a step, order 2."""

    order = 2
    tableau = Tableau((0.0, 1.0), ((), (1.0,)), (0.5, 0.5))


class RK4(ExplicitRungeKutta):
    """The classical Runge-Kutta method: four evaluations a step, order 4."""

    order = 4
    tableau = Tableau(
        (0.0, 0.5, 0.5, 1.0), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)
    )
