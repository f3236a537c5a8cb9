"""Ends of windows of the time, joined by a teacher's flow: what piecewise reflow learns from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flowloom.fields import Field, NetworkField
from flowloom.fields.base import evaluate
from flowloom.layout import Layout
from flowloom.paths import Path
from flowloom.sources import Source
from flowloom.state import Cond, State, Time, map_state
from flowloom_fewstep.tangents import scaled

__all__ = ["Window", "WindowField", "follow"]

_ROUNDING = 1e-4
"""Of a window, within which a time is that of its beginning."""


@dataclass(frozen=True)
class Window:
    """A window for every row: where it begins, and how long it is, ``(batch,)`` each."""

    start: Tensor
    length: Tensor

    def at(self, share: Tensor) -> Tensor:
        """The time after a share of the window."""
        return self.start + share * self.length


class WindowField(NetworkField):
    """A velocity network that is told no time nearer to the beginning of a window than a share of it.

    Args:
        model: of velocities.
        path: it was trained on.
        source: the law of x0.
        windows: of equal length.
        inside: the share; 0 tells times as they are.
    """

    def __init__(
        self, model: nn.Module, path: Path, source: Source | None, windows: int, inside: float
    ) -> None:
        super().__init__(model, "velocity", path, source)
        self.windows, self.inside = windows, inside

    def __call__(self, x: State, t: Time, cond: Cond) -> State:
        """Evaluate the network."""
        return super().__call__(x, map_state(self.told, t) if self.inside else t, cond)

    def told(self, t: Tensor) -> Tensor:
        """What the network is told of times ``t``."""
        place = t * self.windows
        window = (place + _ROUNDING).floor().clamp(0, self.windows - 1)
        return (window + (place - window).clamp_min(self.inside)) / self.windows


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
