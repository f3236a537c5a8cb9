"""Trackers: they follow a run as it goes."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flowloom.clashes import Clash, Parts
from flowloom.errors import MissingDependencyError

__all__ = ["CSVTracker", "TensorBoardTracker", "Tracker"]


class Tracker(ABC):
    """Receives what a run logs; the run's own ``metrics.jsonl`` is written with or without trackers.

    A run that was killed goes on with another object in the same folder, at the step of its last checkpoint:
    steps that were logged before may come again.

    Before training, a copy is rehearsed in a temporary folder: what breaks by itself is told then.

    Attributes:
        remote: True for one that tells a server, which would keep the rehearsal: it is not rehearsed.
    """

    remote: bool = False

    def start(self, folder: Path, recipe: str) -> None:  # noqa: B027  (optional)
        """The run begins or goes on; ``recipe`` is the resolved YAML."""

    @abstractmethod
    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line of metrics after ``step`` steps; some lines have more of them than others."""

    def finish(self, results: Mapping[str, Any]) -> None:  # noqa: B027  (optional)
        """The run is done; ``results`` holds the evaluation, by column and metric."""


class CSVTracker(Tracker):
    """Writes ``metrics.csv`` into the run folder, for spreadsheets.

    One row for each line of metrics, with ``step`` first. A metric that joins later (one of validation, say)
    gets a column at the end, empty in the rows before. Steps that come again replace what was logged of them
    and after.

    Args:
        filename: name of the file, which ends in ``.csv`` as nothing else in a run folder does.

    Raises:
        ValueError: the name is another one, or a path.
    """

    def __init__(self, filename: str = "metrics.csv") -> None:
        plain = filename == Path(filename).name and "\\" not in filename and not filename.startswith(".")
        if not plain or not filename.endswith(".csv"):
            raise ValueError(
                f"filename is that of a file in the run folder, ending in .csv; got {filename!r}"
            )
        self.filename = filename
        self._path: Path | None = None
        self._columns: list[str] = []
        self._last = -1
        self._whole = True

    def clashes(self, parts: Parts) -> Iterator[Clash]:
        """Two of them would write one file."""
        names = [one.filename for one in parts.get("trackers") or () if isinstance(one, CSVTracker)]
        if names.count(self.filename) > 1:
            said = f"several write {self.filename}; give each a 'filename:' of its own"
            yield Clash("trackers", "trackers", said)

    def start(self, folder: Path, recipe: str) -> None:
        """Remember where to write, and what stands there already."""
        self._path = folder / self.filename
        self._columns, rows = self._read()
        self._whole = not self._path.is_file() or self._path.read_bytes().endswith(b"\n")
        self._last = max((_step(row) for row in rows), default=-1)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one row; the file is written anew where a column joins or a step comes again."""
        assert self._path is not None, "start() comes first"
        row: dict[str, Any] = {"step": step, **metrics}
        columns = [*self._columns, *(name for name in row if name not in self._columns)]
        if columns != self._columns or step <= self._last or not self._whole:
            kept = [old for old in self._read()[1] if _step(old) < step]
            self._columns, self._whole = columns, True
            fresh = self._path.with_name(f"{self.filename}.partial")
            with open(fresh, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, restval="")
                writer.writeheader()
                writer.writerows([*kept, row])
            fresh.replace(self._path)
        else:
            with open(self._path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, columns, restval="").writerow(row)
        self._last = step

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        assert self._path is not None
        if not self._path.is_file():
            return [], []
        # What follows the last line break was cut short by a crash.
        lines = self._path.read_text(encoding="utf-8", errors="replace").rpartition("\n")[0].splitlines()
        reader = csv.DictReader(lines)
        rows = list(reader)
        return list(reader.fieldnames or ()), rows


def _step(row: Mapping[str, str]) -> int:
    return int(row["step"])


class TensorBoardTracker(Tracker):
    """Writes TensorBoard event files into the run folder; needs the package ``tensorboard``.

    Raises:
        MissingDependencyError: the package is not installed.
    """

    def __init__(self) -> None:
        if find_spec("tensorboard") is None:
            raise MissingDependencyError(
                "the package 'tensorboard' is not installed; pip install tensorboard"
            )

    def start(self, folder: Path, recipe: str) -> None:
        """Open the event file."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write scalars."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def finish(self, results: Mapping[str, Any]) -> None:
        """Close the event file."""
        self._writer.close()
