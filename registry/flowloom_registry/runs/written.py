"""The recipe as its author wrote it, and what of the resolved one is the author's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowloom_registry.config.nodes import ListNode, MapNode, Node, ScalarNode, plain
from flowloom_registry.config.recipe import Recipe
from flowloom_registry.config.yaml import read, write
from flowloom_registry.errors import ConfigError

__all__ = ["marked_lines", "written"]


def written(recipe: Recipe) -> str:
    """The text of a recipe's file, comments and all.

    Where it extends others, or something was laid over it or set: what all of these say together, and no
    default.
    """
    said = {key: value for key, value in plain(recipe.tree).items() if key != "extends"}
    try:
        text = Path(recipe.file).read_text(encoding="utf-8")
        if plain(read(text, recipe.file).root) == said:
            return text
    except (OSError, ValueError, ConfigError):
        pass
    return write(said, compact=True)


def marked_lines(author: str, resolved: str) -> set[int]:
    """Lines of a resolved recipe, from 1, that the author's text says; every other line is a default."""
    try:
        said, all_of_it = read(author, "written.yaml").root, read(resolved, "recipe.yaml").root
    except ConfigError:
        return set()
    found: set[int] = set()
    _mark(plain(said), all_of_it, found)
    return found


def _mark(said: Any, node: Node, found: set[int]) -> None:
    if isinstance(node, MapNode):
        if isinstance(said, str):
            said = {"use": said}
        if isinstance(said, dict):
            for key, entry in node.entries.items():
                if key in said:
                    if isinstance(entry.node, ScalarNode) and entry.key_at.line is not None:
                        found.add(entry.key_at.line)
                    elif said[key] is not None and isinstance(entry.node, (MapNode, ListNode)):
                        found.add(entry.key_at.line or 0)
                    _mark(said[key], entry.node, found)
    elif isinstance(node, ListNode) and isinstance(said, list) and len(said) == len(node.items):
        for one, item in zip(said, node.items, strict=True):
            if isinstance(item, ScalarNode) and item.at.line is not None:
                found.add(item.at.line)
            _mark(one, item, found)
