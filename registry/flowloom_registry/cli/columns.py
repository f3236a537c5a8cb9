"""Plain text in aligned columns; rich would cost more to import than the listing takes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Lines with cells aligned; the last column is cut at the terminal's edge when there is one."""
    return [_cut(line) for line in aligned(rows, indent)]


def aligned(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Lines with cells aligned, whole."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append((indent + "  ".join([*cells, row[-1]])).rstrip())
    return lines


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
