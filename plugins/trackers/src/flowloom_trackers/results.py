"""Tables of results as flat numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["flat"]


def flat(results: Mapping[str, Any]) -> dict[str, float]:
    """Finite numbers by ``column/metric``; whatever else a table holds is left out."""
    found: dict[str, float] = {}
    for name, value in results.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{key}": number for key, number in flat(value).items()}
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            found[name] = float(value)
    return found
