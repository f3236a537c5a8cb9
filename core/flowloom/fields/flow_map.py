"""Flow maps: fields of two times that jump from one to the other."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.fields.base import Field
from flowloom.fields.wrapped import Wrapped, read_as
from flowloom.paths import Kind, Path
from flowloom.sources import Source
from flowloom.state import Cond, State, expand, map_state


class FlowMap(Field):
    """``X(x, s, t)``: where the state ``x`` at time ``s`` is at time ``t``; ``X(x, s, s) = x``."""

    kind = "flow-map"

    @abstractmethod
    def jump(self, x: State, s: Tensor, t: Tensor, cond: Cond) -> State:
        """Carry ``x`` from times ``s`` to times ``t``, both ``(batch,)``."""

    @abstractmethod
    def velocity(self, x: State, t: Tensor, cond: Cond) -> State:
        """The instantaneous velocity ``d/dt X(x, s, t)`` at ``s = t``."""

    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """Jump to the data."""
        return self.jump(x, t, torch.full_like(t, self.span[1]), cond)

    def as_kind(self, kind: Kind) -> Field | None:
        """A velocity, at coinciding times."""
        return Instantaneous(self) if kind == "velocity" else None


SPAN = "span"
"""Setting by which a network is told how far ahead, in time, it is to look: ``t - s``."""


class AverageVelocityMap(FlowMap):
    """A network of two times that answers with the average velocity between them.

    ``X(x, s, t) = exp_x((t - s) u(x, s, t))``, as MeanFlow (2505.13447) and its relatives train it; on
    Euclidean space the exponential is a sum. ``u`` at ``s = t`` is the instantaneous velocity. The network
    reads the time of its state as any network does, and the time ahead as a setting: one that was trained as
    a velocity field keeps its meaning.

    Args:
        model: called as ``model(x, s, span=t - s, **cond)``; ``x`` is the state at time ``s``.
        path: the path it was trained on.
        source: the law of x0.
    """

    def __init__(self, model: nn.Module, path: Path, source: Source | None = None) -> None:
        self.model, self.path, self.geometry, self.source = model, path, path.geometry, source
        self.told_by(model)

    def mean(self, x: State, s: Tensor, t: Tensor, cond: Cond) -> State:
        """``u(x, s, t)``, tangent at ``x``: one network call."""
        return self.geometry.to_tangent(x, self.model(x, s, **{**cond, SPAN: t - s}))

    def jump(self, x: State, s: Tensor, t: Tensor, cond: Cond) -> State:
        """One network call."""
        mean = self.mean(x, s, t, cond)
        return self.geometry.exp(x, map_state(lambda v: v * expand(t - s, v), mean))

    def velocity(self, x: State, t: Tensor, cond: Cond) -> State:
        """The network at coinciding times."""
        return self.mean(x, t, t, cond)


class EulerMap(FlowMap):
    """The map of one Euler step of a velocity field: ``X(x, s, t) = exp_x((t - s) v(x, s))``.

    Args:
        field: of kind velocity.

    Raises:
        IncompatibleError: the field draws, so that no map belongs to it.
    """

    def __init__(self, field: Field) -> None:
        self.field = read_as(field, "velocity")
        if self.field.stochastic:
            raise IncompatibleError(
                f"{type(field).__name__} draws, and a flow map has one answer; take a solver of velocities"
            )
        self._like(self.field)
        self.kind = "flow-map"

    def jump(self, x: State, s: Tensor, t: Tensor, cond: Cond) -> State:
        """One evaluation at the start."""
        step = map_state(lambda v: v * expand(t - s, v), self.field(x, s, cond))
        return self.geometry.exp(x, step)

    def velocity(self, x: State, t: Tensor, cond: Cond) -> State:
        """The field itself."""
        return self.field(x, t, cond)

    def calls(self, t: float, cond: Cond) -> int:
        """As the field it reads."""
        return self.field.calls(t, cond)


class Instantaneous(Wrapped):
    """The velocity field of a flow map.

    Args:
        field: the flow map.
    """

    def __init__(self, field: FlowMap) -> None:
        super().__init__(field)
        self.map, self.kind = field, "velocity"

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """The velocity at coinciding times."""
        return self.map.velocity(x, t, cond)
