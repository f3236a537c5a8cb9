"""What a docstring says about the whole and about each argument."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_ENTRY = re.compile(r"^    (\*{0,2}[\w`.]+)(?: \([^)]*\))?: ?(.*)$")
_HEADINGS = ("Args", "Arguments", "Attributes", "Parameters", "Raises", "Returns", "Yields")
_ARGUMENTS = ("Args", "Arguments", "Attributes", "Parameters")


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
    """The docstring of a class or function: all of it but the arguments, and the lines of each argument."""
    own = (inspect.getdoc(target) if target.__doc__ else "") or ""
    lines: list[str] = []
    arguments: dict[str, tuple[str, ...]] = {}
    for section in sections_of(own):
        if section.heading in _ARGUMENTS and section.heading != "Attributes":
            arguments |= dict(section.entries())
        else:
            lines += ["", *with_heading(section)] if lines else with_heading(section)
    init = getattr(target, "__init__", None)
    for section in sections_of(inspect.getdoc(init) or "") if inspect.isfunction(init) else ():
        if section.heading in _ARGUMENTS:
            arguments = dict(section.entries()) | arguments
    for section in sections_of(own):
        if section.heading == "Attributes":
            arguments = dict(section.entries()) | arguments
    return lines, {name.lstrip("*"): says for name, says in arguments.items()}


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
