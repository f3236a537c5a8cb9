"""Reading named arrays from files: npz, npy, safetensors and csv. Nothing is unpickled."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from flowloom.errors import DataError

__all__ = ["Array", "read_arrays"]


@dataclass(frozen=True)
class Array:
    """One array of a file.

    Args:
        values: float32, int64 or bool, examples first.
        names: for a column of words, the words in order; ``values`` are then their places in it.
    """

    values: Tensor
    names: tuple[str, ...] = ()


def read_arrays(file: Path) -> dict[str, Array]:
    """Every array of a file by name; that of an npy file is called ``x``, columns without header ``0, 1,
    ...``.

    Raises:
        DataError: the file is missing, of another kind, damaged, or holds something other than numbers.
    """
    read = _READERS.get(file.suffix.lower())
    if read is None:
        raise DataError(f"{file}: files are read that end in {', '.join(_READERS)}; got {file.suffix!r}")
    if not file.is_file():
        raise DataError(f"there is no file {file}")
    try:
        return read(file)
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error


def _npz(file: Path) -> dict[str, Array]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: _array(archive[name], file, name) for name in archive.files}
    except (ValueError, BadZipFile, AttributeError) as error:
        raise DataError(f"{file} is no archive of arrays of numbers: {error}") from error


def _npy(file: Path) -> dict[str, Array]:
    try:
        return {"x": _array(np.load(file, allow_pickle=False), file, "x")}
    except ValueError as error:
        raise DataError(f"{file} is no array of numbers: {error}") from error


def _safetensors(file: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return {name: _tensor(value, file, name) for name, value in load(file.read_bytes()).items()}
    except SafetensorError as error:
        raise DataError(f"{file} is no safetensors file: {error}") from error


def _csv(file: Path) -> dict[str, Array]:
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            reader = csv.reader(lines)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is no CSV in UTF-8: {error}") from error
    if not rows:
        raise DataError(f"{file} holds nothing")
    first = rows[0][1]
    header = not all(map(_is_number, first))
    names = first if header else [str(i) for i in range(len(first))]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{file}:{rows[0][0]}: column {twice[0]!r} is there twice")
    body = rows[1:] if header else rows
    for line, row in body:
        if len(row) != len(names):
            raise DataError(f"{file}:{line}: {len(row)} cells under {len(names)} columns")
    return {name: _column(file, name, [(n, row[i]) for n, row in body]) for i, name in enumerate(names)}


def _column(file: Path, name: str, cells: Sequence[tuple[int, str]]) -> Array:
    """Whole numbers, numbers, or words."""
    number = [_is_number(cell) for _, cell in cells]
    if not any(number):
        words = tuple(sorted({cell for _, cell in cells}))
        place = {word: i for i, word in enumerate(words)}
        return Array(torch.tensor([place[cell] for _, cell in cells], dtype=torch.int64), words)
    if not all(number):
        line, cell = cells[number.index(False)]
        raise DataError(f"{file}:{line}: column {name!r} holds numbers, and {cell!r} here")
    strange = [(line, cell) for line, cell in cells if not math.isfinite(float(cell))]
    if strange:
        line, cell = strange[0]
        raise DataError(f"{file}:{line}: column {name!r} is not finite: {cell!r}")
    try:
        return Array(torch.tensor([int(cell) for _, cell in cells], dtype=torch.int64))
    except ValueError:
        return Array(torch.tensor([float(cell) for _, cell in cells], dtype=torch.float64).float())


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _array(value: np.ndarray, file: Path, name: str) -> Array:
    if value.dtype.kind not in "fiub":
        raise DataError(f"{file}: array {name!r} holds {value.dtype}; save numbers")
    if value.dtype.kind == "u" and value.dtype.itemsize == 8:
        value = value.astype(np.int64)
    # A copy in native byte order, which torch asks for.
    return _tensor(torch.from_numpy(value.astype(value.dtype.newbyteorder("="))), file, name)


def _tensor(value: Tensor, file: Path, name: str) -> Array:
    if value.is_complex():
        raise DataError(f"{file}: array {name!r} holds complex numbers; save real and imaginary parts")
    if value.ndim == 0:
        raise DataError(f"{file}: array {name!r} is a single number; the first dimension counts examples")
    if value.is_floating_point():
        return Array(value.float())
    return Array(value if value.dtype == torch.bool else value.long())


_READERS: Mapping[str, Callable[[Path], dict[str, Array]]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".safetensors": _safetensors,
    ".csv": _csv,
}
