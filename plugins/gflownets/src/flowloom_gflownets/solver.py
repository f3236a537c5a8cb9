"""Sampling: the policy is followed to the end."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.layout import Layout
from flowloom.solvers import Solution, Solver
from flowloom.solvers.walk import Hook
from flowloom.state import Cond, State
from flowloom_gflownets.policy import KIND, PolicyField
from flowloom_gflownets.trajectories import roll_out


class Rollout(Solver):
    """Takes actions of the policy from the root until each walk stops; evaluations are those of the longest.

    Args:
        epsilon: uniform exploration; 0 samples from the policy itself.
    """

    consumes = KIND
    stochastic = True

    def __init__(self, epsilon: float = 0.0) -> None:
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon is a share in [0, 1], got {epsilon}")
        self.epsilon = epsilon

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
        """Walk; see `Solver.solve`. A trajectory is its ends, as walks differ in length.

        Raises:
            IncompatibleError: the field is no policy, entries are given, or the span is not from 0 to 1.
        """
        if not isinstance(field, PolicyField):
            raise IncompatibleError(f"rollout needs a policy, and this field is a {field.kind}")
        if layout is not None or (span or (0.0, 1.0)) != (0.0, 1.0):
            raise IncompatibleError("a policy walks from the root to whole objects, from 0 to 1")
        assert isinstance(x0, Tensor)
        walks = roll_out(field, x0, epsilon=self.epsilon, generator=generator)
        ends: State = walks.ends
        if on_step is not None and (replaced := on_step(ends, 1.0)) is not None:
            ends = replaced
        kept = [x0, ends] if keep > 1 else [ends] if keep else []
        longest = int(walks.walk.bincount(minlength=1).max())
        return Solution(ends, longest, (0.0, 1.0)[2 - len(kept) :], kept, cond=cond or {})
