"""Parts of a state that move one after another."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.paths import AffinePath, Path, Point
from flowloom.schedules import CondOT, Schedule
from flowloom.solvers import Euler, Midpoint, Solver
from flowloom.spec import Spec
from flowloom.state import State, Time, expand

__all__ = ["InTurn", "turn"]


def turn(t: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Whose turn it is, as integers, and how much of it is over, of times of any shape."""
    whole = t * count
    index = whole.floor().clamp(0, count - 1)
    return index.long(), whole - index


class InTurn(Path):
    r"""Entries of the first dimension move from source to data one after another, each in its share of time.

    With n of them, entry k is :math:`\alpha(s) x_1 + \sigma(s) x_0` at
    :math:`s = \mathrm{clamp}(n t - k, 0, 1)`: before its turn it is noise, after it data. What is learned of
    entry k is so its law given those before it, with one flow for each, and an ordinary ODE draws all of them
    in order. The velocity is n times that of an entry by itself while it moves, and 0 otherwise.

    The field is cut at multiples of 1/n, where steps have to end and no stage may be asked ahead of the end:
    solvers are euler and midpoint, of a multiple of n steps.

    Args:
        schedule: of an entry in its turn.
    """

    def __init__(self, schedule: Schedule | None = None) -> None:
        self._each = AffinePath(schedule or CondOT())
        self.geometry = self._each.geometry

    def sample(self, x0: State, x1: State, t: Time, *, generator: torch.Generator | None = None) -> Point:
        """The point between states ``(batch, n, ...)``, at times ``(batch,)`` or ``(batch, n)`` and so on."""
        assert isinstance(x1, Tensor)
        assert isinstance(t, Tensor)
        count = x1.shape[1]
        times = t[:, None] if t.ndim == 1 else t
        entries = torch.arange(count, device=x1.device).view(-1, *[1] * (times.ndim - 2))
        point = self._each.sample(x0, x1, (times * count - entries).clamp(0, 1))
        assert isinstance(point.velocity, Tensor)
        moves = expand(turn(times, count)[0] == entries, x1)
        return Point(point.x_t, t, torch.where(moves, count * point.velocity, 0.0), x0, x1)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Other states, and solvers that ask ahead of a cut."""
        yield from super().clashes(parts)
        spec, solver = parts.get("spec"), parts.get("solver")
        if not isinstance(spec, Spec):
            return
        if spec.parts or len(spec.shape) < 2:
            yield Clash(
                "path",
                "data",
                f"path in-turn moves entries of the first of several dimensions, not {spec.event_shape()}; "
                "waveforms have them behind codec: wavelet-bands",
            )
        elif isinstance(solver, Solver) and not _ends_at_cuts(solver, spec.shape[0]):
            yield Clash(
                "path",
                "solver",
                f"path in-turn is cut into {spec.shape[0]} pieces, where steps have to end: use solver: "
                f"midpoint or euler, with a multiple of {spec.shape[0]} steps",
            )


def _ends_at_cuts(solver: Solver, count: int) -> bool:
    """Whether no step asks beyond a cut: asked at its end, the field tells of the next piece."""
    return isinstance(solver, (Euler, Midpoint)) and solver.grid is None and solver.steps % count == 0
