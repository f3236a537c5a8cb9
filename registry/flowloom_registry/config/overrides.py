"""``--set a.b=value``: one value of a recipe, changed from the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flowloom.digits import are_digits
from flowloom_registry.config.merge import merge, merge_sections
from flowloom_registry.config.nodes import Entry, ListNode, MapNode, Node, Position, ScalarNode, moved
from flowloom_registry.config.stage import STAGES
from flowloom_registry.config.yaml import read
from flowloom_registry.errors import ConfigError, Problem
from flowloom_registry.nearest import did_you_mean

_PATH = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*")


def apply_override(tree: MapNode, override: str, defaults: Mapping[str, str | None]) -> MapNode:
    """The recipe with one override laid over it.

    Args:
        tree: the recipe.
        override: ``a.b=value``; the value is YAML, list items are counted from 0 (``metrics.0.k=5``), and
            stages go by their names (``stages.base.train.steps=10``).
        defaults: section -> component meant where it has no ``use``.

    Raises:
        ConfigError: the override has no ``=``, no readable path or value, an index past the list's end, or a
            stage that there is not; or every stage says itself what it would change.
    """
    at = Position(f"--set {override}")
    path, equals, text = override.partition("=")
    if not equals:
        raise ConfigError([at.problem("", "an override is written a.b=value, and this has no '='")])
    if not _PATH.fullmatch(path):
        raise ConfigError([at.problem("", f"{path!r} is no dotted path such as 'train.steps'")])
    value = _value(text, at)
    keys = path.split(".")
    if keys[0] == STAGES and len(keys) > 1:
        return _in_stage(tree, keys[1:], value, at, defaults)
    _require_heard(tree, keys, at)
    above = MapNode({keys[0]: Entry(at, _nested(keys[1:], value, tree.get(keys[0]), at, keys[0]))}, at)
    return merge_sections(tree, above, dict(defaults))


def _in_stage(
    tree: MapNode, keys: list[str], value: Node, at: Position, defaults: Mapping[str, str | None]
) -> MapNode:
    """The recipe with one key of one stage changed, which is laid over what the stage says."""
    word, rest = keys[0], keys[1:]
    stages = _stages(tree)
    names = [name for name, _ in stages]
    if not stages:
        raise ConfigError([at.problem(STAGES, "this recipe has no stages; change its sections themselves")])
    if are_digits(word) and int(word) < len(names):
        index = int(word)
    elif word in names:
        index = names.index(word)
    else:
        again = next((n for n in names if n and re.fullmatch(rf"{re.escape(n)}-\d+", word)), None)
        hint = f"repetitions are one stage: {STAGES}.{again}" if again else did_you_mean(word, names)
        message = f"there is no stage {word!r}; the stages are {', '.join(map(str, names))}"
        raise ConfigError([at.problem(f"{STAGES}.{word}", message, hint)])
    name, stage = stages[index]
    if not rest:
        message = f"say what of the stage changes: {STAGES}.{name}.train.steps=10, say"
        raise ConfigError([at.problem(f"{STAGES}.{name}", message)])
    inner = _nested(rest[1:], value, stage.get(rest[0]), at, f"{STAGES}.{name}.{rest[0]}")
    changed = merge_sections(stage, MapNode({rest[0]: Entry(at, inner)}, at), dict(defaults))
    entry = tree.entries[STAGES]
    assert isinstance(entry.node, ListNode)
    items = (*entry.node.items[:index], changed, *entry.node.items[index + 1 :])
    return MapNode({**tree.entries, STAGES: Entry(entry.key_at, ListNode(items, entry.node.at))}, tree.at)


def _stages(tree: MapNode) -> list[tuple[str, MapNode]]:
    """Names and words of the stages, as far as they can be read."""
    node = tree.get(STAGES)
    if not isinstance(node, ListNode) or not all(isinstance(item, MapNode) for item in node.items):
        return []
    found = []
    for item in node.items:
        assert isinstance(item, MapNode)
        name = item.get("name")
        found.append((str(name.value) if isinstance(name, ScalarNode) else "", item))
    return found


def _require_heard(tree: MapNode, keys: list[str], at: Position) -> None:
    """Refuse what would change nothing, since every stage says it again."""
    stages = _stages(tree)
    if stages and all(_says(stage, keys) for _, stage in stages):
        path = ".".join(keys)
        message = f"every stage says its own {path}, so this would change nothing"
        hint = "; ".join(f"--set {STAGES}.{name}.{path}=..." for name, _ in stages[:3])
        raise ConfigError([at.problem(path, message, f"change it where it is said: {hint}")])


def _says(node: Node | None, keys: list[str]) -> bool:
    for key in keys:
        node = node.get(key) if isinstance(node, MapNode) else None
    return node is not None


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
        if not are_digits(key) or int(key) >= len(below.items):
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
