"""Names of several things, each its own."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["numbered"]


def numbered(names: Iterable[str], mark: str = "-") -> list[str]:
    """As many names, with a number from 2 behind those that were there before: ``a, a-2``.

    Args:
        names: in order; the first of a kind keeps its own.
        mark: between a name and its number.
    """
    found: list[str] = []
    for name in names:
        own, count = name, 2
        while own in found:
            own, count = f"{name}{mark}{count}", count + 1
        found.append(own)
    return found
