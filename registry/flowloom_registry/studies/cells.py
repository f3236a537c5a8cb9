"""A cell of a study: one recipe under one seed, and the folder of its run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flowloom_registry.config.nodes import MapNode, Node, Position, ScalarNode, plain
from flowloom_registry.config.recipe import Recipe, stack
from flowloom_registry.errors import Problem
from flowloom_registry.plugins.catalog import Catalog

ARM = "arm"
"""Name of the axis of the arms."""

FOR_PEOPLE = ("name", "summary", "paper", "claim")
"""Sections that say nothing of what a cell is."""


@dataclass(frozen=True)
class Cell:
    """One recipe under one seed.

    Args:
        name: of its folder, and how it is called in files.
        labels: axis -> what stands there, in order, the seed not among them.
        seed: of everything random.
        layers: sections laid one over the other, from the bottom to the top.
        catalog: where names are looked up.
        at: where it was written, for messages.
        overrides: ``a.b=value`` texts over it.
        trains: name of the cell whose weights it is asked with, empty where it is trained itself.
        by: the metric to look at first, empty for the first of its table.
        lacking: plugins that it needs and that are not installed.
        read: files that were read before; cells share it.
    """

    name: str
    labels: Mapping[str, str]
    seed: int
    layers: Sequence[MapNode]
    catalog: Catalog
    at: Position
    overrides: Sequence[str] = ()
    trains: str = ""
    by: str = ""
    lacking: Sequence[str] = ()
    read: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def recipe(self) -> Recipe:
        """Its recipe.

        Raises:
            ConfigError: a recipe that a layer names cannot be read.
        """
        # The seed comes first: an override of it wins, as on any other command.
        seed = f"seed={self.seed}"
        return stack(
            self.layers,
            name=self.name,
            file=self.at.file,
            catalog=self.catalog,
            overrides=(seed, *self.overrides),
            done=self.read,
        )

    @cached_property
    def asked(self) -> dict[str, Any]:
        """What it is, as plain data: two cells of equal words are the same."""
        words = {k: v for k, v in plain(self.recipe.tree).items() if k not in FOR_PEOPLE}
        return {"recipe": words, "trains": self.trains}

    @property
    def title(self) -> str:
        """How it is called to people: ``meanflow · digits · seed 0``."""
        return " · ".join([*self.labels.values(), f"seed {self.seed}"])


def word_of(node: Node) -> str:
    """A value in few words, for labels: a component by its name and what is said of it."""
    if isinstance(node, ScalarNode):
        return _scalar(node)
    if isinstance(node, MapNode):
        use = node.get("use")
        others = [f"{key} {word_of(one.node)}" for key, one in node.entries.items() if key != "use"]
        return " ".join([*([word_of(use)] if use is not None else []), *others])
    return " ".join(map(word_of, node.items))


def _scalar(node: ScalarNode) -> str:
    value = node.value
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    short = f"{value:g}" if isinstance(value, float) else str(value)
    # Six digits, unless the value has more of them.
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def folder_name(words: Iterable[str]) -> str:
    """Words as the name of a folder on any system."""
    parts = (re.sub(r"[^\w.+-]+", "-", word).strip("-.").lower() for word in words)
    return "_".join(part for part in parts if part) or "cell"


def overwriting(cells: Iterable[Cell]) -> list[Problem]:
    """Cells that would write into the folder of another, which is told where they stand."""
    known: dict[str, Cell] = {}
    found = []
    for cell in cells:
        first = known.setdefault(cell.name, cell)
        if first is not cell:
            message = f"'{cell.title}' and '{first.title}' would overwrite each other in folder '{cell.name}'"
            found.append(cell.at.problem("", message, "give one of them another name"))
    return list(dict.fromkeys(found))
