"""Plain text in aligned columns; rich would cost more to import than the listing takes."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]], indent: str = "", *, whole: bool = False) -> list[str]:
    """Lines with cells aligned; at a terminal's edge the last column is cut, or goes on below (``whole``)."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        head = indent + "".join(f"{cell}  " for cell in cells)
        lines += _wrapped(head, row[-1]) if whole else [_cut((head + row[-1]).rstrip())]
    return lines


def _wrapped(head: str, text: str) -> list[str]:
    room = max(shutil.get_terminal_size().columns - len(head), 24)
    parts = textwrap.wrap(text, room) if sys.stdout.isatty() else [text]
    below = " " * len(head)
    return [f"{below if i else head}{part}".rstrip() for i, part in enumerate(parts or [""])]


def _cut(line: str) -> str:
    if not sys.stdout.isatty():
        return line
    width = max(shutil.get_terminal_size().columns, 40)
    return line if len(line) <= width else line[: width - 1] + "…"


def warn_of_broken() -> None:
    """One line on stderr for each plugin that could not be loaded."""
    from flowloom_registry.plugins.discovery import catalog

    for broken in catalog().broken:
        print(
            f"plugin '{broken.plugin.name}' is broken and left out: {broken.error}; "
            "'flowloom plugins --verbose' shows where",
            file=sys.stderr,
        )
