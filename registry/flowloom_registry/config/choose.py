"""What stands in sections that a recipe leaves out: the choice of `flowloom.defaults` as recipe text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowloom.defaults import geometry_words, words
from flowloom_registry.config.bind import USE
from flowloom_registry.config.nodes import Node, Position, from_plain
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.plugins.catalog import Catalog

_CORE = "core"


def choose(recipe: Recipe, section: str, by: Any) -> Node:
    """The component of a section that the recipe leaves to be chosen.

    Args:
        recipe: whose section it is.
        section: its name.
        by: spec of the states, for the geometry; the geometry, for everything else.
    """
    its = recipe.catalog.sections[section]
    said = geometry_words(by) if its.chosen == "spec" else words(section, by)
    return from_plain(_core(said, str(its.kind), recipe.catalog), Position(recipe.file))


def _core(said: Any, kind: str, catalog: Catalog) -> Any:
    """The same words, naming core's rows in full: a plugin may use one of them for a row of its own."""
    if isinstance(said, Mapping):
        inner = {name: _core(part, kind, catalog) for name, part in said["parts"].items()}
        return {USE: _core(said[USE], kind, catalog), "parts": inner}
    known = any(row.name == said and row.plugin.name == _CORE for row in catalog.of_kind(kind))
    return f"{_CORE}:{said}" if known else said
