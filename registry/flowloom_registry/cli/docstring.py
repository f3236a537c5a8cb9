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
    """Argument -> the first line of what the docstring says about it."""
    texts = [target, getattr(target, "__init__", None)]
    found: dict[str, str] = {}
    for text in texts:
        inside = False
        for line in (inspect.getdoc(text) or "").splitlines():
            if not line.startswith(" "):
                inside = line.strip() in _HEADINGS or (inside and not line.strip())
            elif inside and (match := _ARGUMENT.match(line)):
                found.setdefault(match[1], match[2].strip())
    return found
