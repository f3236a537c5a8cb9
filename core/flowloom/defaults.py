"""What a flow is made of where nothing is said: one choice by the geometry, for Python and for recipes alike.

A geometry class names its choices in ``Geometry.defaults`` by the words that recipes use; a product is chosen
for part by part. `words` and `geometry_words` give the choice as plain data, which a recipe could hold; the
other functions make the objects, for those who write Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from flowloom.errors import IncompatibleError

if TYPE_CHECKING:
    from flowloom.geometry import Geometry
    from flowloom.objectives import Objective
    from flowloom.paths import Path
    from flowloom.solvers import Solver
    from flowloom.sources import Source
    from flowloom.spec import Spec

__all__ = [
    "SECTIONS",
    "Words",
    "geometry",
    "geometry_words",
    "objective",
    "path",
    "solver",
    "source",
    "words",
]

SECTIONS: tuple[str, ...] = ("source", "path", "objective", "solver")
"""What the geometry decides."""

Words: TypeAlias = "str | dict[str, Any]"
"""A component as a recipe names it: its name, or ``{"use": NAME, "parts": {...}}``."""


def geometry_words(spec: Spec | None) -> Words:
    """The geometry that ``spec`` describes: tokens are discrete, a dict is a product, numbers are flat."""
    if spec is None:
        return "euclidean"
    if spec.parts:
        return {"use": "product", "parts": {name: geometry_words(part) for name, part in spec.parts.items()}}
    return "euclidean" if spec.vocab is None else "discrete"


def words(section: str, geometry: Geometry) -> Words:
    """What stands in a section of a recipe that leaves it out.

    Args:
        section: one of `SECTIONS`; or ``step``, a solver that calls the network once a step.
        geometry: of the states. A product is answered part by part; but all its parts share one objective and
            one solver where every part is continuous and would have the same.
    """
    from flowloom.geometry import Geometry, Product

    word = geometry.defaults.get(section, Geometry.defaults[section])
    if not isinstance(geometry, Product) or word != Product.defaults[section]:
        return word
    parts = {name: words(section, inner) for name, inner in geometry.parts.items()}
    first = next(iter(parts.values()))
    if section in ("objective", "solver", "step"):
        if geometry.continuous and all(one == first for one in parts.values()):
            return first
        if section == "solver":
            parts = {name: words("step", inner) for name, inner in geometry.parts.items()}
    return {"use": word, "parts": parts}


def geometry(spec: Spec | None) -> Geometry:
    """The geometry of states that ``spec`` describes; see `geometry_words`."""
    from flowloom.geometry import Discrete, Euclidean, Product

    if spec is not None and spec.parts:
        return Product({name: geometry(part) for name, part in spec.parts.items()})
    return Euclidean() if spec is None or spec.vocab is None else Discrete(spec.vocab)


def source(geometry: Geometry) -> Source:
    """The law of x0 on a geometry.

    Raises:
        IncompatibleError: the geometry names one that core does not have.
    """
    from flowloom.sources import Gaussian, Mask, Product, Uniform

    def make(chosen: Words, space: Any) -> Source:
        if not isinstance(chosen, str):
            return Product({n: make(w, space.parts[n]) for n, w in chosen["parts"].items()})
        if chosen == "gaussian":
            return Gaussian()
        if chosen == "uniform":
            return Uniform(space)
        if chosen == "mask":
            return Mask(space)
        raise _unknown("source", chosen, space)

    return make(words("source", geometry), geometry)


def path(geometry: Geometry, source: Source | None = None) -> Path:
    """The way from x0 to x1 on a geometry.

    Args:
        geometry: of the states.
        source: law of x0, which paths of tokens look at.

    Raises:
        IncompatibleError: the geometry names one that core does not have.
    """
    from flowloom.paths import AffinePath, GeodesicPath, MixturePath, ProductPath
    from flowloom.sources import Product

    def make(chosen: Words, space: Any, law: Source | None) -> Path:
        if not isinstance(chosen, str):
            laws: Mapping[str, Source] = law.parts if isinstance(law, Product) else {}
            return ProductPath(
                {n: make(w, space.parts[n], laws.get(n, law)) for n, w in chosen["parts"].items()}
            )
        if chosen == "affine":
            return AffinePath(geometry=space)
        if chosen == "geodesic":
            return GeodesicPath(space)
        if chosen == "mixture":
            return MixturePath(space, source=law)
        raise _unknown("path", chosen, space)

    return make(words("path", geometry), geometry, source)


def objective(path: Path) -> Objective:
    """The loss on a path.

    Raises:
        IncompatibleError: the path's geometry names one that core does not have.
    """
    from flowloom.objectives import FlowMatching, PosteriorMatching, ProductObjective

    def make(chosen: Words, way: Any) -> Any:
        if not isinstance(chosen, str):
            return ProductObjective({n: make(w, way.parts[n]) for n, w in chosen["parts"].items()})
        if chosen == "flow-matching":
            return FlowMatching(way)
        if chosen == "posterior":
            return PosteriorMatching(way)
        raise _unknown("objective", chosen, way.geometry)

    made: Objective = make(words("objective", path.geometry), path)
    return made


def solver(geometry: Geometry) -> Solver:
    """What integrates the field on a geometry.

    Raises:
        IncompatibleError: the geometry names one that core does not have.
    """
    from flowloom.solvers import CTMCEuler, Euler, Midpoint, Mixed

    def make(chosen: Words) -> Any:
        if not isinstance(chosen, str):
            return Mixed({n: make(w) for n, w in chosen["parts"].items()})
        if chosen == "midpoint":
            return Midpoint()
        if chosen == "euler":
            return Euler()
        if chosen == "ctmc-euler":
            return CTMCEuler()
        raise _unknown("solver", chosen, geometry)

    made: Solver = make(words("solver", geometry))
    return made


def _unknown(section: str, word: str, geometry: object) -> IncompatibleError:
    return IncompatibleError(
        f"{geometry} asks for {section}: {word}, which recipes find and core does not have; give {section}="
    )
