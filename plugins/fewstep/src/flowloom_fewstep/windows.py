"""Ends of windows of the time, joined by a teacher's flow: what piecewise reflow learns from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flowloom.fields import Field
from flowloom.fields.base import evaluate
from flowloom.layout import Layout
from flowloom.state import Cond, State, map_state
from flowloom_fewstep.tangents import scaled

__all__ = ["Window", "follow"]


@dataclass(frozen=True)
class Window:
    """A window for every row: where it begins, and how long it is, ``(batch,)`` each."""

    start: Tensor
    length: Tensor

    def at(self, share: Tensor) -> Tensor:
        """The time after a share of the window."""
        return self.start + share * self.length


@torch.no_grad()
def follow(
    field: Field,
    x: State,
    window: Window,
    steps: int,
    cond: Cond,
    layout: Layout | None = None,
    generator: torch.Generator | None = None,
) -> State:
    """Where a velocity leads states through their windows, by equal Euler steps along geodesics.

    On the straight path a step is one of DDIM; windows differ from row to row, which solvers' do not.

    Args:
        field: of kind velocity.
        x: states at the beginning of their windows.
        window: of every row.
        steps: in each window.
        cond: their conditions.
        layout: which entries are real, and which given.
        generator: for fields that draw.
    """
    for i in range(steps):
        t = window.at(torch.full_like(window.start, i / steps))
        v = evaluate(field, x, t, cond, generator)
        v = v if layout is None else layout.still(v)
        x = field.geometry.exp(x, scaled(v, window.length / steps))
    return map_state(Tensor.detach, x)
