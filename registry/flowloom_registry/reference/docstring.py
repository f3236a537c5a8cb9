"""What a docstring says about the whole and about each argument."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_ENTRY = re.compile(r"^    (\*{0,2}[\w`.]+)(?: \([^)]*\))?: ?(.*)$")
_HEADINGS = ("Args", "Arguments", "Attributes", "Parameters", "Raises", "Returns", "Yields")
_ARGUMENTS = ("Args", "Arguments", "Attributes", "Parameters")
_ELSEWHERE = re.compile(
    r"see (?:there|`([\w.]+)`)(?:, as the other(?:s| arguments))?(?:; (.*)|\.?)", re.DOTALL
)
"""``see `Base`.``, ``see there.`` after it, and what differs here."""


@dataclass(frozen=True)
class Section:
    """A stretch of a docstring.

    Args:
        heading: ``Args``, ``Raises`` ...; empty for running text.
        lines: what stands there, without the indent of the section.
    """

    heading: str
    lines: tuple[str, ...]

    def entries(self) -> list[tuple[str, tuple[str, ...]]]:
        """Name and lines of every entry of a section with a heading."""
        found: list[tuple[str, list[str]]] = []
        for line in self.lines:
            match = _ENTRY.match(f"    {line}")
            if match:
                found.append((match[1], [match[2]] if match[2] else []))
            elif found:
                found[-1][1].append(line.removeprefix("    "))
        return [(name, _trimmed(lines)) for name, lines in found]


def sections_of(text: str) -> list[Section]:
    """The stretches of a docstring, in order."""
    found: list[Section] = []
    heading, lines = "", list[str]()
    for line in text.splitlines():
        word = line.removesuffix(":")
        if line.endswith(":") and word in _HEADINGS:
            found.append(Section(heading, _trimmed(lines)))
            heading, lines = word, []
        elif heading and line and not line.startswith(" "):
            found.append(Section(heading, _trimmed(lines)))
            heading, lines = "", [line]
        else:
            lines.append(line[4:] if heading else line)
    found.append(Section(heading, _trimmed(lines)))
    return [one for one in found if one.lines]


def text_and_arguments(target: Any) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """The docstring of a class or function: all of it but the arguments, and the lines of each argument.

    An argument that only points to where it is told (``see `Base`.``, then ``see there.``) has the lines that
    stand there: who reads one page should not have to open another.
    """
    own = (inspect.getdoc(target) if target.__doc__ else "") or ""
    lines: list[str] = []
    for section in sections_of(own):
        if section.heading not in _ARGUMENTS or section.heading == "Attributes":
            lines += ["", *with_heading(section)] if lines else with_heading(section)
    arguments = _arguments(target)
    return lines, _followed(target, {name.lstrip("*"): says for name, says in arguments.items()})


def _arguments(target: Any) -> dict[str, tuple[str, ...]]:
    """Of the docstring first, then of the initialiser's, then of attributes, then as base classes have it."""
    own = sections_of((inspect.getdoc(target) if target.__doc__ else "") or "")
    init = getattr(target, "__init__", None)
    of_init = sections_of(inspect.getdoc(init) or "") if inspect.isfunction(init) else []
    found: dict[str, tuple[str, ...]] = {}
    for section in (
        *(one for one in own if one.heading in _ARGUMENTS and one.heading != "Attributes"),
        *(one for one in of_init if one.heading in _ARGUMENTS),
        *(one for one in own if one.heading == "Attributes"),
    ):
        found |= {name: says for name, says in section.entries() if name not in found}
    for base in getattr(target, "__mro__", ())[1:]:
        if base.__doc__ and base is not object:
            found |= {name: says for name, says in _arguments(base).items() if name not in found}
    return found


def _followed(target: Any, arguments: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    place = ""
    for name, says in arguments.items():
        pointer = _ELSEWHERE.fullmatch(" ".join(says))
        if pointer is not None:
            place = pointer[1] or place
            there = _named(target, place)
            if there is not None and there is not target:
                differs = (pointer[2][:1].upper() + pointer[2][1:],) if pointer[2] else ()
                told = text_and_arguments(there)[1].get(name, ())
                says = (*told, *differs) if told else says
        found[name] = says
    return found


def _named(target: Any, name: str) -> Any:
    """The class or function that a docstring means by a name: a base class, or one its module knows."""
    home, _, last = name.rpartition(".")
    bases = {base.__name__: base for base in getattr(target, "__mro__", ())}
    found = bases.get(last) or getattr(sys.modules.get(home or target.__module__), last, None)
    return found if inspect.isclass(found) or inspect.isfunction(found) else None


def with_heading(section: Section) -> list[str]:
    """The lines of a section as they stood in the docstring."""
    if not section.heading:
        return list(section.lines)
    return [f"{section.heading}:", *(f"    {line}" if line else "" for line in section.lines)]


def _trimmed(lines: Sequence[str]) -> tuple[str, ...]:
    kept = list(lines)
    while kept and not kept[0].strip():
        kept.pop(0)
    while kept and not kept[-1].strip():
        kept.pop()
    return tuple(kept)
