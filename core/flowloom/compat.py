"""Whether the parts of a recipe can work together, asked once, when it is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flowloom.fields import Kind, can_convert
from flowloom.fields.base import uniform_kind
from flowloom.geometry import Discrete, Euclidean, Geometry, Product
from flowloom.paths import MixturePath, Path, ProductPath
from flowloom.solvers import EulerMaruyama
from flowloom.sources import Gaussian, Mask
from flowloom.sources import Product as ProductSource
from flowloom.spec import Spec

__all__ = ["Clash", "problems"]


@dataclass(frozen=True)
class Clash:
    """Two sections that do not fit.

    Args:
        first: section to blame first, by its recipe name.
        second: the other one.
        message: why, and what would fit.
    """

    first: str
    second: str
    message: str


def problems(parts: Mapping[str, Any]) -> list[Clash]:
    """All clashes among built parts.

    Args:
        parts: components by section name (``geometry``, ``source``, ``path``, ``objective``, ``guidance``,
            ``solver``, ``model``), and ``spec``; absent ones are not judged.
    """
    found = [
        *_space(parts.get("spec"), parts.get("geometry"), "geometry"),
        *_source(parts.get("source"), parts.get("geometry")),
        *_path(parts.get("path"), parts.get("geometry")),
        *_solver(parts),
    ]
    objective, model = parts.get("objective"), parts.get("model")
    dropout = getattr(objective, "condition_dropout", 0.0)
    spec = parts.get("spec")
    if dropout and isinstance(spec, Spec) and not spec.conditions:
        found.append(
            Clash("objective", "data", "condition_dropout is set, but the data has no conditions to withhold")
        )
    if dropout and model is not None and not getattr(model, "conditional", False):
        found.append(
            Clash(
                "objective",
                "model",
                f"condition_dropout needs a model that can be withheld conditions, and {_name(model)} does "
                "not say so (conditional = True)",
            )
        )
    scale = getattr(parts.get("guidance"), "scale", 1.0)
    if scale != 1 and objective is not None and not dropout:
        found.append(
            Clash(
                "guidance",
                "objective",
                "classifier-free guidance needs a model trained with conditions withheld; "
                "set objective.condition_dropout (0.1 to 0.2)",
            )
        )
    return found


def _space(spec: Any, geometry: Any, where: str) -> Iterator[Clash]:
    if not isinstance(spec, Spec) or not isinstance(geometry, Geometry):
        return
    if isinstance(geometry, Product):
        if geometry.parts.keys() != spec.parts.keys():
            has = ", ".join(sorted(spec.parts)) or "one tensor"
            yield Clash(where, "data", f"the product has the parts {sorted(geometry.parts)}, the data {has}")
            return
        for name, inner in geometry.parts.items():
            yield from _space(spec.parts[name], inner, where)
    elif spec.parts and not isinstance(geometry, Euclidean):
        yield Clash(
            where, "data", f"the data has the parts {sorted(spec.parts)}; use geometry: product with one each"
        )
    elif spec.discrete and geometry.continuous and not spec.parts:
        yield Clash(
            where,
            "data",
            f"the data is tokens (vocabulary {spec.vocab}), and {geometry} is continuous; "
            "use geometry: discrete, or a codec that embeds tokens",
        )
    elif not spec.discrete and not geometry.continuous:
        yield Clash(where, "data", f"the data is real-valued, and {geometry} holds tokens")
    elif isinstance(geometry, Discrete) and spec.vocab is not None and geometry.vocab != spec.vocab:
        yield Clash(
            where, "data", f"{geometry} has another vocabulary than the data ({spec.vocab}); leave it out"
        )
    elif not geometry.has_points_in(spec.shape):
        yield Clash(
            where,
            "data",
            f"points of {geometry} have the shape {geometry.point_shape}, the data has rows of {spec.shape}",
        )


def _source(source: Any, geometry: Any) -> Iterator[Clash]:
    if isinstance(source, ProductSource) and isinstance(geometry, Product):
        for name, inner in source.parts.items():
            if name in geometry.parts:
                yield from _source(inner, geometry.parts[name])
    elif isinstance(source, Gaussian) and isinstance(geometry, Geometry) and not _holds_gaussian(geometry):
        fits = "mask or uniform" if not geometry.continuous else "uniform"
        yield Clash("source", "geometry", f"gaussian noise does not lie on {geometry}; use source: {fits}")
    elif isinstance(source, Mask) and isinstance(geometry, Geometry) and geometry.continuous:
        yield Clash("source", "geometry", f"a mask is a token, and {geometry} is continuous")


def _path(path: Any, geometry: Any) -> Iterator[Clash]:
    if not isinstance(path, Path) or not isinstance(geometry, Geometry):
        return
    if isinstance(path, ProductPath):
        if not isinstance(geometry, Product) or geometry.parts.keys() != path.parts.keys():
            yield Clash("path", "geometry", f"path: product has the parts {sorted(path.parts)}; {geometry}")
            return
        for name, inner in path.parts.items():
            yield from _path(inner, geometry.parts[name])
    elif path.affine and not geometry.straight:
        fits = "mixture" if not geometry.continuous else "geodesic"
        yield Clash("path", "geometry", f"an affine path leaves {geometry}; use path: {fits}")
    elif not geometry.continuous and not isinstance(path, MixturePath) and path.geometry.continuous:
        yield Clash("path", "geometry", f"{_name(path)} moves through real values; use path: mixture")


def _solver(parts: Mapping[str, Any]) -> Iterator[Clash]:
    objective, solver, source = parts.get("objective"), parts.get("solver"), parts.get("source")
    if objective is None or solver is None:
        return
    kind, wanted = objective.kind, solver.wanted()
    path: Any = getattr(objective, "path", None)
    affine, gaussian = bool(path is not None and path.affine), bool(getattr(source, "gaussian", True))
    vertices = bool(getattr(path, "vertices", False))
    if not can_convert(kind, wanted, affine=affine, gaussian=gaussian, vertices=vertices):
        yield Clash(
            "solver",
            "objective",
            f"{_name(solver)} integrates a {_kind(wanted)} field, and {_name(objective)} trains a "
            f"{_kind(kind)} one; use {_fitting(kind, path)}",
        )
    elif isinstance(solver, EulerMaruyama) and not (affine and gaussian):
        yield Clash(
            "solver",
            "path" if not affine else "source",
            "euler-maruyama needs a score, so an affine path from a gaussian source; "
            "use euler, midpoint, heun, rk4 or dopri5",
        )


def _fitting(kind: Kind, path: Any = None) -> str:
    single = uniform_kind(kind)
    if single == "posterior" and getattr(path, "vertices", False):
        return "solver: simplex-euler, or any ODE solver"
    if single is None:
        return "solver: mixed, with one solver per part"
    return {
        "posterior": "solver: ctmc-euler",
        "flow-map": "solver: flow-map",
    }.get(single, "solver: euler, midpoint, heun, rk4 or dopri5")


def _holds_gaussian(geometry: Geometry) -> bool:
    return geometry.straight and not geometry.convex


def _kind(kind: Kind) -> str:
    if isinstance(kind, str):
        return kind
    return "{" + ", ".join(f"{k}: {_kind(v)}" for k, v in kind.items()) + "}"


def _name(thing: object) -> str:
    return type(thing).__name__
