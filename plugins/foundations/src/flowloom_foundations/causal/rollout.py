"""Sampling state after state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, read_as
from flowloom.layout import Layout
from flowloom.solvers import Solution, Solver
from flowloom.solvers.walk import Call, Hook, Walk
from flowloom.state import Cond, State
from flowloom_foundations.causal.model import CausalTrajectory
from flowloom_foundations.causal.objective import HISTORY


class Rollout(Solver):
    """Each state is drawn from all before it; as many calls as there are transitions, no ODE.

    Histories are short (8 to 16 states), so they are read anew for every state, without a cache.

    Args:
        steps: transitions, as many as the network was trained on.
    """

    consumes: ClassVar[str] = HISTORY
    stochastic: ClassVar[bool] = True

    def __init__(self, steps: int = 8) -> None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        self.steps = steps

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A network of other trajectories."""
        yield from super().clashes(parts)
        model = parts.get("model")
        if isinstance(model, CausalTrajectory) and model.steps != self.steps:
            yield Clash(
                "solver", "model", f"the network has {model.steps} steps, and the rollout {self.steps}"
            )

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
        if (
            (span is not None and tuple(span) != (0.0, 1.0))
            or layout is not None
            or not isinstance(x0, Tensor)
        ):
            raise IncompatibleError(
                "trajectory-rollout walks whole trajectories of one free tensor, from source to data"
            )
        call = Call(field, cond, generator)
        walk, states = Walk(call, x0, 0.0, keep=keep, on_step=on_step, steps=self.steps), [x0]
        for k in range(self.steps):
            answer = call(torch.stack(states, 1), k / self.steps)
            walk.arrive(answer, (k + 1) / self.steps)
            assert isinstance(walk.x, Tensor)
            states.append(walk.x)
        return walk.solution()
