"""The path contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.geometry import Geometry
from flowloom.layout import Layout
from flowloom.paths.conversions import Kind, kind_name
from flowloom.schedules import Schedule
from flowloom.sources import Source
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
    """Joins x0 at the start of its span with x1 at the end.

    Attributes:
        geometry: the space it runs in.
        span: its times at the source and at the data; (0, 1) unless the path is written in another time
            (noise levels from 80 down to 0.002, say). Solvers walk it unless told otherwise.
        schedule: its alpha and sigma, where it has them.
        affine: True where ``x_t = alpha x1 + sigma x0`` holds.
        absorbing: True where tokens that show anything but the mask have arrived and stay.
        parts: paths by name of the part, for a path of product states.
        pathwise: False where x_t is drawn anew at every t, and the velocity is that of the flow of its law
            and not the time derivative of a curve.
        arrives: False where x_t at the ends of the span is only near x0 and x1.
    """

    geometry: Geometry
    span: tuple[float, float] = (0.0, 1.0)
    schedule: Schedule | None = None
    affine: bool = False
    absorbing: bool = False
    parts: Mapping[str, Path] = MappingProxyType({})
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

    def converts(self, given: Kind, wanted: Kind, source: Source | None = None) -> bool:
        """Whether `convert` can make ``wanted`` of ``given``.

        Args:
            given: kind of a prediction at a point of this path.
            wanted: kind asked for.
            source: the law of x0, which a score needs; None where it is not known.
        """
        return given == wanted

    def convert(
        self, value: State, x: State, t: Time, given: Kind, wanted: Kind, source: Source | None = None
    ) -> State:
        """Turn one prediction into another at the same state and time.

        Args:
            value: the prediction: in the shape of ``x``, or logits for a posterior.
            x: states ``x_t``, ``(batch, *event)``.
            t: times ``(batch,)``, or with leading event dimensions.
            given: kind of ``value``.
            wanted: kind to return.
            source: the law of x0, which a score needs.

        Raises:
            IncompatibleError: this path knows no such conversion (see `converts`).
        """
        if given == wanted:
            return value
        if not self.converts(given, wanted, source):
            raise IncompatibleError(self.gap(given, wanted))
        return self.converted(value, x, t, given, wanted, source)

    def converted(
        self, value: State, x: State, t: Time, given: Kind, wanted: Kind, source: Source | None
    ) -> State:
        """The conversions that `converts` promises; ``given`` differs from ``wanted``."""
        raise NotImplementedError(f"{type(self).__name__} promises a conversion and does not make it")

    def gap(self, given: Kind, wanted: Kind) -> str:
        """Why there is no conversion, in one line."""
        said = f"a {kind_name(given)} field cannot serve as {kind_name(wanted)} on {type(self).__name__}"
        if "score" in (given, wanted):
            return f"{said}; scores exist on affine paths from source: gaussian"
        return said

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """What of ``parts`` this path cannot work with; see `flowloom.clashes`."""
        geometry = parts.get("geometry")
        if isinstance(geometry, Geometry) and not geometry.continuous and self.geometry.continuous:
            yield Clash(
                "path", "geometry", f"{type(self).__name__} moves through real values; use path: mixture"
            )
        elif isinstance(geometry, Geometry) and not geometry.like(self.geometry):
            yield Clash(
                "path",
                "geometry",
                f"{type(self).__name__} moves on {self.geometry}, and the states live on {geometry}; leave "
                "the path's own geometry out, or say the same one",
            )


def another_way(own: Path, path: Path) -> str:
    """What of its own a network was trained on where that is not ``path``, in words; empty where it is.

    Args:
        own: of the network.
        path: that it is asked on, where a time means something else if the kind or the schedule differs.
    """
    kinds = type(own).__name__, type(path).__name__
    if kinds[0] != kinds[1]:
        return f"{kinds[0]}, and this flow walks {kinds[1]}"
    if own.schedule is not None and path.schedule is not None and own.schedule != path.schedule:
        return f"{own.schedule}, and this flow walks {path.schedule}"
    return ""
