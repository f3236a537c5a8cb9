"""Consistency flow matching: velocities that agree along straight pieces."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.conditions import drop, require_dropout
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, NetworkField
from flowloom.objectives import Batch, Loss, Objective, Step, dropout_clashes
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source
from flowloom.state import State, batch_size, expand, map_state
from flowloom.times import TimeLaw, Uniform
from flowloom_fewstep.segments import Segments
from flowloom_fewstep.tangents import fixed, scaled
from flowloom_fewstep.unit_time import require_unit_time

__all__ = ["ConsistencyFM"]


class ConsistencyFM(Objective):
    r"""Velocities, and the ends that they imply, agree within K pieces (Yang et al. 2407.02398).

    With e(t) the end of the piece that holds t, :math:`f(t, x) = \exp_x((e(t) - t)\, v(x, t))`, r = t +
    :math:`\delta` and both states of the same pair of ends,

    .. math:: L = E\, d\big(f_\theta(t, x_t),\, \mathrm{sg} f_\theta(r, x_r)\big)^2
              + \alpha\, \|v_\theta(x_t, t) - \mathrm{sg}\, v_\theta(x_r, r)\|^2

    Where r has passed a boundary B, the target is the path's own point at the end of the piece. The
    first ``stage`` of the training has B = 0 (each piece is regressed on its end), the rest
    ``boundary``. The network is an ordinary velocity; Euler with K steps samples, and
    more steps are *not* better. The paper writes an averaged copy for the second calls; its code, followed
    here, has the network itself without gradient.

    Args:
        path: where the points come from: straight, or geodesic, for pieces to be straight; injected from the
            recipe where none is given.
        times: law of t, uniform by default.
        segments: K.
        delta: distance of the two times.
        velocity_weight: alpha; on curved spaces 0, where velocities at two points have no difference.
        boundary: B after the first stage, a time.
        stage: share of the training with B = 0.
        condition_dropout: probability with which a row's conditions are withheld, drawn per row.

    Raises:
        IncompatibleError: states are tokens, velocities would be compared on a curved space, times are not
            those of [0, 1], or the path draws anew at every time.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        segments: int = 2,
        delta: float = 1e-3,
        velocity_weight: float = 1e-5,
        boundary: float = 0.9,
        stage: float = 0.5,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.path, self.law, self.pieces = path or AffinePath(), times or Uniform(), Segments(segments)
        geometry = self.path.geometry
        if not geometry.continuous:
            raise IncompatibleError("consistency-fm compares velocities, and discrete states have none")
        require_unit_time("consistency-fm", self.path, times)
        if not self.path.pathwise:
            raise IncompatibleError(
                f"consistency-fm follows one pair of ends from t to t + delta, and {self.path} draws anew "
                "at every time; use path: affine or geodesic"
            )
        if velocity_weight and not geometry.flat:
            raise IncompatibleError(
                f"consistency-fm compares velocities at two points, which {geometry} cannot; use "
                "velocity_weight: 0"
            )
        if not 0 < delta < 1 / segments or not 0 <= velocity_weight < math.inf:
            raise ValueError(
                "delta is positive and shorter than a segment, velocity_weight finite and not negative; got "
                f"{delta}, {velocity_weight}"
            )
        if not (0 <= boundary <= 1 and 0 <= stage <= 1):
            raise ValueError(f"boundary and stage are shares in [0, 1], got {boundary}, {stage}")
        require_dropout(condition_dropout)
        self.delta, self.velocity_weight = delta, velocity_weight
        self.boundary, self.stage, self.condition_dropout = boundary, stage, condition_dropout

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Conditions to withhold that the data lacks or the network needs."""
        yield from dropout_clashes(self.condition_dropout, parts)

    @property
    def kind(self) -> str:
        """A velocity."""
        return "velocity"

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network."""
        return NetworkField(model, "velocity", self.path, source)

    def limit(self, progress: float) -> float:
        """B when ``progress`` of the training is done."""
        return 0.0 if progress < self.stage else self.boundary

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Two network calls, one of them with gradient."""
        n, layout, geometry = batch_size(batch.x1), batch.layout, self.path.geometry
        t = self.law.sample(n, Draw.like(batch.x1, step.generator))
        end = self.pieces.end(t)
        r = torch.minimum(t + self.delta, end)
        cond = drop(batch.cond, self.condition_dropout, n, step.generator)
        field = NetworkField(model, "velocity", self.path)

        def at(time: Tensor) -> State:
            return batch.point(self.path, time, step.generator).x_t

        def asked(x: State, time: Tensor) -> tuple[State, State]:
            v = field(x, time, cond)
            v = v if layout is None else layout.still(v)
            return v, geometry.exp(x, scaled(v, end - time))

        x = at(t)
        velocity, landed = asked(x, t)
        with torch.no_grad():
            other, target = asked(at(r), r)
        limit = self.limit(step.progress)
        known = r >= limit
        target = map_state(lambda a, b: torch.where(expand(known, a), a, b), at(end), target)
        away = geometry.log(fixed(target), landed)
        away = away if layout is None else layout.still(away)
        ends = geometry.inner(target, away, away)
        parts = {"ends": ends.detach().mean()}
        if not self.velocity_weight:
            return Loss(ends.mean(), parts)
        difference = map_state(torch.sub, velocity, other)
        compared = (t < limit) & (end - t > 1.01 * self.delta)
        apart = geometry.inner(x, difference, difference) * compared
        parts["velocities"] = apart.detach().mean()
        return Loss(ends.mean() + self.velocity_weight * apart.mean(), parts)
