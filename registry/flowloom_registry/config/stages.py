"""A staged recipe as the recipes of its stages: ``stages: [{name: autoencoder, …}, {name: base, …}]``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from flowloom_registry.config.merge import merge_sections
from flowloom_registry.config.nodes import ListNode, MapNode, Node, Position, ScalarNode, given
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.config.stage import PREVIOUS, STAGES, Stage
from flowloom_registry.errors import ConfigError, Problem
from flowloom_registry.nearest import did_you_mean, join_hints

NAME, REPEAT = "name", "repeat"
_NAME = re.compile(r"[a-zA-Z0-9][\w-]*")
_MOST = 1000
"""Stages that a recipe may have, repetitions counted."""


@dataclass(frozen=True)
class _Written:
    """A stage as it was written: its words, before it is repeated and laid over the recipe."""

    name: str
    repeat: int
    sections: MapNode
    at: Position

    def names(self) -> list[str]:
        """Of its folders, in order."""
        if self.repeat == 1:
            return [self.name]
        return [f"{self.name}-{i}" for i in range(1, self.repeat + 1)]


def staged(recipe: Recipe) -> bool:
    """Whether a recipe has stages."""
    node = recipe.tree.get(STAGES)
    return node is not None and not (isinstance(node, ScalarNode) and node.value is None)


def stages_of(recipe: Recipe) -> tuple[Recipe, ...]:
    """The recipes of its stages, in order; the recipe itself where it has none.

    Each stage is laid over the recipe (``null`` takes a section away) and knows the stages before it, which
    it may name as runs. Where ``repeat: n`` is said, the stage is there n times, as ``NAME-1`` to ``NAME-n``.

    Raises:
        ConfigError: a stage has no name, one that is taken or is no word, or a section that there is not.
    """
    if not staged(recipe):
        return (recipe,)
    problems: list[Problem] = list(recipe.problems)
    written = list(_written(recipe, problems))
    if problems:
        raise ConfigError(problems)
    below = MapNode({k: v for k, v in recipe.tree.entries.items() if k != STAGES}, recipe.tree.at)
    defaults = {section.name: section.default for section in recipe.catalog.sections.values()}
    names = [name for one in written for name in one.names()]
    found: list[Recipe] = []
    earlier: dict[str, str] = {}
    for i, one in enumerate(written):
        for name in one.names():
            known = dict(earlier)
            if found:
                known[PREVIOUS] = names[len(found) - 1]
            later = dict.fromkeys((*names[len(found) :], *(other.name for other in written[i:])))
            stage = Stage(name, len(found) + 1, len(names), known, tuple(later))
            tree = merge_sections(below, one.sections, defaults)
            found.append(replace(recipe, name=f"{recipe.name}-{name}", tree=tree, stage=stage, problems=()))
            earlier |= {name: name, one.name: name}
    return tuple(found)


def _written(recipe: Recipe, problems: list[Problem]) -> Iterator[_Written]:
    node = recipe.tree.get(STAGES)
    if not isinstance(node, ListNode) or not node.items:
        assert node is not None
        got = "an empty list" if isinstance(node, ListNode) else given(node)
        message = f"expected a list of stages, each a mapping with a name, got {got}"
        problems.append(node.at.problem(STAGES, message))
        return
    taken: dict[str, Position] = {}
    count = 0
    for i, item in enumerate(node.items):
        one = _stage(recipe, item, f"{STAGES}[{i}]", problems)
        if one is None:
            continue
        count += one.repeat
        for name in dict.fromkeys((one.name, *one.names())):
            if name in taken:
                first = f"first at {taken[name]}"
                problems.append(one.at.problem(f"{STAGES}[{i}]", f"two stages are called {name!r}", first))
            taken.setdefault(name, one.at)
        yield one
    if count > _MOST:
        problems.append(node.at.problem(STAGES, f"{count} stages with their repetitions; at most {_MOST}"))


def _stage(recipe: Recipe, node: Node, path: str, problems: list[Problem]) -> _Written | None:
    def note(at: Position, where: str, message: str, hint: str = "") -> None:
        problems.append(at.problem(where, message, hint))

    if not isinstance(node, MapNode):
        note(node.at, path, f"expected a mapping with a name, got {given(node)}")
        return None
    before = len(problems)
    sections = {name for name, its in recipe.catalog.sections.items() if its.form != "meta"}
    for key, entry in node.entries.items():
        if key not in sections and key not in (NAME, REPEAT):
            hint = join_hints(
                did_you_mean(str(key), sections), f"'{STAGES}' cannot be nested" * (key == STAGES)
            )
            note(entry.key_at, f"{path}.{key}", f"a stage has no section {key!r}", hint)
    name, repeat = node.get(NAME), node.get(REPEAT)
    word = name.value if isinstance(name, ScalarNode) else None
    if name is None:
        note(node.at, path, "a stage needs a name", "write 'name: base', say; its folder is called so")
    elif not (isinstance(word, str) and _NAME.fullmatch(word)) or word == PREVIOUS:
        taken = f", and not {PREVIOUS!r}, which is the stage before" if word == PREVIOUS else ""
        note(
            name.at, f"{path}.{NAME}", f"a stage is named by a word such as 'base'{taken}; got {given(name)}"
        )
    times = 1
    if repeat is not None:
        value = repeat.value if isinstance(repeat, ScalarNode) else None
        if type(value) is int and value >= 1:
            times = value
        else:
            note(repeat.at, f"{path}.{REPEAT}", f"repeat counts from 1, got {given(repeat)}")
    if len(problems) > before:
        return None
    kept = {key: entry for key, entry in node.entries.items() if key not in (NAME, REPEAT)}
    return _Written(str(word), times, MapNode(kept, node.at), node.at)
