"""Products of named geometries, on states that are dicts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.errors import ShapeError
from flowloom.geometry.base import Geometry
from flowloom.geometry.numerics import safe_sqrt
from flowloom.spec import Spec
from flowloom.state import Shape, first_leaf, part


class Product(Geometry):
    """The product of named spaces with the sum of their metrics.

    Args:
        parts: geometry of every part; parts may be products, or discrete.

    >>> from flowloom.geometry import Euclidean, Sphere
    >>> space = Product({"where": Euclidean(), "heading": Sphere(2)})
    >>> sorted(space.random({"where": (5, 3), "heading": (5, 3)}))
    ['heading', 'where']
    """

    # Part by part.
    defaults: ClassVar[Mapping[str, str]] = {
        "source": "product",
        "path": "product",
        "objective": "product",
        "solver": "mixed",
        "step": "mixed",
    }

    def __init__(self, parts: Mapping[str, Geometry]) -> None:
        if not parts:
            raise ValueError("a product needs at least one part")
        self.parts = dict(parts)
        self.flat = all(g.flat for g in self.parts.values())
        self.straight = all(g.straight for g in self.parts.values())
        self.continuous = all(g.continuous for g in self.parts.values())

    def _check(self, x: Any) -> None:
        if not isinstance(x, dict) or x.keys() != self.parts.keys():
            given = sorted(x) if isinstance(x, dict) else "one tensor"
            raise ShapeError(f"this product has the parts {sorted(self.parts)}, the state has {given}")

    def _map(self, method: str, x: Any, *others: Any) -> dict[str, Any]:
        self._check(x)
        return {
            name: getattr(g, method)(x[name], *(part(o, name) for o in others))
            for name, g in self.parts.items()
        }

    def project(self, x: Any) -> Any:
        """Part by part."""
        return self._map("project", x)

    def wrap(self, x: Any) -> Any:
        """Part by part."""
        return self._map("wrap", x)

    def to_tangent(self, x: Any, v: Any) -> Any:
        """Part by part."""
        return self._map("to_tangent", x, v)

    def exp(self, x: Any, v: Any) -> Any:
        """Part by part."""
        return self._map("exp", x, v)

    def log(self, x: Any, y: Any) -> Any:
        """Part by part."""
        return self._map("log", x, y)

    def geodesic(self, x0: Any, x1: Any, t: Any) -> tuple[Any, Any]:
        """Part by part; ``t`` may be a dict with a time for every part."""
        pairs = self._map("geodesic", x0, x1, t)
        return {k: p[0] for k, p in pairs.items()}, {k: p[1] for k, p in pairs.items()}

    def inner_point(self, x: Any, u: Any, v: Any) -> Tensor:
        """Sum over parts and their powers: ``(batch,)``."""
        return self._sum(self._map("inner", x, u, v))

    def distance_point(self, x: Any, y: Any) -> Tensor:
        """Root of the summed squared distances: ``(batch,)``."""
        return safe_sqrt(self._sum({k: d.square() for k, d in self._map("distance", x, y).items()}))

    def inner(self, x: Any, u: Any, v: Any) -> Tensor:
        """Sum of the parts' inner products: ``(batch,)``."""
        return self.inner_point(x, u, v)

    def points(self, shape: Shape) -> int:
        """A product is one point."""
        return 1

    def degrees_of_freedom(self, shape: Shape) -> int:
        """Sum over parts."""
        return sum(g.degrees_of_freedom(self._shape(shape)[k]) for k, g in self.parts.items())

    def log_uniform(self, shape: Shape) -> float:
        """Sum over parts."""
        return math.fsum(g.log_uniform(self._shape(shape)[k]) for k, g in self.parts.items())

    def log_sqrt_det(self, x: Any) -> Tensor:
        """Sum over continuous parts."""
        self._check(x)
        return self._sum({k: g.log_sqrt_det(x[k]) for k, g in self.parts.items() if g.continuous})

    def violation(self, x: Any) -> Tensor:
        """The worst of the parts."""
        rows = list(self._map("violation", x).values())
        return torch.stack([r.to(torch.get_default_dtype()) for r in rows]).amax(0)

    def require(self, x: Any, atol: float | None = None, name: str = "x") -> None:
        """Check every part; messages name it."""
        self._check(x)
        for key, geometry in self.parts.items():
            geometry.require(x[key], atol, f"{name}.{key}")

    def require_precision(self, x: Any, name: str = "x") -> None:
        """Check every part; messages name it."""
        self._check(x)
        for key, geometry in self.parts.items():
            geometry.require_precision(x[key], f"{name}.{key}")

    def admit(self, x: Any, name: str = "x") -> None:
        """Check every part; messages name it."""
        self._check(x)
        for key, geometry in self.parts.items():
            geometry.admit(x[key], f"{name}.{key}")

    def random(self, shape: Any, draw: Draw = GLOBAL) -> Any:
        """Independent draws of the parts; ``shape`` is a dict of full shapes."""
        shapes = self._shape(shape)
        return {name: g.random(shapes[name], draw) for name, g in self.parts.items()}

    def part(self, name: str) -> Geometry:
        """The space of one part."""
        return self.parts[name]

    def misfit(self, spec: Spec) -> str:
        """Other parts than the data has, or what a part says of its own."""
        if self.parts.keys() != spec.parts.keys():
            has = ", ".join(sorted(spec.parts)) or "one tensor"
            return f"the product has the parts {sorted(self.parts)}, the data {has}"
        return next((m for name, g in self.parts.items() if (m := g.misfit(spec.parts[name]))), "")

    def _shape(self, shape: Shape) -> dict[str, Any]:
        if not isinstance(shape, dict) or shape.keys() != self.parts.keys():
            given = sorted(shape) if isinstance(shape, dict) else shape
            raise ShapeError(f"this product has the parts {sorted(self.parts)}, the shape is {given}")
        return shape

    @staticmethod
    def _sum(values: Mapping[str, Tensor]) -> Tensor:
        rows = list(values.values())
        return torch.stack(rows).sum(0) if len(rows) > 1 else first_leaf(rows[0])

    def __repr__(self) -> str:
        inside = ", ".join(f"{k}: {g}" for k, g in self.parts.items())
        return f"Product({inside})"
