"""Reading and writing YAML, with positions and without surprises.

The dialect is close to YAML 1.2: ``1e-4`` is a number, only ``true`` and ``false`` are booleans, ``12:30``
and ``2024-01-01`` are text, a key given twice is an error. Tags that make objects are refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from flowloom_registry.config.nodes import Entry, ListNode, MapNode, Node, Position, Scalar, ScalarNode
from flowloom_registry.errors import ConfigError, Problem

_STR = "tag:yaml.org,2002:str"
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_BOOL = "tag:yaml.org,2002:bool"
_NULL = "tag:yaml.org,2002:null"

_WORDS: tuple[tuple[str, str, str], ...] = (
    (_NULL, r"null|Null|NULL|~|", "nN~"),
    (_BOOL, r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (_INT, r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+", "-+0123456789"),
    (
        _FLOAT,
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
)
_PATTERNS = [(tag, re.compile(rf"(?:{words})\Z"), first) for tag, words, first in _WORDS]
_RESOLVERS: dict[Any, list[Any]] = {
    first: [(tag, pattern) for tag, pattern, firsts in _PATTERNS if first in firsts]
    for first in sorted({letter for _, _, firsts in _PATTERNS for letter in firsts})
} | {"": [(_NULL, _PATTERNS[0][1])]}

_LARGEST = 100_000
"""Values a recipe may expand to; aliases of aliases grow exponentially."""

_SMALL = 50_000
"""Letters of a text up to which what was read is remembered."""


class _Reader(yaml.SafeLoader):
    yaml_implicit_resolvers = _RESOLVERS


class _Writer(yaml.SafeDumper):
    # The writer quotes whatever the reader would take for something else, so both share one table.
    yaml_implicit_resolvers = _RESOLVERS

    def ignore_aliases(self, data: Any) -> bool:
        return True


@dataclass(frozen=True)
class Document:
    """A file that was read.

    Args:
        root: its values.
        problems: what is wrong with it that did not stop the reading, such as a key given twice.
    """

    root: Node
    problems: tuple[Problem, ...]


def read(text: str | bytes, file: str, *, shipped: bool = False) -> Document:
    """Read one YAML document.

    Args:
        text: the text, or its bytes in UTF-8.
        file: name for positions.
        shipped: whether it is a plugin's file.

    Raises:
        ConfigError: it is no YAML, is empty, or is not text at all.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ConfigError(
                [Problem(file, None, None, "", f"not UTF-8 text (byte {error.start})")]
            ) from None
    return (_remembered if len(text) <= _SMALL else _read)(text, file, shipped)


def _read(text: str, file: str, shipped: bool) -> Document:
    try:
        loader = _Reader(text)
        root = loader.get_single_node()
        if root is None:
            raise ConfigError([Problem(file, 1, 1, "", "the file holds nothing")])
        converter = _Converter(file, shipped)
        return Document(converter.convert(root, ""), tuple(converter.problems))
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_syntax_problem(error, file)]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        what = f"character {chr(error.character)!r} is not allowed in YAML"
        raise ConfigError([Problem(file, line, column, "", what)]) from None
    except RecursionError:
        raise ConfigError([Problem(file, None, None, "", "nested too deeply")]) from None


# A base recipe is read by every recipe, arm and stage that extends it; documents are never changed.
_remembered = lru_cache(maxsize=512)(_read)


def write(value: Any, *, compact: bool = False) -> str:
    """YAML text of plain Python data; `read` gives the same data back.

    Args:
        value: what to write.
        compact: whether lists and mappings of mere scalars stand on one line.
    """
    flow = None if compact else False
    return yaml.dump(
        value, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=100, default_flow_style=flow
    )


class _Converter:
    def __init__(self, file: str, shipped: bool) -> None:
        self.file, self.shipped = file, shipped
        self.problems: list[Problem] = []
        self.open: set[int] = set()
        self.count = 0

    def convert(self, node: yaml.Node, path: str) -> Node:
        at = self._at(node)
        self.count += 1
        if self.count > _LARGEST:
            raise ConfigError([at.problem(path, f"aliases expand to more than {_LARGEST} values")])
        if id(node) in self.open:
            raise ConfigError([at.problem(path, "an alias refers to a value that contains it")])
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                self._check_tag(node, path, at, "map")
                return self._mapping(node, path, at)
            if isinstance(node, yaml.SequenceNode):
                self._check_tag(node, path, at, "seq")
                items = (self.convert(item, f"{path}[{i}]") for i, item in enumerate(node.value))
                return ListNode(tuple(items), at)
            return ScalarNode(self._scalar(node, path, at), at)
        finally:
            self.open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: str, at: Position) -> MapNode:
        entries: dict[Any, Entry] = {}
        for key_node, value_node in node.value:
            key_at = self._at(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(key_at.problem(path, "a key is a single word, not a list or mapping"))
                continue
            key = self._scalar(key_node, path, key_at)
            dotted = f"{path}.{key}" if path else str(key)
            if key == "<<":
                self.problems.append(
                    key_at.problem(
                        path, "merge keys ('<<') are not read", "repeat the keys, or use 'extends'"
                    )
                )
                continue
            value = self.convert(value_node, dotted)
            if key in entries:
                first = entries[key].key_at
                self.problems.append(
                    key_at.problem(dotted, "key given twice", f"first at {first}; keep one of them")
                )
                continue
            entries[key] = Entry(key_at, value)
        return MapNode(entries, at)

    def _scalar(self, node: yaml.Node, path: str, at: Position) -> Scalar:
        text, tag = str(node.value), node.tag
        if tag == _STR:
            return text
        pattern = next((pattern for known, pattern, _ in _PATTERNS if known == tag), None)
        if pattern is None:
            self.problems.append(at.problem(path, f"tag {tag!r} is not accepted", "write a plain value"))
            return None
        if not pattern.match(text):
            self.problems.append(at.problem(path, f"{text!r} does not fit its tag {tag!r}"))
            return None
        try:
            value = _value(tag, text)
            if isinstance(value, float) and math.isinf(value) and text.strip("+-").lower() != ".inf":
                said = f"{text} is beyond the range of numbers"
                self.problems.append(at.problem(path, said, "infinity is written .inf"))
                return None
            return value
        except ValueError:
            self.problems.append(at.problem(path, f"a number of {len(text)} digits is too long to read"))
            return None

    def _check_tag(self, node: yaml.Node, path: str, at: Position, word: str) -> None:
        if node.tag != f"tag:yaml.org,2002:{word}":
            self.problems.append(at.problem(path, f"tag {node.tag!r} is not accepted", "write a plain value"))

    def _at(self, node: yaml.Node) -> Position:
        return Position(self.file, node.start_mark.line + 1, node.start_mark.column + 1, self.shipped)


def _value(tag: str, text: str) -> Scalar:
    if tag == _NULL:
        return None
    if tag == _BOOL:
        return text.lower() == "true"
    if tag == _FLOAT:
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if text.startswith("0x"):
        return int(text[2:], 16)
    return int(text[2:], 8) if text.startswith("0o") else int(text)


def _syntax_problem(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    what = " ".join(str(error.problem or error.context or "not YAML").split())
    hint = ""
    if "'\\t'" in what or "\\t" in what:
        hint = "indent with spaces, not tabs"
    elif "mapping values are not allowed" in what:
        hint = "a text that holds ': ' needs quotes, and nested keys need a line of their own"
    elif error.context and error.context_mark and error.problem:
        hint = f"{' '.join(error.context.split())} that began in line {error.context_mark.line + 1}"
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    return Problem(file, line, column, "", f"not valid YAML: {what}", hint)
