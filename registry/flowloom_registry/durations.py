"""How long something took or will take, as people say it."""

from __future__ import annotations

__all__ = ["duration"]


def duration(seconds: float) -> str:
    """Seconds in the words of people: ``0.24 s``, ``48 s``, ``3 min 20 s``, ``2 h 05 min``, ``1,200 h``."""
    whole = round(seconds)
    if whole < 10:
        return f"{seconds:.2g} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    hours = round(seconds / 3600)
    return f"{hours:,} h" if hours >= 100 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
