"""Coastlines of the world, for maps.

Natural Earth's land at 1:110 million (public domain, naturalearthdata.com), in tenths of a degree, by way
of the npm package world-atlas 2.0.2.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = ["coastlines"]


@cache
def coastlines() -> list[Any]:
    """Lines of longitude and latitude in degrees, each an array ``(n, 2)``."""
    import numpy

    text = files("flowloom_geometries").joinpath("coastline.json").read_text(encoding="utf-8")
    return [numpy.array(line, dtype=float).reshape(-1, 2) / 10 for line in json.loads(text)]
