"""Where data files live, and how they are looked for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def data_home() -> Path:
    """``$FLOWLOOM_DATA``, or ``flowloom/data`` in the user's cache folder."""
    given = os.environ.get("FLOWLOOM_DATA")
    if given:
        return Path(given).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "flowloom" / "data"


def folders(root: str | None, names: Iterable[str]) -> list[Path]:
    """Folders to search, in order: ``names`` under ``root``, or under the data home where that is None."""
    home = Path(root).expanduser() if root else data_home()
    return [home / name for name in names]


def find(places: Iterable[Path], names: Iterable[str]) -> Path | None:
    """The first existing file among ``names`` in the first place that has one, or None."""
    wanted = list(names)
    return next((place / name for place in places for name in wanted if (place / name).is_file()), None)
