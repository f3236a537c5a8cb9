"""An own path for every part of a product state."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from flowloom.errors import ShapeError
from flowloom.geometry import Product
from flowloom.paths.base import Path, Point
from flowloom.state import State, Time, part


class ProductPath(Path):
    """Runs every part along its own path: positions straight, torsions on a torus, types by jumps.

    Args:
        parts: paths by name of the part.
    """

    def __init__(self, parts: Mapping[str, Path]) -> None:
        self.parts = dict(parts)
        self.geometry = Product({name: path.geometry for name, path in self.parts.items()})
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
