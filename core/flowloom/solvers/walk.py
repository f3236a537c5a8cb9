"""What every solve does between its steps, whoever takes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from flowloom.errors import SolverError
from flowloom.fields import Field, Kind
from flowloom.fields.base import evaluate, time_tensor
from flowloom.layout import Layout
from flowloom.state import Cond, State, leaves, part

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
        cond: conditions of the rows: those given, and what the solve itself decided (lengths, masks,
            weights).
    """

    x: State
    nfe: int
    times: tuple[float, ...] = ()
    trajectory: list[State] = field(default_factory=list)
    log_prob: Tensor | None = None
    cond: Cond = field(default_factory=dict)


class Call:
    """A field as one solve asks it: with plain numbers as times, the same conditions, and every call counted.

    The field never sees a given entry moved. Velocities of padding and of given entries are 0, and whatever
    else it says in padding is 0 as well.

    Args:
        field: what is integrated.
        cond: conditions of every row.
        generator: of everything that the solve draws.
        layout: which entries are real and which given.
    """

    def __init__(
        self,
        field: Field,
        cond: Cond | None = None,
        generator: torch.Generator | None = None,
        layout: Layout | None = None,
    ) -> None:
        self.field, self.cond, self.generator, self.layout = field, cond or {}, generator, layout
        self.nfe = 0

    def __call__(self, x: State, t: float) -> State:
        """Evaluate at time ``t`` for every row."""
        field = self.field
        self.nfe += field.calls(t, self.cond)
        if self.layout is None and not field.stochastic:
            return field(x, time_tensor(t, x), self.cond)
        if self.layout is None:
            return evaluate(field, x, time_tensor(t, x), self.cond, self.generator)
        x = self.layout.hold(x)
        answer = evaluate(self.field, x, time_tensor(t, x), self.cond, self.generator)
        return _quiet(answer, self.field.kind, self.layout)


def _quiet(value: State, kind: Kind, layout: Layout) -> State:
    if isinstance(value, dict):
        return {
            k: v if (own := layout.part(k)) is None else _quiet(v, part(kind, k), own)
            for k, v in value.items()
        }
    quiet: State = layout.still(value) if kind == "velocity" else layout.zero(value)
    return quiet


class Walk:
    """The account of one solve: kept states, hooks, held entries, and whether all of it is finite.

    Args:
        call: what is evaluated.
        x: state to start from.
        t: its time.
        keep: about how many states to keep, 0 for none.
        on_step: see `flowloom.solvers.Solver.solve`.
        steps: number of steps, where it is known beforehand.
    """

    def __init__(
        self,
        call: Call,
        x: State,
        t: float,
        *,
        keep: int = 0,
        on_step: Hook | None = None,
        steps: int | None = None,
    ) -> None:
        self.call, self.keep, self.on_step, self.steps = call, keep, on_step, steps
        if call.layout is not None:
            x, call.layout = call.layout.settled(x)
        self.x: State = x
        self.t, self.taken = t, 0
        self._wanted = None if steps is None else kept_indices(steps + 1, keep)
        self._times: list[float] = []
        self._states: list[State] = []
        self._totals: dict[float, Tensor] = {}
        # Four looks are enough to tell where a field went wrong, and cost nothing beside many small steps.
        self._every = 1 if steps is None else (steps - 1) // 4 + 1
        if keep:
            self._record()

    def arrive(self, x: State, t: float) -> bool:
        """Take the state after a step to time ``t``; True where a hook replaced it."""
        before, replaced = self.t, None
        if self.call.layout is not None:
            x = self.call.layout.hold(x)
        if self.on_step is not None:
            replaced = self.on_step(x, t)
        if replaced is not None and self.call.layout is not None:
            replaced = self.call.layout.hold(replaced)
        self.x, self.t = x if replaced is None else replaced, t
        last = self.steps is not None and self.taken == self.steps - 1
        if self.steps is not None and (self.taken % self._every == 0 or last):
            self._totals[before] = _total(self.x)
        self.taken += 1
        if self.keep:
            self._record()
        return replaced is not None

    def _record(self) -> None:
        wanted = self._wanted
        if wanted is None or self.taken in wanted:
            self._times.append(self.t)
            self._states.append(self.x)

    def solution(self) -> Solution:
        """The state, and everything that was asked for.

        Raises:
            SolverError: a state was not finite; names the time of the step.
        """
        if self._totals and not torch.compiler.is_compiling():  # a graph cannot raise
            _require_finite_steps(self._totals)
        chosen = range(len(self._times))
        if self._wanted is None:
            chosen = sorted(kept_indices(len(self._times), self.keep))  # type: ignore[assignment]
        times = tuple(self._times[i] for i in chosen)
        return Solution(self.x, self.call.nfe, times, [self._states[i] for i in chosen], cond=self.call.cond)


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
    if isinstance(x, Tensor) and x.dtype in (torch.float32, torch.float64):
        return x.detach().sum() if x.requires_grad else x.sum()
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
    try:
        seen = torch.stack(list(totals.values())).tolist()
    except RuntimeError:  # Inside torch.func.vmap no value can be read.
        return
    for t, total in zip(totals, seen, strict=True):
        if not math.isfinite(total):
            require_finite(total, t, "the state after the step")


def require_finite(value: Any, t: float, what: str) -> None:
    """Raise a SolverError that names the time where ``value`` stopped being finite."""
    if not bool(torch.isfinite(torch.as_tensor(value)).all()):
        raise SolverError(
            f"{what} is not finite at t = {t:.4g}; the field itself is at fault there: "
            "check the model's weights, or stop the span earlier"
        )
