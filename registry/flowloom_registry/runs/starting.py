"""What a solver is given for some examples: where they start, and every condition as the network sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from flowloom.fields import Field
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.solvers import Solution, Solver
from flowloom.solvers.walk import Hook
from flowloom.state import Cond, State

__all__ = ["Start", "start"]


@dataclass(frozen=True)
class Start:
    """The beginning of a draw.

    Args:
        x0: states.
        cond: conditions of them, with those that the objective adds.
    """

    x0: State
    cond: Cond


def start(flow: Flow, n: int, *, seed: int, cond: Mapping[str, Any]) -> Start:
    """Where `Flow.solve` with the same arguments would start."""
    looking = _Looking()
    flow.solve(n, solver=looking, seed=seed, cond=cond)
    assert looking.found is not None
    return looking.found


class _Looking(Solver):
    """Solves nothing; keeps what it was given."""

    found: Start | None = None

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
        """Keep what is given."""
        self.found = Start(x0, cond or {})
        return Solution(x0, 0, cond=cond or {})
