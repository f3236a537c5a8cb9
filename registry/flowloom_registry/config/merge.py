"""Laying one recipe over another: ``extends`` and ``--set`` follow the same rule."""

from __future__ import annotations

from flowloom_registry.config.bind import USE
from flowloom_registry.config.nodes import Entry, MapNode, Node, ScalarNode, plain
from flowloom_registry.config.taken import RUN


def merge(below: Node, above: Node, default: str | None = None) -> Node:
    """``above`` laid over ``below``.

    Mappings merge key by key, except that a component whose ``use`` changes is replaced whole, since its
    arguments belong to another constructor; so is one that comes from another ``run``. A bare name counts as
    ``use``. Anything else is replaced.

    Args:
        below: the older value.
        above: the newer one, which wins.
        default: component meant by a mapping without ``use``.
    """
    if not (isinstance(above, MapNode) or isinstance(below, MapNode)):
        return above
    old, new = _use(below, default), _use(above, None)
    if new is not None and old != new:
        return above
    lower, upper = _as_mapping(below), _as_mapping(above)
    if lower is None or upper is None:
        return above
    entries = dict(lower.entries)
    for key, entry in upper.entries.items():
        before = entries.get(key)
        entries[key] = Entry(entry.key_at, merge(before.node, entry.node)) if before else entry
    return MapNode(entries, upper.at)


def merge_sections(below: MapNode, above: MapNode, defaults: dict[str, str | None]) -> MapNode:
    """Merge whole recipes; ``defaults`` tells the component meant by a section without ``use``."""
    entries = dict(below.entries)
    for key, entry in above.entries.items():
        before = entries.get(key)
        if before is not None and key in defaults:
            entries[key] = Entry(entry.key_at, merge(before.node, entry.node, defaults[key]))
        else:
            entries[key] = entry
    return MapNode(entries, above.at)


def _use(node: Node, default: str | None) -> str | None:
    if isinstance(node, MapNode):
        run = node.get(RUN)
        if run is not None and USE not in node.entries:
            return f"{RUN}: {plain(run)}"
        node = node.get(USE) or ScalarNode(default, node.at)
    if isinstance(node, ScalarNode) and isinstance(node.value, str):
        return node.value
    return None


def _as_mapping(node: Node) -> MapNode | None:
    if isinstance(node, MapNode):
        return node
    if isinstance(node, ScalarNode) and isinstance(node.value, str):
        return MapNode({USE: Entry(node.at, node)}, node.at)
    return None
