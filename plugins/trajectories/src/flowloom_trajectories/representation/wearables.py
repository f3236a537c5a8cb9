"""Recordings of wearables: subject, activity, time and three axes, a line each."""

from __future__ import annotations

import math
import tarfile
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.data.files import fetch, find, folders
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec
from flowloom_registry.runs.folder import write_bytes
from flowloom_trajectories.data.parts import InParts

__all__ = ["Recording", "Wearables", "read_recordings"]

_Damaged = Literal["tell", "skip"]
_WISDM = "WISDM_ar_v1.1_raw.txt"
_HOME = "https://www.cis.fordham.edu/wisdm/includes/datasets/latest/WISDM_ar_latest.tar.gz"


@dataclass(frozen=True)
class Recording:
    """A stretch of one activity of one subject without a gap.

    Args:
        subject: as the file calls them.
        activity: as the file calls it.
        values: ``(steps, 3)``.
    """

    subject: str
    activity: str
    values: Tensor


def read_recordings(file: Path, damaged: _Damaged = "tell") -> list[Recording]:
    """Read lines of ``subject, activity, time, x, y, z``, as WISDM has them.

    Commas, tabs or blanks stand between, a semicolon may end a line, lines may come in any order, and a line
    without numbers at the top is a header. A recording ends where subject or activity change, and where more
    than one and a half of the usual time between two lines passes.

    Args:
        file: to read.
        damaged: ``tell`` refuses a file with a line that is something else, or stands at the same time of the
            same subject twice; ``skip`` leaves such lines out (some of WISDM's are).

    Raises:
        DataError: names file and line of what cannot be read; or no line can.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {file}: {error}") from error
    rows: list[tuple[str, float, str, tuple[float, ...]]] = []
    seen: dict[tuple[str, float], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.replace(",", " ").replace(";", " ").split()
        if not cells or (not rows and not any(math.isfinite(_number(cell)) for cell in cells)):
            continue
        wrong = _wrong(cells)
        if not wrong:
            before = seen.setdefault((cells[0], float(cells[2])), number)
            if before != number:
                wrong = f"subject {cells[0]} stands at time {cells[2]} twice, first in line {before}"
        if wrong and damaged == "tell":
            raise DataError(f"{file}:{number}: {wrong}; 'damaged: skip' leaves such lines out")
        if not wrong:
            rows.append((cells[0], float(cells[2]), cells[1], tuple(map(float, cells[3:]))))
    if not rows:
        raise DataError(f"{file} holds no line of subject, activity, time, x, y and z")
    rows.sort(key=lambda row: row[:2])
    return _stretches(rows)


class Wearables(InParts):
    """Windows of an accelerometer in files of ``subject, activity, time, x, y, z``, split by subject.

    States are windows ``(length, 3)`` in standard deviations of each axis about its mean, both of the
    training subjects. ``activity`` has the role ``judged`` unless ``labelled``.

    Args:
        files: relative names are looked for beside the working folder and in ``wearables`` under
            ``$FLOWLOOM_DATA``; ``WISDM_ar_v1.1_raw.txt`` is downloaded if need be.
        length: steps of a window.
        stride: steps between the beginnings of two.
        val: share of the subjects that are the split ``val``.
        test: share of the subjects that are the split ``test``.
        damaged: see `read_recordings`.
        labelled: whether networks may be told the activity.

    Raises:
        DataError: on first use: a file is missing or damaged, or has too few subjects, or no recording is as
            long as a window.
    """

    def __init__(
        self,
        files: list[Path],
        length: int = 100,
        stride: int = 50,
        val: float = 0.1,
        test: float = 0.3,
        damaged: _Damaged = "tell",
        labelled: bool = False,
    ) -> None:
        if length < 2 or stride < 1 or not files:
            raise DataError(
                f"length is at least 2, stride at least 1, and there is a file; got {length}, {stride} and "
                f"{len(files)} files"
            )
        if min(val, test) <= 0 or val + test >= 1:
            raise DataError(f"val and test are positive shares with a sum below 1, got {val} and {test}")
        self.files, self.length, self.stride = [Path(file) for file in files], length, stride
        self.val, self.test, self.damaged, self.labelled = val, test, damaged, labelled

    @cached_property
    def _recordings(self) -> list[Recording]:
        found: list[Recording] = []
        places = [Path(), *folders(None, ["wearables"])]
        for file in self.files:
            place = find(places, [str(file)])
            if place is None and file.name == _WISDM:
                place = _wisdm(places[1])
            if place is None:
                raise DataError(f"there is no file {file}, here or in {places[1]}")
            found += read_recordings(place, self.damaged)
        return found

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(sorted({one.activity for one in self._recordings}))

    @cached_property
    def _parts(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Windows and activities of every split."""
        subjects = sorted({one.subject for one in self._recordings}, key=lambda name: (len(name), name))
        count = len(subjects)
        held, kept = max(1, round(self.test * count)), max(1, round(self.val * count))
        if count - held - kept < 1:
            raise DataError(f"splits are of different subjects, at least 3; there are: {', '.join(subjects)}")
        of = dict.fromkeys(subjects, "train") | dict.fromkeys(subjects[-held - kept :], "val")
        of |= dict.fromkeys(subjects[-held:], "test")
        parts: dict[str, list[tuple[Tensor, Tensor]]] = {"train": [], "val": [], "test": []}
        for one in self._recordings:
            if len(one.values) >= self.length:
                cut = one.values.unfold(0, self.length, self.stride).transpose(1, 2)
                parts[of[one.subject]].append((cut, torch.full((len(cut),), self._names.index(one.activity))))
        for name, some in parts.items():
            if not some:
                longest = max(
                    (len(one.values) for one in self._recordings if of[one.subject] == name), default=0
                )
                raise DataError(
                    f"no recording of the split {name} has {self.length} steps without a gap; the longest "
                    f"has {longest}"
                )
        joined = {name: tuple(map(torch.cat, zip(*some, strict=True))) for name, some in parts.items()}
        seen = joined["train"][0].flatten(0, 1)
        mean, std = seen.mean(0), seen.std(0)
        std = torch.where(std > 0, std, torch.ones_like(std))
        return {name: (((x - mean) / std).float(), label) for name, (x, label) in joined.items()}

    @property
    def spec(self) -> Spec:
        """Windows, and what was done."""
        role: Literal["inform", "judged"] = "inform" if self.labelled else "judged"
        return Spec(
            (self.length, 3),
            conditions={"activity": Condition(len(self._names), names=self._names, role=role)},
        )

    def size(self, split: str) -> int:
        """Number of windows of a split."""
        return len(self._parts[split][1])

    def rows_of(self, split: str, rows: Tensor) -> Examples:
        """Windows of a split."""
        x, activity = self._parts[split]
        return Examples(x[rows], {"activity": activity[rows]})


def _wisdm(folder: Path) -> Path:
    """The recordings of WISDM, taken out of the archive at their home."""
    archive, target = fetch([_HOME], None, folder / _HOME.rpartition("/")[2]), folder / _WISDM
    try:
        with tarfile.open(archive) as tar:
            held = next((one for one in tar if one.isfile() and Path(one.name).name == _WISDM), None)
            content = tar.extractfile(held) if held is not None else None
            if content is None:
                raise DataError(f"{archive} does not hold {_WISDM}")
            write_bytes(target, content.read())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"cannot read {archive}: {error}; delete it, and it is downloaded again") from error
    return target


def _stretches(rows: list[tuple[str, float, str, tuple[float, ...]]]) -> list[Recording]:
    times = np.array([row[1] for row in rows])
    same = [a[0] == b[0] and a[2] == b[2] for a, b in pairwise(rows)]
    gaps = np.diff(times)
    usual = float(np.median(gaps[same])) if any(same) else 0.0
    ends = [i + 1 for i, alike in enumerate(same) if not alike or gaps[i] > 1.5 * usual]
    found = []
    for first, last in zip([0, *ends], [*ends, len(rows)], strict=True):
        values = torch.tensor([row[3] for row in rows[first:last]], dtype=torch.float64)
        found.append(Recording(rows[first][0], rows[first][2], values))
    return found


def _wrong(cells: list[str]) -> str:
    """What is wrong with a line, nothing where it is right."""
    if len(cells) != 6:
        return f"{len(cells)} values; a line holds subject, activity, time, x, y and z"
    if math.isfinite(_number(cells[1])):
        return f"activity is {cells[1]!r}; it takes a word"
    for name, cell in zip(("time", "x", "y", "z"), cells[2:], strict=True):
        if not math.isfinite(_number(cell)):
            return f"{name} is {cell!r}; it takes a number"
    return ""


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
