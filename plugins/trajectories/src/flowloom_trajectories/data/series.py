"""Series in a CSV file: windows in time, with what is missing."""

from __future__ import annotations

import math
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.data.arrays import read_table
from flowloom.data.files import fetch, find, folders
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec
from flowloom_trajectories.data.parts import InParts

__all__ = ["Series", "read_series"]

_MISSING = {"", "na", "nan", "null", "none", "?"}
_MOST_FILLED = 2**28
"""Values of a series whose times are mostly left out: 2 GiB."""
_HOME = "https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small"
_ETT = ("ETTh1.csv", "ETTh2.csv", "ETTm1.csv", "ETTm2.csv")


def read_series(
    file: Path, columns: list[str] | None = None, irregular: Literal["tell", "fill"] = "tell"
) -> Tensor:
    """Columns of a CSV over even times, NaN where a value is missing: float64 ``(steps, columns)``.

    Commas, tabs or semicolons stand between, whichever the header has. The first column is the time where
    its header is ``time``, ``date``, ``datetime`` or ``timestamp``. Empty cells and ``NA``, ``NaN``,
    ``null``, ``?`` are missing values.

    Args:
        file: with a header.
        columns: to read, all but the time where None.
        irregular: ``fill`` puts missing values where a time between two others is left out.

    Raises:
        DataError: names file and line of what cannot be read, of a time that stands twice or out of order,
            and of uneven times.
    """
    rows = read_table(file)
    if len(rows) < 2:
        raise DataError(f"{file} holds no series: a header and a line each time are wanted")
    header, body = rows[0][1], rows[1:]
    timed = header[0].lower() in ("time", "date", "timestamp", "datetime")
    names = header[1:] if timed else header
    if not names:
        raise DataError(f"{file}:{rows[0][0]}: there is no column beside the time")
    wanted = columns or names
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise DataError(f"{file} has no column {unknown[0]!r}; it has: {', '.join(names)}")
    twice = next((name for name in wanted if header.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{file}:{rows[0][0]}: column {twice!r} is there twice")
    places = [header.index(name) for name in wanted]
    values = np.full((len(body), len(places)), np.nan)
    for i, (line, row) in enumerate(body):
        if len(row) != len(header):
            raise DataError(f"{file}:{line}: {len(row)} cells under {len(header)} columns")
        for j, place in enumerate(places):
            values[i, j] = _value(file, line, header[place], row[place])
    if timed:
        values = _evenly(file, [(line, row[0]) for line, row in body], values, irregular)
    return torch.from_numpy(values)


class Series(InParts):
    """Windows of a long series of one or several columns; missing values are no entries at all.

    States are windows ``(length, columns)``, in standard deviations of the training part about its mean.
    Where the file misses values, the condition ``seen`` (role real) marks those that exist. What is told of a
    window is for views to say: ``context`` for forecasts, ``mask`` for imputation. Splits are parts of the
    time, one after another, and no window reaches over a border.

    Args:
        file: CSV with a header, a line each time; relative names are looked for beside the working folder and
            then in ``timeseries`` under ``$FLOWLOOM_DATA``; the four ETT files are downloaded if need be.
        length: steps of a window.
        columns: to read, all where None.
        stride: steps between two windows of training; those of other splits are ``length`` apart, or this.
        val: share of the time that is the split ``val``.
        test: share of the time, its end, that is the split ``test``.
        irregular: ``fill`` takes a time left out for missing values; ``tell`` refuses the file.

    Raises:
        DataError: on first use: the file cannot be read, or is shorter than a window.
    """

    def __init__(
        self,
        file: Path = Path("ETTh1.csv"),
        length: int = 48,
        columns: list[str] | None = None,
        stride: int = 1,
        val: float = 0.2,
        test: float = 0.2,
        irregular: Literal["tell", "fill"] = "tell",
    ) -> None:
        if length < 2 or stride < 1:
            raise DataError(f"length is at least 2 and stride at least 1, got {length} and {stride}")
        if min(val, test) <= 0 or val + test >= 1:
            raise DataError(f"val and test are positive shares with a sum below 1, got {val} and {test}")
        if columns is not None and (not columns or len(set(columns)) < len(columns)):
            raise DataError(f"columns names one at least, each once, or is left out; got {columns}")
        self.file, self.length, self.columns, self.stride = Path(file), length, columns, stride
        self.val, self.test, self.irregular = val, test, irregular

    @cached_property
    def _values(self) -> Tensor:
        place = find([Path(), *folders(None, ["timeseries"])], [str(self.file)])
        if place is None and self.file.name in _ETT:
            place = fetch(
                [f"{_HOME}/{self.file.name}"], None, folders(None, ["timeseries"])[0] / self.file.name
            )
        if place is None:
            raise DataError(f"there is no file {self.file}, here or in {folders(None, ['timeseries'])[0]}")
        return read_series(place, self.columns, self.irregular)

    @cached_property
    def _parts(self) -> dict[str, Tensor]:
        """The standardised series of each split, NaN where missing."""
        values = self._values
        steps = len(values)
        ends = [round(steps * share) for share in (1 - self.val - self.test, 1 - self.test, 1.0)]
        parts = dict(zip(("train", "val", "test"), values.tensor_split(ends[:2]), strict=True))
        shortest = min(len(part) for part in parts.values())
        if shortest < self.length:
            raise DataError(
                f"{self.file} has {steps} steps, {shortest} in its shortest split; windows of {self.length} "
                "do not fit"
            )
        seen = parts["train"].isfinite()
        count = seen.sum(0)
        if bool((count < 2).any()):
            raise DataError(f"{self.file}: column {int(count.argmin()) + 1} has no two values to learn from")
        mean = parts["train"].nan_to_num(0.0).sum(0) / count
        square = torch.where(seen, (parts["train"] - mean).square(), 0.0).sum(0) / count
        std = torch.where(square > 0, square.sqrt(), 1.0)
        return {name: ((part - mean) / std).float() for name, part in parts.items()}

    @property
    def missing(self) -> bool:
        """Whether the file misses any value."""
        return not bool(self._values.isfinite().all())

    @property
    def spec(self) -> Spec:
        """Windows ``(length, columns)``; ``seen`` where values are missing."""
        shape = (self.length, self._values.shape[1])
        told = {"seen": Condition(shape=shape, role="real")} if self.missing else {}
        return Spec(shape, conditions=told)

    def size(self, split: str) -> int:
        """Number of windows of a split."""
        return len(self.starts(split))

    def starts(self, split: str) -> Tensor:
        """First steps of the windows of a split, within its part of the time."""
        last = len(self._parts[split]) - self.length
        every = self.stride if split == "train" else max(self.stride, min(self.length, max(last // 200, 1)))
        return torch.arange(0, last + 1, every)

    def rows_of(self, split: str, rows: Tensor) -> Examples:
        """Windows of a split."""
        places = self.starts(split)[rows][:, None] + torch.arange(self.length)
        x = self._parts[split][places]
        seen = x.isfinite()
        cond = {"seen": seen} if self.missing else {}
        return Examples(torch.where(seen, x, 0.0), cond)


def _value(file: Path, line: int, name: str, cell: str) -> float:
    if cell.lower() in _MISSING:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        raise DataError(f"{file}:{line}: column {name!r} holds numbers, and {cell!r} here") from None
    if math.isinf(value):
        raise DataError(f"{file}:{line}: column {name!r} is infinite")
    return value


def _evenly(file: Path, cells: list[tuple[int, str]], values: np.ndarray, irregular: str) -> np.ndarray:
    """Values at even times."""
    seconds = np.array([_seconds(file, line, cell) for line, cell in cells])
    gaps = np.diff(seconds)
    if not len(gaps):
        return values
    for i in np.nonzero(gaps <= 0)[0][:1]:
        what = (
            "stands twice; keep one of its lines"
            if gaps[i] == 0
            else "comes before the line above it; sort the file by time"
        )
        raise DataError(f"{file}:{cells[i + 1][0]}: time {cells[i + 1][1]!r} {what}")
    step = float(np.median(gaps))
    places = (seconds - seconds[0]) / step
    whole = np.rint(places)
    for i in np.nonzero(np.abs(places - whole) > 0.01)[0][:1]:
        raise DataError(
            f"{file}:{cells[i][0]}: time {cells[i][1]!r} is off the grid of {step:g} s; resample the "
            "file evenly"
        )
    for i in np.nonzero(gaps > 1.5 * step)[0][:1]:
        if irregular == "tell":
            raise DataError(
                f"{file}:{cells[i + 1][0]}: {round(gaps[i] / step) - 1} times are left out before "
                f"{cells[i + 1][1]!r}; 'irregular: fill' takes them for missing values"
            )
    steps = int(whole[-1]) + 1
    if steps > 2 * len(values) and steps * values.shape[1] > _MOST_FILLED:
        i = int(gaps.argmax()) + 1
        raise DataError(
            f"{file}:{cells[i][0]}: {len(values)} times would be filled up to {steps:,}; is time "
            f"{cells[i][1]!r} meant?"
        )
    full = np.full((steps, values.shape[1]), np.nan)
    full[whole.astype(int)] = values
    return full


def _seconds(file: Path, line: int, cell: str) -> float:
    try:
        seconds = float(cell)
    except ValueError:
        pass
    else:
        if math.isfinite(seconds):
            return seconds
    try:
        # Naive times are an even clock; a zone would bring summer time.
        return (datetime.fromisoformat(cell).replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
    except ValueError:
        raise DataError(
            f"{file}:{line}: {cell!r} is no time; write 2016-07-01 00:00:00, or a number"
        ) from None
