"""Trackers: they follow a run as it goes."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Tracker(ABC):
    """Receives what a run logs; the run's own ``metrics.jsonl`` is written with or without trackers."""

    def start(self, folder: Path, recipe: str) -> None:  # noqa: B027  (optional)
        """The run begins or goes on; ``recipe`` is the resolved YAML."""

    @abstractmethod
    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line of metrics after ``step`` steps."""

    def finish(self, results: Mapping[str, Any]) -> None:  # noqa: B027  (optional)
        """The run is done; ``results`` holds the evaluation, by column and metric."""


class CSVTracker(Tracker):
    """Writes ``metrics.csv`` into the run folder, for spreadsheets.

    Args:
        filename: name of the file.
    """

    def __init__(self, filename: str = "metrics.csv") -> None:
        self.filename = filename
        self._path: Path | None = None

    def start(self, folder: Path, recipe: str) -> None:
        """Remember where to write."""
        self._path = folder / self.filename

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one row; the header comes first."""
        assert self._path is not None, "start() comes first"
        fresh = not self._path.exists()
        with open(self._path, "a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["step", *metrics])
            writer.writerow([step, *metrics.values()])


class TensorBoardTracker(Tracker):
    """Writes TensorBoard event files into the run folder; needs the package ``tensorboard``."""

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
