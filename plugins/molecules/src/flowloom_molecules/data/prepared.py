"""What was made of a file once, kept on disk: arrays of many sizes side by side, beside what was left out."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowloom_molecules.data.refused import Refused

FORMAT = 5
"""Counted up whenever what is written, or how it is made, changes."""


@dataclass(frozen=True)
class Prepared:
    """Rows of different sizes.

    Args:
        ragged: arrays of points by name, all rows one after the other: ``(sum of sizes, ...)``.
        fixed: arrays by name with one entry a row, ``(rows, ...)``.
        sizes: points of every row, int64 ``(rows,)``.
        keys: a name of every row, by which splits are made.
        refused: what was left out.
        total: rows of the file.
    """

    ragged: Mapping[str, Tensor]
    fixed: Mapping[str, Tensor]
    sizes: Tensor
    keys: tuple[str, ...]
    refused: tuple[Refused, ...]
    total: int

    def __len__(self) -> int:
        return len(self.sizes)

    def padded(self, name: str, length: int, rows: Tensor) -> Tensor:
        """A ragged array of some rows as ``(n, length, ...)``, zeros behind the points of each."""
        flat, real = self.ragged[name], self.real(length, rows)
        out = flat.new_zeros((len(rows), length, *flat.shape[1:]))
        places = self._starts[rows][:, None] + torch.arange(length)
        out[real] = flat[places[real]]
        return out

    def real(self, length: int, rows: Tensor) -> Tensor:
        """Which of ``length`` entries of some rows exist, boolean ``(n, length)``."""
        return torch.arange(length) < self.sizes[rows][:, None]

    @cached_property
    def _starts(self) -> Tensor:
        """Where every row begins in the ragged arrays."""
        return self.sizes.cumsum(0) - self.sizes


def fingerprint(contents: bytes, settings: Mapping[str, Any]) -> str:
    """A name for what is made of these bytes under these settings."""
    told = json.dumps({"format": FORMAT, **settings}, sort_keys=True, default=str).encode()
    return hashlib.sha256(hashlib.sha256(contents).digest() + told).hexdigest()[:20]


def prepared(name: str, make: Callable[[], Prepared]) -> Prepared:
    """What was kept under ``name``, or what ``make`` makes, kept.

    It is kept in ``flowloom/prepared`` in the user's cache folder; where that cannot be written, a warning
    says so and it is made anew next time. A damaged file is made anew.
    """
    file = cache_folder() / f"{name}.safetensors"
    found = _read(file)
    if found is not None:
        return found
    made = make()
    try:
        _write(file, made)
    except OSError as error:
        warnings.warn(
            f"cannot keep what was prepared in {file.parent} ({error.strerror}); it is made anew next time",
            stacklevel=2,
        )
    return made


def joined(parts: Sequence[Prepared]) -> Prepared:
    """The rows of several files, in order."""
    first = parts[0]
    return Prepared(
        {k: torch.cat([p.ragged[k] for p in parts]) for k in first.ragged},
        {k: torch.cat([p.fixed[k] for p in parts]) for k in first.fixed},
        torch.cat([p.sizes for p in parts]),
        tuple(key for p in parts for key in p.keys),
        tuple(one for p in parts for one in p.refused),
        sum(p.total for p in parts),
    )


def cache_folder() -> Path:
    """Where it is kept: ``flowloom/prepared`` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "flowloom" / "prepared"


def _read(file: Path) -> Prepared | None:
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        return None
    try:
        with safe_open(file, "pt") as opened:
            told = json.loads(opened.metadata()["prepared"])
            arrays = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118  (no dict)
        groups: dict[str, dict[str, Tensor]] = {"ragged": {}, "fixed": {}}
        for key, value in arrays.items():
            kind, _, name = key.partition(".")
            if kind in groups:
                groups[kind][name] = value
        refused = tuple(Refused(**one) for one in told["refused"])
        return Prepared(
            **groups, sizes=arrays["sizes"], keys=tuple(told["keys"]), refused=refused, total=told["total"]
        )
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None


def _write(file: Path, made: Prepared) -> None:
    from safetensors.torch import save

    told = {"keys": made.keys, "refused": [asdict(one) for one in made.refused], "total": made.total}
    arrays = {
        **{f"ragged.{k}": v.contiguous() for k, v in made.ragged.items()},
        **{f"fixed.{k}": v.contiguous() for k, v in made.fixed.items()},
        "sizes": made.sizes,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(save(arrays, {"prepared": json.dumps(told)}))
        Path(partial).replace(file)
    finally:
        Path(partial).unlink(missing_ok=True)
