"""Shards of tar files in the form of WebDataset, read by row, by an index that is made once.

A sample is the files of one name that follow each other, told apart by their endings: ``0001.jpg``,
``0001.cls``. Only the endings below are read; what Python would have to unpickle never is. Rows of tars can
so be shuffled, shared out to processes and gone on with at any step like rows of anything else.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from flowloom.data.files import data_home, is_hidden
from flowloom.errors import DataError, MissingDependencyError
from flowloom_warehouse.columns import Columns, Table
from flowloom_warehouse.table import Source, TableData, unchanged

__all__ = ["TarShards"]

_END = 1024
"""Bytes of zeros at the end of every whole tar."""
_BLOCK = 512
"""Bytes that headers of a tar begin at multiples of."""
_FORM = 2
"""Of what is kept of a shard; another one reads tars otherwise."""
_MOST = 10**6
"""Shards that a pattern may name."""
_REFUSED = ("pkl", "pickle", "pyd", "pt", "pth", "npz", "joblib")


class TarShards(TableData):
    """Tar files of samples (WebDataset), read in place.

    Columns are endings: ``npy``, ``jpg``, ``png``, ``webp``, ``cls``, ``txt`` (a word that is a class), and
    ``json:KEY`` for one entry of a JSON object; ``left.png`` where a name has several dots. Compressed tars
    cannot be read in place; tars that were joined into one file are read to its end. The index (16 bytes a
    file that is read) is kept in ``$FLOWLOOM_DATA/tar-index``.

    Args:
        shards: a tar file, a folder of them, or a pattern such as ``train-{000..099}.tar``.
        states: the column of the states, or one for every part.
        conditions: column by name of a condition.
        test: tar files of the test split, in the same forms.
        vocab: tokens there are, where states are whole numbers.
        classes: of conditions that are whole numbers or words.
        shapes: event shape by column, for rows that are stored flat.
        held_out: share held out as ``test`` where there are no such files; see `HeldOut`.

    Raises:
        DataError: on first use, a range that is none; a shard that is missing, truncated, empty or
            compressed, by name; a sample that lacks a column, or has it twice; values of another type.
    """

    def __init__(
        self,
        shards: str,
        states: str | Mapping[str, str] = "npy",
        conditions: Mapping[str, str] | None = None,
        test: str | None = None,
        vocab: int | Mapping[str, int] | None = None,
        classes: Mapping[str, int | list[str] | None] | None = None,
        shapes: Mapping[str, list[int]] | None = None,
        held_out: float = 0.0,
    ) -> None:
        super().__init__(Columns(states, conditions or {}, vocab, classes or {}, shapes or {}), held_out)
        for column in self.columns.names():
            _reader(column)
        self.shards, self.test = shards, test

    def source(self, split: str) -> Source:
        """Rows of a split."""
        named = {"train": self.shards, "test": self.test}.get(split)
        if named is None:
            have = "train, test" if self.test else "train"
            raise DataError(f"{self.shards} has no split '{split}'; it has: {have}")
        return _Tars(named, self.columns.names())

    def has_test(self) -> bool:
        """Whether there are tar files of the test split."""
        return self.test is not None


class _Tars(Source):
    def __init__(self, pattern: str, columns: Sequence[str]) -> None:
        self.place, self.columns = pattern, list(columns)
        self.endings = list(dict.fromkeys(column.partition(":")[0] for column in columns))
        self.files = _matching(pattern)
        # Mapped, not read: 16 bytes a file are gigabytes at a hundred million samples.
        self.index = [_index(file, self.endings) for file in self.files]
        self.ends = np.cumsum([len(one) for one in self.index]).tolist()

    def __len__(self) -> int:
        return self.ends[-1]

    def read(self, rows: Sequence[int], columns: Sequence[str]) -> Table:
        """Bytes of every row, decoded."""
        table: dict[str, list[Any]] = {column: [None] * len(rows) for column in columns}
        shards: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            shards.setdefault(bisect_right(self.ends, row), []).append(place)
        for shard, places in shards.items():
            first = self.ends[shard] - len(self.index[shard])
            with _open(self.files[shard]) as handle:
                for place in places:
                    spots = self.index[shard][rows[place] - first]
                    found: dict[str, bytes] = {}
                    for column in columns:
                        ending = column.partition(":")[0]
                        if ending not in found:
                            found[ending] = _bytes(
                                handle, spots[self.endings.index(ending)], self.files[shard]
                            )
                        table[column][place] = self._value(column, found[ending], rows[place])
        return table

    def at(self, row: int) -> str:
        """The shard, and which of its samples."""
        shard = bisect_right(self.ends, row)
        first = self.ends[shard] - len(self.index[shard])
        return f"{self.files[shard]}, sample {row - first} (row {row})"

    def fingerprint(self) -> str:
        """The shards."""
        return unchanged(self.files)

    def _value(self, column: str, data: bytes, row: int) -> Any:
        try:
            return _reader(column)(data)
        except MissingDependencyError:
            raise
        except Exception as error:  # decoders of several libraries
            line = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{self.at(row)}: column {column!r} cannot be read: {line}") from error


def _open(file: Path) -> io.FileIO:
    try:
        return io.FileIO(file)
    except OSError as error:
        raise DataError(f"shard {file} cannot be read: {error.strerror or error}") from error


def _bytes(handle: io.FileIO, spot: Any, file: Path) -> bytes:
    offset, size = int(spot[0]), int(spot[1])
    data = os.pread(handle.fileno(), size, offset)
    if len(data) != size:
        raise DataError(f"shard {file} has changed or is truncated; put the old one back")
    return data


def _matching(pattern: str) -> list[Path]:
    """Tar files that a pattern names, in the order of their names.

    Raises:
        DataError: there are none, or one of a numbered series is missing; says which.
    """
    place = Path(pattern).expanduser()
    if not place.exists() and any(mark in pattern for mark in "{}"):
        files = _series(pattern)
        missing = [file for file in files if not file.is_file()]
        if missing:
            raise DataError(f"shard {missing[0]} is missing ({len(missing)} of {len(files)} are)")
        return files
    if place.is_dir():
        inside = (f for f in place.iterdir() if f.suffix.lower() == ".tar" and f.is_file())
        files = sorted(f for f in inside if not is_hidden(f.name))
    elif any(mark in pattern for mark in "*?["):
        asked = is_hidden(place.name)
        files = sorted(f for f in place.parent.glob(place.name) if asked or not is_hidden(f.name))
    else:
        files = [place] if place.is_file() else []
    if not files:
        raise DataError(f"there are no tar files at {pattern}")
    return files


def _series(pattern: str) -> list[Path]:
    """The files that a pattern with ranges names, the last range fastest.

    Raises:
        DataError: a range is none, or runs backwards.
    """
    between = re.split(r"\{(\d+)\.\.(\d+)\}", pattern)
    strange = next((text for text in between[::3] if "{" in text or "}" in text), None)
    if strange is not None:
        raise DataError(
            f"shards {pattern}: a range is two whole numbers, as {{000..099}}; {strange!r} has none"
        )
    ranges = [
        (first, int(first), int(last)) for first, last in zip(between[1::3], between[2::3], strict=True)
    ]
    for text, first, last in ranges:
        if last < first:
            raise DataError(
                f"shards {pattern}: a range counts up, and {{{text}..{last:0{len(text)}}}} does not"
            )
    count = prod(last - first + 1 for _, first, last in ranges)
    if count > _MOST:
        raise DataError(f"shards {pattern}: these are {count} files, and {_MOST} at most are read")
    numbers = product(*([str(i).zfill(len(t)) for i in range(a, b + 1)] for t, a, b in ranges))
    names = (
        "".join(part for pair in zip(between[::3], (*one, ""), strict=True) for part in pair)
        for one in numbers
    )
    return [Path(name).expanduser() for name in names]


def _index(file: Path, endings: Sequence[str]) -> np.ndarray[Any, Any]:
    """Where the files of every sample begin and how long they are, ``(samples, endings, 2)``, mapped."""
    said = json.dumps([unchanged([file]), _FORM, list(endings)])
    kept = data_home() / "tar-index" / f"{hashlib.sha256(said.encode()).hexdigest()[:32]}.npy"
    if not kept.is_file():
        made = _scanned(file, endings)
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f".{kept.name}.{os.getpid()}")
        with open(partial, "wb") as handle:
            np.save(handle, made, allow_pickle=False)
        os.replace(partial, kept)
    try:
        return np.load(kept, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        kept.unlink(missing_ok=True)  # damaged: made again
        return _scanned(file, endings)


def _scanned(file: Path, endings: Sequence[str]) -> np.ndarray[Any, Any]:
    if file.name.endswith((".gz", ".tgz", ".bz2", ".xz", ".zst")):
        raise DataError(f"shard {file} is compressed and cannot be read in place; unpack it to a plain tar")
    samples: list[dict[str, tuple[int, int]]] = []
    key = None
    size = file.stat().st_size
    try:
        with open(file, "rb") as handle:
            for member in _members(handle):
                if member is None:  # another tar: names may begin anew
                    key = None
                    continue
                if not member.isreg():
                    continue
                folder, _, name = member.name.rpartition("/")
                if is_hidden(name) or any(_is_left(part) for part in folder.split("/")):
                    continue
                stem, _, ending = name.partition(".")
                if (folder, stem) != key:
                    key = (folder, stem)
                    samples.append({})
                if ending.lower() in samples[-1]:
                    raise DataError(
                        f"shard {file}: sample {len(samples) - 1} ({stem}) has two files .{ending.lower()}"
                    )
                if ending.lower() in endings:
                    samples[-1][ending.lower()] = (member.offset_data, member.size)
                if member.offset_data + member.size > size:
                    raise tarfile.ReadError("unexpected end of data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"shard {file} is truncated or no tar file: {error}") from error
    whole = [sample for sample in samples if sample]
    if whole and len(whole) < len(samples):
        left, wanted = len(samples) - len(whole), ", ".join(f".{ending}" for ending in endings)
        warnings.warn(f"shard {file}: {left} names that have none of {wanted} are no samples", stacklevel=2)
        samples = whole
    if not samples:
        raise DataError(f"shard {file} is empty: it holds no samples")
    with _open(file) as handle:
        if any(os.pread(handle.fileno(), _END, max(0, size - _END))):
            raise DataError(f"shard {file} is truncated: it lacks the mark of its end")
    for number, sample in enumerate(samples):
        for ending in endings:
            if ending not in sample:
                have = ", ".join(sample) or "none of those that are read"
                raise DataError(f"shard {file}: sample {number} has no file .{ending}; it has: {have}")
    return np.asarray([[sample[ending] for ending in endings] for sample in samples], dtype=np.int64)


def _members(handle: BinaryIO) -> Iterator[tarfile.TarInfo | None]:
    """What a tar holds, and those that were joined to it; None before each of those."""
    place = 0
    while True:
        begin = place
        with tarfile.open(fileobj=handle, mode="r:") as opened:
            for member in opened:
                opened.members = []  # type: ignore[attr-defined]  # which would keep all of them
                yield member
            place = opened.offset  # of the end that it met
        handle.seek(place)
        # Zeros fill up the last record of a tar.
        while (block := handle.read(_BLOCK)) and not any(block):
            place += _BLOCK
        if not block:
            return
        if place == begin:  # where tarfile ends without a word
            raise tarfile.ReadError(f"at byte {place} is neither a file nor its end")
        handle.seek(place)
        yield None


def _is_left(folder: str) -> bool:
    """What archives of other systems put beside the files."""
    return folder == "__MACOSX" or folder.startswith("PaxHeader")


def _reader(column: str) -> Callable[[bytes], Any]:
    """What decodes a column.

    Raises:
        DataError: nothing does; says what there is.
    """
    ending, _, entry = column.partition(":")
    last = ending.rpartition(".")[2]
    if last == "json":
        if not entry:
            raise DataError(f"column {column!r}: say which entry of the JSON object, as json:label")
        return lambda data: json.loads(data)[entry]
    if last in _READERS and not entry:
        return _READERS[last]
    why = " (it may hold code, which is never run)" if last in _REFUSED else ""
    raise DataError(f"files .{ending} cannot be read{why}; columns are {', '.join(_READERS)}, json:KEY")


def _npy(data: bytes) -> Any:
    return np.load(io.BytesIO(data), allow_pickle=False)


def _picture(data: bytes) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingDependencyError(
            "pictures need the package 'pillow'; pip install 'flowloom-warehouse[images]'"
        ) from None
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
        return np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))


def _text(data: bytes) -> str:
    return data.decode().strip()


_READERS: dict[str, Callable[[bytes], Any]] = {
    "npy": _npy,
    "jpg": _picture,
    "jpeg": _picture,
    "png": _picture,
    "webp": _picture,
    "cls": int,
    "txt": _text,
}
