"""Reading named arrays from files: npz, npy, safetensors and csv. Nothing is unpickled."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowloom.errors import DataError

__all__ = ["Array", "read_arrays", "read_numpy", "read_table"]


@dataclass(frozen=True)
class Array:
    """One array of a file.

    Args:
        values: float32, int64 or bool, examples first.
        names: for a column of words, the words in order; ``values`` are then their places in it.
        lines: for a column of a table, the line of its file that each value stands in.
    """

    values: Tensor
    names: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()

    def place(self, file: Path, row: int) -> str:
        """Where a value stands, for a message about it."""
        return f"{file}:{self.lines[row]}" if self.lines else f"{file}, row {row}"


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


def read_numpy(file: Path) -> dict[str, np.ndarray]:
    """Arrays of an npz file by name; that of an npy file is called ``x``.

    Raises:
        DataError: the file is damaged, holds something else than arrays, or would have to be unpickled.
        OSError: it cannot be read.
    """
    archive = file.suffix.lower() == ".npz"
    kind = "archive of arrays of numbers" if archive else "array of numbers"
    try:
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.lib.npyio.NpzFile):
            with found:
                arrays = {name: found[name] for name in found.files}
        else:
            arrays = {"x": found}
    except OSError:
        raise
    except Exception as error:  # numpy raises whatever its parsers, and those of archives, do
        line = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{file} is no {kind}: {line}") from error
    if archive != isinstance(found, np.lib.npyio.NpzFile):
        raise DataError(f"{file} is no {kind}: it is one of the other kind, so name it {_OTHER[archive]}")
    for name, value in arrays.items():
        if not isinstance(value, np.ndarray):
            raise DataError(f"{file} is no {kind}: {name!r} in it is no array")
    return arrays


def _numpy(file: Path) -> dict[str, Array]:
    return {name: _array(value, file, name) for name, value in read_numpy(file).items()}


def _safetensors(file: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return {name: _tensor(value, file, name) for name, value in load(file.read_bytes()).items()}
    except SafetensorError as error:
        raise DataError(f"{file} is no safetensors file: {error}") from error


def read_table(file: Path) -> list[tuple[int, list[str]]]:
    """Rows of a CSV file with the line in which each ends, blank lines left out; cells are stripped.

    Between cells stand commas, tabs or semicolons: those of which the first line has most.

    Args:
        file: to read.

    Raises:
        DataError: it cannot be read, or is no CSV in UTF-8.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            delimiter = max(",\t;", key=lines.readline().count)
            lines.seek(0)
            reader = csv.reader(lines, delimiter=delimiter)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is no CSV in UTF-8: {error}") from error
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error
    # Spreadsheets leave rows of empty cells about a table; one between others is a row that lacks its values.
    full = [i for i, (_, row) in enumerate(rows) if any(row)]
    return rows[full[0] : full[-1] + 1] if full else []


def _csv(file: Path) -> dict[str, Array]:
    rows = read_table(file)
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
        if not any(row):
            raise DataError(f"{file}:{line}: every cell is empty")
    lines = tuple(line for line, _ in body)
    return {name: _column(file, name, lines, [row[i] for _, row in body]) for i, name in enumerate(names)}


def _column(file: Path, name: str, lines: tuple[int, ...], cells: Sequence[str]) -> Array:
    """Whole numbers, numbers, or words."""
    number = [_is_number(cell) for cell in cells]
    if not any(number):
        words = tuple(sorted(set(cells)))
        place = {word: i for i, word in enumerate(words)}
        return Array(torch.tensor([place[cell] for cell in cells], dtype=torch.int64), words, lines)
    if not all(number):
        row = number.index(False)
        raise DataError(f"{file}:{lines[row]}: column {name!r} holds numbers, and {cells[row]!r} here")
    for line, cell in zip(lines, cells, strict=True):
        if not math.isfinite(float(cell)):
            raise DataError(f"{file}:{line}: column {name!r} is not finite: {cell!r}")
    try:
        whole = [int(cell) for cell in cells]
    except ValueError:
        whole = []
    if whole and min(whole) >= -(2**63) and max(whole) < 2**63:
        return Array(torch.tensor(whole, dtype=torch.int64), lines=lines)
    values = torch.tensor([float(cell) for cell in cells], dtype=torch.float64).float()
    for row in (~values.isfinite()).nonzero().flatten().tolist()[:1]:
        raise DataError(
            f"{file}:{lines[row]}: column {name!r} is beyond the range of float32: {cells[row]!r}"
        )
    return Array(values, lines=lines)


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
        if value.size and int(value.max()) >= 2**63:
            raise DataError(f"{file}: array {name!r} holds {value.max()}, beyond the range of int64")
        value = value.astype(np.int64)
    if value.dtype.kind == "f" and value.dtype.itemsize > 8:  # which torch does not know
        value = value.astype(np.float64)
    # A copy in native byte order, which torch asks for.
    return _tensor(torch.from_numpy(value.astype(value.dtype.newbyteorder("="))), file, name)


def _tensor(value: Tensor, file: Path, name: str) -> Array:
    if value.is_complex():
        raise DataError(f"{file}: array {name!r} holds complex numbers; save real and imaginary parts")
    if value.ndim == 0:
        raise DataError(f"{file}: array {name!r} is a single number; the first dimension counts examples")
    if value.is_floating_point():
        return Array(_float32(value, file, name))
    return Array(value if value.dtype == torch.bool else value.long())


def _float32(value: Tensor, file: Path, name: str) -> Tensor:
    """What is not finite already is told where it is learned from: it may stand in padding."""
    small = value.float()
    lost = small.isinf() & value.isfinite()
    if bool(lost.any()):
        first = value[lost][0].item()
        raise DataError(f"{file}: array {name!r} holds {first:g}, beyond the range of float32")
    return small


_OTHER = {True: ".npy", False: ".npz"}
_READERS: Mapping[str, Callable[[Path], dict[str, Array]]] = {
    ".npz": _numpy,
    ".npy": _numpy,
    ".safetensors": _safetensors,
    ".csv": _csv,
}
