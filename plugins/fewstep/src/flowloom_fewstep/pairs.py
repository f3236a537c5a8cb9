"""Objectives that score a network of two times, row by row: what the few-step family shares."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.conditions import drop, require_dropout
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import SPAN, AverageVelocityMap, Field
from flowloom.geometry import Geometry
from flowloom.layout import Layout
from flowloom.objectives import Batch, Loss, Objective, Step, dropout_clashes
from flowloom.paths import AffinePath, Path, Point
from flowloom.sources import Source
from flowloom.spec import Condition
from flowloom.state import Cond, State, batch_size
from flowloom.times import TimeLaw
from flowloom.trained import Trained
from flowloom_fewstep.guided_target import GuidedTarget
from flowloom_fewstep.identity import Residual
from flowloom_fewstep.intervals import Intervals
from flowloom_fewstep.tangents import scaled
from flowloom_fewstep.teachers import mistaught, taught_velocity
from flowloom_fewstep.unit_time import require_unit_time
from flowloom_fewstep.weighting import adaptive

__all__ = ["Pair", "PairObjective"]


@dataclass(frozen=True)
class Pair:
    """A batch of states with two times, and the network that is asked there.

    Args:
        network: of average velocities.
        x: states ``(batch, *event)`` at ``s``, on the path.
        s: their times ``(batch,)``.
        t: times looked at ``(batch,)``, at or after ``s``.
        velocity: of the states, as the objective has it: conditional, guided or a teacher's; tangent at x.
        cond: conditions, some of them withheld.
        layout: of the batch.
    """

    network: AverageVelocityMap
    x: State
    s: Tensor
    t: Tensor
    velocity: State
    cond: Cond
    layout: Layout | None = None

    @property
    def geometry(self) -> Geometry:
        """Where the states live."""
        return self.network.geometry

    def still(self, v: State) -> State:
        """A tangent whose padding and given entries do not move."""
        return v if self.layout is None else self.layout.still(v)

    def mean(self, x: State, s: Tensor, t: Tensor) -> State:
        """The network's ``u(x, s, t)``, tangent at ``x``."""
        return self.still(self.network.mean(x, s, t, self.cond))

    def along(self, x: State, v: State, time: Tensor) -> State:
        """Where ``x`` is after ``time`` at the constant velocity ``v``: ``exp_x(time v)``."""
        return self.geometry.exp(x, scaled(v, time))

    def jump(self, x: State, s: Tensor, t: Tensor) -> State:
        """The network's ``X(x, s, t) = exp_x((t - s) u(x, s, t))``."""
        return self.along(x, self.mean(x, s, t), t - s)

    def asks(self, model: nn.Module) -> Callable[[State, Tensor], State]:
        """The velocity ``(x, t)`` that another network of two times has, under the same conditions."""
        other = AverageVelocityMap(model, self.network.path or AffinePath())
        return lambda x, t: self.still(other.velocity(x, t, self.cond))

    def require_jvp(self, method: str) -> None:
        """Forward-mode derivatives must exist.

        Raises:
            IncompatibleError: the network has none.
        """
        if not self.network.jvp_safe:
            name = type(self.network.model).__name__
            raise IncompatibleError(
                f"{method} differentiates its network forward, and {name} cannot be (jvp_safe = False)"
            )


class PairObjective(Objective):
    """Objectives of one error a row, at a state of the path and two times.

    The network reads the time of its state, and the time ahead as the setting ``span``; it is a flow map, and
    at coinciding times a velocity. A subclass writes `residual`.

    Args:
        path: where the points come from; injected from the recipe where none is given.
        times: law of either time, uniform by default.
        distinct: share of rows with two times; in the others t = s.
        power: p of the adaptive weight, see `flowloom_fewstep.weighting.adaptive`.
        floor: c of the adaptive weight.
        guided: guidance to train in.
        condition_dropout: probability with which a row's conditions are withheld, drawn per row.
        teacher: gives the velocities; the pair of ends does where there is none.

    Raises:
        IncompatibleError: the states are tokens, the path jumps, or times are not those of [0, 1].
        ValueError: an argument is out of range.
    """

    also = ("velocity",)
    tells = (SPAN,)

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        distinct: float = 0.25,
        power: float = 1.0,
        floor: float = 1e-3,
        guided: GuidedTarget | None = None,
        condition_dropout: float = 0.0,
        teacher: Trained | None = None,
    ) -> None:
        super().__init__()
        self.path = path or AffinePath()
        if not self.path.geometry.continuous:
            raise IncompatibleError(
                f"{type(self).__name__} averages velocities, and discrete states have none; "
                "embed tokens first"
            )
        require_unit_time(type(self).__name__, self.path, times)
        require_dropout(condition_dropout)
        if not 0 <= power < math.inf or not 0 < floor < math.inf:
            raise ValueError(
                "power must not be negative, floor be positive, and both finite; got "
                f"power={power}, floor={floor}"
            )
        if teacher is not None and guided is not None:
            raise ValueError("guided mixes velocities of the data, and a teacher brings guidance of its own")
        self.intervals = Intervals.of(times, distinct)
        self.power, self.floor, self.guided = power, floor, guided or GuidedTarget()
        self.condition_dropout, self.teacher = condition_dropout, teacher

    @property
    def kind(self) -> str:
        """A flow map."""
        return "flow-map"

    def conditions(self) -> Mapping[str, Condition]:
        """The time ahead, ``t - s``."""
        return {SPAN: Condition(role="setting")}

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Guidance by what is never learned; conditions to withhold that the data or the network lacks.

        And a teacher of another flow.
        """
        yield from dropout_clashes(self.condition_dropout, parts)
        yield from mistaught(self.teacher, parts, self.path)
        if self.guided.changes and not self.condition_dropout:
            yield Clash(
                "objective",
                "data",
                "guided mixes in what the network says without conditions, which it never learns; set "
                "objective.condition_dropout (0.1 in the papers)",
            )

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The flow map of the average velocity."""
        return AverageVelocityMap(model, self.path, source)

    @abstractmethod
    def residual(self, pair: Pair, step: Step) -> Residual:
        """The error of every row; its gradient is what is descended."""

    def draw_times(self, n: int, draw: Draw, step: Step) -> tuple[Tensor, Tensor]:
        """Times of state and target, ``(n,)`` each."""
        return self.intervals.sample(n, draw)

    def velocity(self, network: AverageVelocityMap, point: Point, s: Tensor, cond: Cond, step: Step) -> State:
        """Of the states at ``point`` and times ``s``: a teacher's, or that of the path, guided."""
        if self.teacher is not None:
            return self.taught(point.x_t, s, cond, step)
        assert point.velocity is not None
        asked = self.guide(network, step) if self.guided.changes else network
        return self.guided(asked.velocity, point.x_t, s, point.velocity, cond)

    def taught(self, x: State, t: Tensor, cond: Cond, step: Step) -> State:
        """The teacher's velocity at states ``x`` and times ``t`` ``(batch,)``, without gradient."""
        assert self.teacher is not None
        return taught_velocity(self.teacher, x, t, cond, step.generator)

    def guide(self, network: AverageVelocityMap, step: Step) -> AverageVelocityMap:
        """The network whose velocities ``guided`` mixes in: the one that is trained."""
        return network

    def pair(
        self, model: nn.Module, batch: Batch, step: Step, times: tuple[Tensor, Tensor] | None = None
    ) -> Pair:
        """Draw s, t, x_s and the conditions that are withheld; only guides and teachers are asked.

        Args:
            model: the network.
            batch: coupled ends.
            step: where training stands.
            times: s and t, where they are not to be drawn.
        """
        n, layout = batch_size(batch.x1), batch.layout
        s, t = times or self.draw_times(n, Draw.like(batch.x1, step.generator), step)
        point = batch.point(self.path, s, step.generator)
        cond = drop(batch.cond, self.condition_dropout, n, step.generator)
        network = AverageVelocityMap(model, self.path)
        velocity = self.velocity(network, point, s, cond, step)
        velocity = velocity if layout is None else layout.still(velocity)
        return Pair(network, point.x_t, s, t, velocity, cond, layout)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """The adaptively weighted squared error, a mean over rows."""
        return self.score(self.residual(self.pair(model, batch, step), step))

    def score(self, found: Residual) -> Loss:
        """A loss of residuals."""
        squared = self.path.geometry.inner(found.point, found.error, found.error)
        values = adaptive(squared, self.power, self.floor)
        return Loss((values * found.weight).mean(), {"error": squared.detach().mean()})
