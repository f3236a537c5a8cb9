"""The path contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from flowloom.errors import IncompatibleError
from flowloom.geometry import Geometry
from flowloom.layout import Layout
from flowloom.schedules import Schedule
from flowloom.state import State, Time, part


@dataclass(frozen=True)
class Point:
    """A draw of the conditional path, with everything an objective may regress on.

    Args:
        x_t: state at time t.
        t: its time.
        velocity: ``d x_t / d t`` given both ends; None where the path jumps (discrete states).
        x0: state at t=0.
        x1: state at t=1.
    """

    x_t: State
    t: Time
    velocity: State | None
    x0: State
    x1: State

    def part(self, name: str) -> Point:
        """The point of one part of a product state."""
        return Point(*(part(value, name) for value in vars(self).values()))

    def held(self, layout: Layout) -> Point:
        """The same draw with given entries at x1 all along, and velocity 0 where nothing moves."""
        still = None if self.velocity is None else layout.still(self.velocity)
        end = layout.holding(self.x1)
        return Point(end.hold(self.x_t), self.t, still, end.hold(self.x0), self.x1)


class Path(ABC):
    """Joins x0 at t=0 with x1 at t=1.

    Attributes:
        geometry: the space it runs in.
        schedule: its alpha and sigma, where it has them.
        affine: True where ``x_t = alpha x1 + sigma x0`` holds, which the conversions between velocity,
            data and noise need.
        vertices: True where `posterior_velocity` exists: a posterior over the vertices of a simplex
            (rows of an event's last dimension) then is a velocity.
        pathwise: False where x_t is drawn anew at every t, and the velocity is that of the flow of its law
            and not the time derivative of a curve.
        arrives: False where x_t at t=1 is only near x1.
    """

    geometry: Geometry
    schedule: Schedule | None = None
    affine: bool = False
    vertices: bool = False
    pathwise: bool = True
    arrives: bool = True

    @abstractmethod
    def sample(self, x0: State, x1: State, t: Time, *, generator: torch.Generator | None = None) -> Point:
        """The point at time t.

        Args:
            x0: ``(batch, *event)``.
            x1: ``(batch, *event)``.
            t: ``(batch,)``, or with leading event dimensions (a time per token); for a product state a
                dict may give each part its own.
            generator: for paths that draw.
        """

    def posterior_velocity(self, p: State, x: State, t: Time) -> State:
        """The velocity ``E[u_t(x | x1)]`` when x1 is vertex k of a simplex with probability ``p[..., k]``.

        Args:
            p: probabilities ``(batch, *power, K)``.
            x: states in the same shape.
            t: times ``(batch,)``.

        Raises:
            IncompatibleError: x1 of this path are not vertices.
        """
        raise IncompatibleError(f"{type(self).__name__} does not end on the vertices of a simplex")
