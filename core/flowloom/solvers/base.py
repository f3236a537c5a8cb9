"""The solver contract, and the loop that fixed-step solvers share.

Solvers are settings, not state: one object may serve many threads and fields at once. Everything that
changes during a solve lives in the call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowloom.errors import SolverError
from flowloom.fields import Field, Kind, converted
from flowloom.fields.base import time_tensor
from flowloom.state import Cond, State, leaves

Hook = Callable[[State, float], "State | None"]


@dataclass(frozen=True)
class Solution:
    """What a solver returns.

    Args:
        x: state at the end of the span.
        nfe: network evaluations per example, guidance branches and rejected steps included.
        times: times of the kept states.
        trajectory: kept states, first and last included; empty where none were asked for.
        log_prob: log density of every row, where a likelihood was asked for.
    """

    x: State
    nfe: int
    times: tuple[float, ...] = ()
    trajectory: list[State] = field(default_factory=list)
    log_prob: Tensor | None = None


class Evaluator:
    """A field with its condition, called with a plain number as time and counting network evaluations.

    Args:
        source: the field.
        cond: its condition.
    """

    def __init__(self, source: Field, cond: Cond) -> None:
        self.field, self.cond, self.nfe = source, cond, 0

    def __call__(self, x: State, t: float) -> State:
        """Evaluate at time ``t`` for every row."""
        self.nfe += self.field.calls(t, self.cond)
        return self.field(x, time_tensor(t, x), self.cond)


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
        span: tuple[float, float] = (0.0, 1.0),
        generator: torch.Generator | None = None,
        keep: int = 0,
        on_step: Hook | None = None,
    ) -> Solution:
        """Carry ``x0`` from ``span[0]`` to ``span[1]``.

        Args:
            field: what to integrate, on its own geometry.
            x0: state at ``span[0]``.
            cond: conditions of every row.
            span: start and end; a decreasing span integrates backwards, where the solver can.
            generator: for stochastic solvers.
            keep: about how many states of the trajectory to return (0 for none).
            on_step: called with the new state and its time after every step; a state it returns
                replaces the new one (projection, data consistency, progress).

        Raises:
            SolverError: the field is not finite, or the evaluation budget is spent.
            IncompatibleError: the field cannot serve as the kind consumed.
        """


class FixedGrid(Solver):
    """Solvers that walk a grid of times fixed in advance.

    Args:
        steps: number of equal steps.
        grid: times from 0 to 1 to walk instead, increasing; scaled to the span.
    """

    def __init__(self, steps: int = 20, grid: Sequence[float] | None = None) -> None:
        if grid is not None:
            if len(grid) < 2 or any(b <= a for a, b in pairwise(grid)):
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

    @abstractmethod
    def step(
        self,
        evaluate: Evaluator,
        x: State,
        t: float,
        t_next: float,
        *,
        last: bool,
        generator: torch.Generator | None,
    ) -> State:
        """One step from ``t`` to ``t_next``."""

    def prepare(self, field: Field) -> Field:
        """The field as the kind consumed."""
        return converted(field, self.wanted())

    def solve(
        self,
        field: Field,
        x0: State,
        *,
        cond: Cond | None = None,
        span: tuple[float, float] = (0.0, 1.0),
        generator: torch.Generator | None = None,
        keep: int = 0,
        on_step: Hook | None = None,
    ) -> Solution:
        """Walk the grid; see `Solver.solve`."""
        evaluate = Evaluator(self.prepare(field), cond or {})
        times = self.times(span)
        last_index = len(times) - 2
        kept = kept_indices(len(times), keep)
        x, states = x0, [x0] if 0 in kept else []
        # Eight looks are enough to tell where a field went wrong, and cost nothing beside many small steps.
        every = last_index // 8 + 1
        totals: dict[float, Tensor] = {}
        for i, (t, t_next) in enumerate(pairwise(times)):
            x = self.step(evaluate, x, t, t_next, last=i == last_index, generator=generator)
            if on_step is not None:
                replaced = on_step(x, t_next)
                x = x if replaced is None else replaced
            if i + 1 in kept:
                states.append(x)
            if i % every == 0 or i == last_index:
                totals[t] = _total(x)
        _require_finite_steps(totals)
        return Solution(x, evaluate.nfe, tuple(times[i] for i in sorted(kept)), states)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(steps={self.steps})"


def kept_indices(count: int, keep: int) -> set[int]:
    """Which of ``count`` states to keep so that about ``keep`` remain, ends included."""
    if keep <= 0:
        return set()
    if keep == 1:
        return {count - 1}
    keep = min(keep, count)
    return {round(i * (count - 1) / max(keep - 1, 1)) for i in range(keep)}


def _total(x: State) -> Tensor:
    """A sum that is finite only if the state is; nobody waits for its value."""
    sums = [
        leaf.detach().sum(dtype=torch.promote_types(leaf.dtype, torch.float32))
        for _, leaf in leaves(x)
        if leaf.is_floating_point()
    ]
    if not sums:
        return torch.zeros(())
    return sums[0] if len(sums) == 1 else torch.stack([s.double() for s in sums]).sum()


def _require_finite_steps(totals: Mapping[float, Tensor]) -> None:
    """Look at all sums (by the time before their step) at once: an accelerator is waited for once a solve."""
    finite = torch.stack(list(totals.values())).isfinite()
    try:
        fine = bool(finite.all())
    except RuntimeError:  # Inside torch.func.vmap no value can be read.
        return
    if not fine:
        t = list(totals)[finite.tolist().index(False)]
        require_finite(torch.nan, t, "the state after the step")


def require_finite(value: Any, t: float, what: str) -> None:
    """Raise a SolverError that names the time where ``value`` stopped being finite."""
    if not bool(torch.isfinite(torch.as_tensor(value)).all()):
        raise SolverError(
            f"{what} is not finite at t = {t:.4g}; the field itself is at fault there: "
            "check the model's weights, or stop the span earlier"
        )
