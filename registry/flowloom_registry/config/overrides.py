"""``--set a.b=value``: one value of a recipe, changed from the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flowloom_registry.config.merge import merge, merge_sections
from flowloom_registry.config.nodes import Entry, ListNode, MapNode, Node, Position, ScalarNode, moved
from flowloom_registry.config.yaml import read
from flowloom_registry.errors import ConfigError, Problem

_PATH = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*")


def apply_override(tree: MapNode, override: str, defaults: Mapping[str, str | None]) -> MapNode:
    """The recipe with one override laid over it.

    Args:
        tree: the recipe.
        override: ``a.b=value``; the value is YAML, list items are counted from 0 (``metrics.0.k=5``).
        defaults: section -> component meant where it has no ``use``.

    Raises:
        ConfigError: the override has no ``=``, no readable path or value, or an index past the list's end.
    """
    at = Position(f"--set {override}")
    path, equals, text = override.partition("=")
    if not equals:
        raise ConfigError([at.problem("", "an override is written a.b=value, and this has no '='")])
    if not _PATH.fullmatch(path):
        raise ConfigError([at.problem("", f"{path!r} is no dotted path such as 'train.steps'")])
    value = _value(text, at)
    keys = path.split(".")
    above = MapNode({keys[0]: Entry(at, _nested(keys[1:], value, tree.get(keys[0]), at, keys[0]))}, at)
    return merge_sections(tree, above, dict(defaults))


def _value(text: str, at: Position) -> Node:
    if not text.strip():
        return ScalarNode(None, at)
    try:
        document = read(text, at.file)
    except ConfigError as error:
        raise ConfigError([_unplaced(problem) for problem in error.problems]) from None
    if document.problems:
        raise ConfigError([_unplaced(problem) for problem in document.problems])
    return moved(document.root, at)


def _nested(keys: list[str], value: Node, below: Node | None, at: Position, path: str) -> Node:
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(below, ListNode):
        if not key.isdigit() or int(key) >= len(below.items):
            count = len(below.items)
            accepted = f"an index from 0 to {count - 1}" if count else "no index, for it is empty"
            raise ConfigError([at.problem(path, f"a list of {count} takes {accepted}, got {key!r}")])
        index = int(key)
        item = below.items[index]
        inner = _nested(rest, value, item, at, f"{path}[{index}]")
        changed = merge(item, inner)
        return ListNode((*below.items[:index], changed, *below.items[index + 1 :]), at)
    inside = below.get(key) if isinstance(below, MapNode) else None
    return MapNode({key: Entry(at, _nested(rest, value, inside, at, f"{path}.{key}"))}, at)


def _unplaced(problem: Problem) -> Problem:
    return Problem(problem.file, None, None, problem.path, problem.message, problem.hint)
