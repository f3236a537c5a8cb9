"""The solver contract, and the loop that fixed-step solvers share.

Solvers are settings, not state: one object may serve many threads and fields at once. Everything that
changes during a solve lives in the call.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from flowloom.clashes import Clash, Parts
from flowloom.fields import Field, Kind, read_as
from flowloom.layout import Layout
from flowloom.paths.conversions import kind_name, uniform_kind
from flowloom.solvers.walk import Call, Hook, Solution, Walk
from flowloom.state import Cond, State

if TYPE_CHECKING:
    from typing_extensions import Self


class Solver(ABC):
    """Integrates a field over a span of time.

    Attributes:
        consumes: kind of field it integrates; other kinds are converted where the path allows.
        order: order of convergence claimed on smooth fields (measured by `flowloom.testing`).
        stochastic: whether it draws.
    """

    consumes: ClassVar[str] = "velocity"
    order: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False

    @property
    def evaluations_per_step(self) -> int:
        """Network evaluations of one step, guidance not counted."""
        return 1

    def wanted(self) -> Kind:
        """Kind of field consumed; a solver of product states answers part by part."""
        return self.consumes

    @abstractmethod
    def solve(
        self,
        field: Field,
        x0: State,
        *,
        cond: Cond | None = None,
        span: tuple[float, float] | None = None,
        generator: torch.Generator | None = None,
        keep: int = 0,
        on_step: Hook | None = None,
        layout: Layout | None = None,
    ) -> Solution:
        """Carry ``x0`` from ``span[0]`` to ``span[1]``, by default from source to data.

        Args:
            field: what to integrate, on its own geometry.
            x0: state at ``span[0]``.
            cond: conditions of every row.
            span: start and end, the field's own where None; turned round, it integrates backwards, where
                the solver can.
            generator: for stochastic solvers.
            keep: about how many states of the trajectory to return (0 for none).
            on_step: called with the new state and its time after every step; a state it returns
                replaces the new one (projection, data consistency, progress).
            layout: which entries are real and which are given: padding does not count, and given entries
                stand at their values (where none are known, at those of ``x0``) after every step.

        Raises:
            SolverError: the field is not finite, or the evaluation budget is spent.
            IncompatibleError: the field cannot serve as the kind consumed.
        """

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """An objective whose field cannot be read as the kind consumed; see `flowloom.clashes`."""
        objective, wanted = parts.get("objective"), self.wanted()
        if objective is None or not objective.generates or objective.serves(wanted, parts.get("source")):
            return
        yield Clash(
            "solver",
            "objective",
            f"{type(self).__name__} integrates a {kind_name(wanted)} field, and {type(objective).__name__} "
            f"trains a {kind_name(objective.kind)} one; use {_fitting(objective)}",
        )


class FixedGrid(Solver):
    """Solvers that walk a grid of times fixed in advance.

    Args:
        steps: number of equal steps.
        grid: times from 0 to 1 to walk instead, increasing; scaled to the span.
    """

    def __init__(self, steps: int = 20, grid: Sequence[float] | None = None) -> None:
        if grid is not None:
            if len(grid) < 2 or not all(a < b < math.inf for a, b in pairwise(grid)):
                raise ValueError(f"grid must hold at least two increasing times, got {list(grid)}")
            steps = len(grid) - 1
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.steps = steps
        self.grid = None if grid is None else tuple(float(t) for t in grid)

    def times(self, span: tuple[float, float]) -> list[float]:
        """The grid on ``span``, both ends included."""
        start, end = span
        if self.grid is None:
            inner = [start + (end - start) * (i / self.steps) for i in range(self.steps)]
        else:
            low, width = self.grid[0], self.grid[-1] - self.grid[0]
            inner = [start + (end - start) * (g - low) / width for g in self.grid[:-1]]
        return [*inner, end]

    def walked(self, field: Field, span: tuple[float, float]) -> list[float]:
        """Times of a walk along ``field``: the grid on ``span``, unless a solver knows better."""
        return self.times(span)

    @abstractmethod
    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One step from ``t`` to ``t_next``."""

    def with_steps(self, steps: int) -> Self:
        """The same solver on ``steps`` equal steps."""
        other = copy.copy(self)
        other.steps, other.grid = steps, None
        return other

    def prepare(self, field: Field) -> Field:
        """The field as the kind consumed."""
        return read_as(field, self.wanted())

    def solve(
        self,
        field: Field,
        x0: State,
        *,
        cond: Cond | None = None,
        span: tuple[float, float] | None = None,
        generator: torch.Generator | None = None,
        keep: int = 0,
        on_step: Hook | None = None,
        layout: Layout | None = None,
    ) -> Solution:
        """Walk the grid; see `Solver.solve`."""
        call = Call(self.prepare(field), cond, generator, layout)
        times = self.walked(field, span or field.span)
        walk = Walk(call, x0, times[0], keep=keep, on_step=on_step, steps=len(times) - 1)
        for i, (t, t_next) in enumerate(pairwise(times)):
            walk.arrive(self.step(call, walk.x, t, t_next, last=i == len(times) - 2), t_next)
        return walk.solution()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(steps={self.steps})"


def _fitting(objective: Any) -> str:
    """A solver that would fit, as recipes name it."""
    if objective.serves("velocity"):
        tokens = ": simplex-euler, or any ODE solver" if objective.kind == "posterior" else ""
        jumps = "flow-map, " if objective.kind == "flow-map" else ""
        return f"solver{tokens}" if tokens else f"solver: {jumps}euler, midpoint, heun, rk4 or dopri5"
    single = uniform_kind(objective.kind)
    if single is None:
        return "solver: mixed, with one solver per part"
    return {"posterior": "solver: ctmc-euler", "flow-map": "solver: flow-map"}.get(
        single, f"a solver of {single} fields"
    )
