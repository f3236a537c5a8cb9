"""Flow matching in pieces of one time, each between two snapshots."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from flowloom.conditions import drop
from flowloom.draw import Draw
from flowloom.fields import Field, NetworkField
from flowloom.objectives import Batch, FlowMatching, Step
from flowloom.objectives.base import Asked
from flowloom.paths import Path
from flowloom.sources import Source
from flowloom.state import Cond, State, Time, batch_size, expand, map_state
from flowloom.times import TimeLaw

__all__ = ["BetweenSnapshots"]

_NAMES = ("between", "interval")


def _piece(cond: Cond, t: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Where in all of time ``t`` is, how long the interval, and what else is told."""
    rest = {name: value for name, value in cond.items() if name not in _NAMES}
    between = cond.get("between")
    if between is None:
        return t, t.new_ones(len(t)), rest
    begin, end = between.to(t).unbind(1)
    return begin + t * (end - begin), end - begin, rest


class BetweenSnapshots(FlowMatching):
    r"""Regress one field of all of time onto ways between neighbouring snapshots (2405.14780, algorithm 2).

    A row has the condition ``between``, times a and b of its two snapshots. Its path runs over
    :math:`s \in [0, 1]`, the network sees :math:`t = a + (b - a) s`, and regresses
    :math:`\dot x_s / (b - a)`. The field follows each row from its a to its b, so that a population held out
    in between is reached by asking for it. Rows without the condition run from 0 to 1.

    Args:
        path: of s; ``metric-interpolant`` with the stage that bent it, or straight lines.
        times: law of s.
        condition_dropout: see `PointObjective`.
    """

    def __init__(
        self, path: Path | None = None, times: TimeLaw | None = None, condition_dropout: float = 0.0
    ) -> None:
        super().__init__(path, times, condition_dropout=condition_dropout)

    def ask(self, model: nn.Module, batch: Batch, step: Step) -> Asked:
        """The network at a point of the piece, and the velocity there in the units of all of time."""
        n = batch_size(batch.x1)
        s = self.times.sample(n, Draw.like(batch.x1, step.generator))
        point = batch.point(self.path, s, step.generator)
        t, length, rest = _piece(batch.cond, s)
        cond = drop(rest, self.condition_dropout, n, step.generator)
        velocity = point.velocity
        assert velocity is not None
        point = replace(point, velocity=map_state(lambda v: v / expand(length, v), velocity))
        prediction = model(point.x_t, t, **cond)
        if batch.layout is not None:
            prediction = self.quieted(prediction, point, batch.layout)
        return Asked(prediction, point, cond)

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network, followed from a to b."""
        return _Between(model, "velocity", self.path, source)


class _Between(NetworkField):
    """Velocities by s."""

    def __call__(self, x: State, t: Time, cond: Cond) -> State:
        assert isinstance(t, Tensor)
        time, length, rest = _piece(cond, t)
        found = super().__call__(x, time, rest)
        return map_state(lambda v: v * expand(length, v), found)
