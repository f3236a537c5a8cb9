"""An own path for every part of a product state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from flowloom.clashes import Clash, Parts, within
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.geometry import Geometry, Product
from flowloom.paths.base import Path, Point
from flowloom.paths.conversions import Kind
from flowloom.sources import Source, part_of
from flowloom.state import State, Time, part


class ProductPath(Path):
    """Runs every part along its own path: positions straight, torsions on a torus, types by jumps.

    Args:
        parts: paths by name of the part.
    """

    parts: dict[str, Path]

    def __init__(self, parts: Mapping[str, Path]) -> None:
        spans = {path.span for path in parts.values()}
        if len(spans) > 1:
            raise IncompatibleError(f"parts of one path share their time, and these span {sorted(spans)}")
        self.parts = dict(parts)
        self.span = spans.pop() if spans else (0.0, 1.0)
        self.geometry = Product({name: path.geometry for name, path in self.parts.items()})
        self.arrives = all(path.arrives for path in self.parts.values())
        self.pathwise = all(path.pathwise for path in self.parts.values())
        schedules = {path.schedule for path in self.parts.values()}
        self.affine = all(path.affine for path in self.parts.values()) and len(schedules) == 1
        self.schedule = schedules.pop() if len(schedules) == 1 else None

    def sample(self, x0: State, x1: State, t: Time, *, generator: torch.Generator | None = None) -> Point:
        """The points of all parts; parts that jump have the velocity None."""
        if not isinstance(x0, dict) or not isinstance(x1, dict) or x1.keys() != self.parts.keys():
            given = sorted(x1) if isinstance(x1, dict) else "one tensor"
            raise ShapeError(f"this path has the parts {sorted(self.parts)}, the state has {given}")
        points = {
            name: path.sample(x0[name], x1[name], part(t, name), generator=generator)
            for name, path in self.parts.items()
        }
        velocity = {name: p.velocity for name, p in points.items()}
        return Point({name: p.x_t for name, p in points.items()}, t, velocity, x0, x1)  # type: ignore[arg-type]

    def converts(self, given: Kind, wanted: Kind, source: Source | None = None) -> bool:
        """Whether every part can."""
        return all(
            path.converts(part(given, name), part(wanted, name), part_of(source, name))
            for name, path in self.parts.items()
        )

    def converted(
        self, value: State, x: State, t: Time, given: Kind, wanted: Kind, source: Source | None
    ) -> State:
        """Part by part."""
        return {
            name: path.convert(
                part(value, name),
                part(x, name),
                part(t, name),
                part(given, name),
                part(wanted, name),
                part_of(source, name),
            )
            for name, path in self.parts.items()
        }

    def gap(self, given: Kind, wanted: Kind) -> str:
        """Why there is no conversion, and what integrates a field of several kinds."""
        said = super().gap(given, wanted)
        several = isinstance(given, Mapping) and isinstance(wanted, str)
        return f"{said}; use solver: mixed, with a solver for every part" if several else said

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A space of other parts, and what every part's own path says."""
        geometry = parts.get("geometry")
        if not isinstance(geometry, Geometry):
            return
        if not isinstance(geometry, Product) or geometry.parts.keys() != self.parts.keys():
            yield Clash("path", "geometry", f"path: product has the parts {sorted(self.parts)}; {geometry}")
            return
        for name, path in self.parts.items():
            yield from path.clashes(within(parts, name))
