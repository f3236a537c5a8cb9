"""Rows of many sizes that stay on disk: written one after the other, read where they are asked for."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from flowloom.errors import DataError
from flowloom_molecules.data.prepared import cache_folder
from flowloom_molecules.data.refused import Refused
from flowloom_molecules.data.splits import unit

__all__ = ["OnDisk", "Rows", "kept_on_disk"]

_ARRAYS = {"pos": np.float32, "types": np.uint8, "sizes": np.int32, "places": np.float64}


class OnDisk:
    """What was written: positions and types lie on disk, sizes and places in memory.

    Args:
        folder: that `Rows` wrote.
    """

    def __init__(self, folder: Path) -> None:
        told = json.loads((folder / "told.json").read_text(encoding="utf-8"))
        self.refused = [Refused(**one) for one in told["refused"]]
        self.total = int(told["total"])
        self.sizes = np.fromfile(folder / "sizes.bin", np.int32)
        # Where a row's molecule stands between 0 and 1, by which splits are made.
        self.places = np.fromfile(folder / "places.bin", np.float64)
        self.starts = np.concatenate([[0], np.cumsum(self.sizes, dtype=np.int64)])
        if len(self.sizes):
            self._pos = np.memmap(folder / "pos.bin", np.float32, "r").reshape(-1, 3)
            self._types = np.memmap(folder / "types.bin", np.uint8, "r")
            if not len(self._types) == len(self._pos) == self.starts[-1]:
                raise ValueError("files of different length")

    def row(self, i: int) -> tuple[Any, Any]:
        """Positions ``(atoms, 3)`` and types ``(atoms,)`` of row ``i``, copied out of the file."""
        place = slice(int(self.starts[i]), int(self.starts[i + 1]))
        return np.array(self._pos[place]), np.array(self._types[place])


class Rows:
    """Writes rows into a folder, one after the other.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.refused, self.total = folder, list[Refused](), 0
        self._open = ExitStack()
        self._files = {}
        for name in _ARRAYS:
            file = open(folder / f"{name}.bin", "wb")  # noqa: SIM115  (the stack closes it)
            self._files[name] = self._open.enter_context(file)

    def add(self, key: str, found: Sequence[tuple[Any, Sequence[int]]]) -> None:
        """Rows of one key: positions, which are centred, and types."""
        self.total += 1
        for pos, types in found:
            placed = np.asarray(pos, np.float64)
            row = {"pos": placed - placed.mean(0), "types": types}
            row |= {"sizes": [len(types)], "places": [unit(key)]}
            for name, values in row.items():
                self._files[name].write(np.asarray(values, _ARRAYS[name]).tobytes())

    def refuse(self, one: Refused) -> None:
        """Something that was left out."""
        self.total += 1
        self.refused.append(one)

    def close(self) -> None:
        """Write what was left out; the folder is complete then."""
        self._open.close()
        told = {"total": self.total, "refused": [asdict(one) for one in self.refused]}
        (self.folder / "told.json").write_text(json.dumps(told), encoding="utf-8")


def kept_on_disk(name: str, make: Callable[[Rows], None]) -> OnDisk:
    """What was kept under ``name``, or what ``make`` writes, kept.

    It is written beside its place and moved there once complete. What is damaged is made anew.

    Raises:
        DataError: it cannot be written.
    """
    place = cache_folder() / name
    try:
        return OnDisk(place)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{name}.", suffix=".part"))
    except OSError as error:
        raise DataError(f"cannot write into {place.parent} ({error.strerror}); set XDG_CACHE_HOME") from error
    try:
        rows = Rows(partial)
        try:
            make(rows)
        finally:
            rows.close()
        shutil.rmtree(place, ignore_errors=True)
        partial.replace(place)
    except OSError as error:
        raise DataError(f"cannot write {place} ({error.strerror or error}); set XDG_CACHE_HOME") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return OnDisk(place)
