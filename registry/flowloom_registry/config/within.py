"""Runs that lie within a folder that is none: that of an experiment, of stages, or of many runs."""

from __future__ import annotations

from pathlib import Path

_SHOWN = 3
_DEPTHS = ("*/status.json", "*/*/status.json")


def told_within(folder: Path) -> str:
    """Which runs somebody may have meant who names this folder; empty where there are none."""
    found = [str(file.parent) for depth in _DEPTHS for file in sorted(folder.glob(depth))]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"there are runs in it: {', '.join(found[:_SHOWN])}{more}" if found else ""
