"""What a docstring says about the whole and about each argument."""

from __future__ import annotations

import inspect
import re
from typing import Any

_ARGUMENT = re.compile(r"^    \*{0,2}(\w+)(?: \([^)]*\))?: (.*)$")
_HEADINGS = ("Args:", "Arguments:", "Attributes:", "Parameters:")


def first_line(target: Any) -> str:
    """The first line of the docstring, empty where there is none of its own."""
    text = inspect.getdoc(target) if target.__doc__ else ""
    return (text or "").partition("\n")[0]


def argument_lines(target: Any) -> dict[str, str]:
    """Argument -> all that the docstring says about it, on one line."""
    found: dict[str, str] = {}
    for text in (target, getattr(target, "__init__", None)):
        inside, said = False, dict[str, list[str]]()
        for line in (inspect.getdoc(text) or "").splitlines():
            if not line.startswith(" "):
                inside = line.strip() in _HEADINGS or (inside and not line.strip())
            elif inside and (match := _ARGUMENT.match(line)):
                said[match[1]] = [match[2]]
            elif inside and said:
                said[next(reversed(said))].append(line)
        found = {name: " ".join(" ".join(lines).split()) for name, lines in said.items()} | found
    return found
