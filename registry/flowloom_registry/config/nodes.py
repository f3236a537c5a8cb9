"""Values that remember where in a file they were written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from flowloom_registry.errors import Problem

Scalar: TypeAlias = "bool | int | float | str | None"


@dataclass(frozen=True)
class Position:
    """A place in a recipe.

    Args:
        file: file name as the user gave it, or ``--set a.b=value`` for an override.
        line: line from 1, or None.
        column: column from 1, or None.
        shipped: whether the file is one that a plugin ships.
    """

    file: str
    line: int | None = None
    column: int | None = None
    shipped: bool = False

    def problem(self, path: str, message: str, hint: str = "") -> Problem:
        """A problem at this place."""
        return Problem(self.file, self.line, self.column, path, message, hint)

    @property
    def folder(self) -> Path:
        """Folder that relative files at this place are relative to: the working folder outside of files."""
        return Path() if self.line is None else Path(self.file).parent

    def locate(self, file: str) -> Path:
        """The file of that name at this place: beside the recipe, as ``extends`` and ``./nets.py:Net`` are.

        A plugin's recipe means the working folder by files that it does not bring along itself.
        """
        path = Path(file).expanduser()
        beside = self.folder / path
        return path if self.shipped and not beside.exists() else beside

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class ScalarNode:
    """A single value."""

    value: Scalar
    at: Position


@dataclass(frozen=True)
class ListNode:
    """A list."""

    items: tuple[Node, ...]
    at: Position


@dataclass(frozen=True)
class Entry:
    """The value of one key, and where the key stands."""

    key_at: Position
    node: Node


@dataclass(frozen=True)
class MapNode:
    """A mapping; keys keep the order in which they were written."""

    entries: Mapping[Any, Entry]
    at: Position

    def get(self, key: str) -> Node | None:
        """The value of ``key``, or None."""
        entry = self.entries.get(key)
        return entry.node if entry else None


Node: TypeAlias = "ScalarNode | ListNode | MapNode"


def plain(node: Node) -> Any:
    """The value as ordinary Python data."""
    if isinstance(node, ScalarNode):
        return node.value
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    return {key: plain(entry.node) for key, entry in node.entries.items()}


def from_plain(value: Any, at: Position) -> Node:
    """The reverse of `plain`: every value gets the position ``at``.

    Raises:
        TypeError: ``value`` holds something that YAML has no word for.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return ScalarNode(value, at)
    if isinstance(value, Mapping):
        return MapNode({key: Entry(at, from_plain(item, at)) for key, item in value.items()}, at)
    if isinstance(value, (list, tuple)):
        return ListNode(tuple(from_plain(item, at) for item in value), at)
    raise TypeError(f"a recipe cannot hold {value!r} ({type(value).__name__})")


def moved(node: Node, at: Position) -> Node:
    """The same values, all at position ``at``."""
    return from_plain(plain(node), at)


def given(node: Node) -> str:
    """What the user wrote, for an error message: ``'tight' (str)``."""
    if isinstance(node, ListNode):
        return f"a list of {len(node.items)}"
    if isinstance(node, MapNode):
        return f"a mapping with {', '.join(map(repr, node.entries))}" if node.entries else "an empty mapping"
    if node.value is None:
        return "null"
    if isinstance(node.value, bool):
        return f"{str(node.value).lower()} (bool)"
    text = repr(node.value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(node.value).__name__})"
