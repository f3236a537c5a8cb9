"""Sampling state after state."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.fields import Field, read_as
from flowloom.layout import Layout
from flowloom.solvers import Solution, Solver
from flowloom.solvers.walk import Call, Hook, Walk
from flowloom.state import Cond, State
from flowloom_foundations.causal.objective import HISTORY, NextStates


class Rollout(Solver):
    """Each state is drawn from all before it; as many calls as the network has transitions, no ODE.

    Histories are short (8 to 16 states), so they are read anew for every state, without a cache.
    """

    consumes: ClassVar[str] = HISTORY
    stochastic: ClassVar[bool] = True

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
        """From source to data; see `Solver.solve`.

        Raises:
            IncompatibleError: another span is asked for, entries are given, or the state has parts.
        """
        field = read_as(field, HISTORY)
        assert isinstance(field, NextStates)
        if (
            (span is not None and tuple(span) != (0.0, 1.0))
            or layout is not None
            or not isinstance(x0, Tensor)
        ):
            raise IncompatibleError(
                "trajectory-rollout walks whole trajectories of one free tensor, from source to data"
            )
        call = Call(field, cond, generator)
        walk, states = Walk(call, x0, 0.0, keep=keep, on_step=on_step, steps=field.steps), [x0]
        for k in range(field.steps):
            answer = call(torch.stack(states, 1), k / field.steps)
            walk.arrive(answer, (k + 1) / field.steps)
            assert isinstance(walk.x, Tensor)
            states.append(walk.x)
        return walk.solution()
