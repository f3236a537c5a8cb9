"""A feed whose rows were encoded once: latents or features of all rows lie on disk, and no step encodes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.data.files import data_home
from flowloom.data.records import examples_of, records
from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.objectives import Batch
from flowloom.seeds import generator as generator_of
from flowloom.training import Feeding, Rows
from flowloom.training.feeds import paired
from flowloom.views import View
from flowloom_warehouse.content import content, raw

__all__ = ["Encoded"]


class Encoded(Rows):
    """Rows in shuffled epochs, as `rows`, whose states are encoded once, before the first batch, and kept.

    What is kept is named by a hash of the codec's tensors and settings and of the data: another codec or
    other data are encoded anew, and the same ones by no second run. Data that know their files
    (`hugging-face`, `tar-shards`) are told by these, with their sizes and times, by what is read of them, and
    by the settings of views. All rows of other data, as views show them, are read once before the first
    batch: what an epoch of `rows` reads. Code is not part of it: delete the folder where that of a codec or a
    view changed.

    States are mapped from disk, so memory stays constant. A codec that draws draws once, the same for every
    run. A process that was killed while encoding goes on; of several, one encodes and the others wait.

    Args:
        data: training rows; injected from the recipe.
        views: what is made of them, in order; injected from the recipe.
        folder: where to keep them; ``$FLOWLOOM_DATA/encoded`` where None.
        chunk: rows encoded at a time.
        keep: False for a temporary folder, deleted with the feed, for which no hash is made.

    Raises:
        IncompatibleError: a view draws, so that no row is the same twice; the objective trains its codec; or
            what a codec or a view holds cannot be told from other things, and is to be kept.
        DataError: the folder cannot be written.
    """

    def __init__(
        self,
        data: Dataset,
        views: Sequence[View] = (),
        folder: Path | None = None,
        chunk: int = 256,
        keep: bool = True,
    ) -> None:
        super().__init__(data, views)
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1, got {chunk}")
        self.folder, self.chunk, self.keep = folder, chunk, keep
        self.reads_files = True
        self._lock = threading.Lock()
        self._store: _Store | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def start(self, feeding: Feeding) -> None:
        """Remember what batches are made with; encoding waits for the first one, after a restore."""
        super().start(feeding)
        for view in self.views:
            if view.random or view.augments:
                raise IncompatibleError(
                    f"feed encoded encodes every row once, and view {type(view).__name__} draws it anew; use "
                    "feed rows, or leave the view out"
                )
        if feeding.flow.objective.encodes:
            raise IncompatibleError(
                f"feed encoded keeps what the codec makes, and {type(feeding.flow.objective).__name__} "
                "trains the codec; use feed rows"
            )
        self._store = None

    def batch(self, number: int, generator: torch.Generator) -> Batch:
        """The rows of that step, as states."""
        states = self.store().take(self.rows(number)).to(self.feeding.device)
        return paired(self.feeding, states, generator)

    def store(self) -> _Store:
        """Where the states are; they are made where they are not."""
        with self._lock:
            if self._store is None:
                self._store = self._made()
            return self._store

    def _made(self) -> _Store:
        home = self.folder or data_home() / "encoded"
        if not self.keep:
            self._temporary = tempfile.TemporaryDirectory(prefix="flowloom-encoded-")
            home = Path(self._temporary.name)
        place = Path(home).expanduser() / (self.key() if self.keep else "rows")
        try:
            place.mkdir(parents=True, exist_ok=True)
            with open(place / ".lock", "w") as handle:
                with suppress(ImportError, OSError):
                    import fcntl

                    fcntl.flock(handle, fcntl.LOCK_EX)
                if not (place / "index.json").is_file():
                    self._fill(place)
            return _Store(place)
        except OSError as error:
            raise DataError(f"cannot keep encoded rows in {place}: {error.strerror or error}") from error

    def key(self) -> str:
        """A hash of the codec and the data."""
        flow, told = self.feeding.flow, self.data.fingerprint()
        rows = self._rows_told() if told is None else [told, list(self.views)]
        try:
            return content([len(self.data), self.spec, flow.spec, flow.dtype, flow.codec, rows])[:32]
        except TypeError as error:
            raise IncompatibleError(
                f"feed encoded cannot tell this codec or a view from another ({error}); give keep: false"
            ) from error

    def _rows_told(self) -> dict[str, str]:
        """A hash of each column of all rows."""
        if getattr(self.data, "reads_files", False):
            print(f"reading {len(self.data)} rows, to tell whether they were encoded before", file=sys.stderr)
        digests: dict[str, Any] = {}
        for rows in torch.arange(len(self.data)).split(self.chunk):
            seen = self.viewed(rows, torch.Generator())
            for name, value in records(seen.x, "x", seen.cond).items():
                digests.setdefault(name, hashlib.sha256()).update(raw(value))
        return {name: digest.hexdigest() for name, digest in digests.items()}

    @torch.no_grad()
    def _fill(self, place: Path) -> None:
        flow, n = self.feeding.flow, len(self.data)
        count = place / "done.json"
        done = json.loads(count.read_text()) if count.is_file() else 0
        print(f"encoding {n - done} rows once, into {place}", file=sys.stderr, flush=True)
        files: dict[str, Any] = {}
        for first in range(done, n, self.chunk):
            states = self._encoded(flow, torch.arange(first, min(n, first + self.chunk)))
            for name, value in records(states.x, "x", states.cond).items():
                if name not in files:
                    files[name] = _mapped(place / f"{name}.npy", value, n)
                files[name][first : first + len(value)] = value.cpu().numpy()
            for file in files.values():
                file.flush()
            _write(count, json.dumps(min(n, first + self.chunk)))
        names = sorted(path.name for path in place.glob("*.npy"))
        _write(place / "index.json", json.dumps({"rows": n, "files": names}))

    def _encoded(self, flow: Flow, rows: Tensor) -> Examples:
        seen = self.viewed(rows, torch.Generator()).to(self.feeding.device)
        seen = replace(seen, cond=flow.spec.told(seen.cond))
        draws = generator_of(0, "encoded", int(rows[0]), self.feeding.device)
        with flow.evaluating():
            return flow.encode(seen, draws)


class _Store:
    """States on disk by row.

    Args:
        place: the folder.
    """

    def __init__(self, place: Path) -> None:
        told = json.loads((place / "index.json").read_text())
        self.files = {}
        for name in told["files"]:
            try:
                self.files[Path(name).stem] = _Rows(place / Path(name).name)
            except (OSError, ValueError) as error:
                raise DataError(
                    f"{place} is damaged ({name}: {error}); delete it, and it is made again"
                ) from error
        short = [name for name, file in self.files.items() if len(file) != told["rows"]]
        if short or not self.files:
            raise DataError(f"{place} is damaged: it lacks rows; delete it, and it is made again")

    def take(self, rows: Tensor) -> Examples:
        """The states of some rows, in their order."""
        # In the order of the disk, then in that of the rows.
        order = rows.argsort()
        found = {
            name: torch.from_numpy(file.take(rows[order].tolist()))[order.argsort()]
            for name, file in self.files.items()
        }
        return examples_of(found, "x")


class _Rows:
    """Rows of an ``.npy`` file, read by their place: pages of a map would stay in memory.

    Args:
        file: the file.
    """

    def __init__(self, file: Path) -> None:
        mapped = np.load(file, mmap_mode="r", allow_pickle=False)
        self.file, self.shape, self.dtype = file, mapped.shape, mapped.dtype
        self.offset = int(mapped.offset)
        self.size = int(mapped.dtype.itemsize * np.prod(mapped.shape[1:], dtype=np.int64))

    def __len__(self) -> int:
        return int(self.shape[0])

    def take(self, rows: Sequence[int]) -> np.ndarray[Any, Any]:
        """Some rows, ``(rows, *event)``."""
        data = bytearray(len(rows) * self.size)
        view = memoryview(data)
        with open(self.file, "rb", buffering=0) as handle:
            for i, row in enumerate(rows):
                place = view[i * self.size : (i + 1) * self.size]
                if os.preadv(handle.fileno(), [place], self.offset + row * self.size) != self.size:
                    raise DataError(f"{self.file} is damaged; delete its folder, and it is made again")
        return np.frombuffer(data, self.dtype).reshape(len(rows), *self.shape[1:])


def _mapped(file: Path, like: Tensor, n: int) -> Any:
    """A file of ``n`` rows, opened where it is there."""
    if file.is_file():
        return np.load(file, mmap_mode="r+", allow_pickle=False)
    array = like.cpu().numpy()
    need = n * (array.nbytes // max(1, len(array)))
    free = shutil.disk_usage(file.parent).free
    if need > free:
        raise DataError(f"{file.parent} needs {need / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")
    return np.lib.format.open_memmap(file, mode="w+", dtype=array.dtype, shape=(n, *array.shape[1:]))


def _write(file: Path, text: str) -> None:
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_text(text)
    os.replace(partial, file)
