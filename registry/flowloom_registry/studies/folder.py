"""The folder of a study: what lies where, and what is known of each cell.

::

    study.json          name, axes and cells, as last asked for
    cells/CELL/         run folders; cells that share weights lie in one, under evaluations/CELL/
    states/CELL.json    how far the cell is, and what it was asked to be
    logs/CELL.txt       what it said
    replaced/CELL/      the run that stood there before the experiment was changed
    results.csv         one line for each cell, number of evaluations and metric
    report.html         table and figures
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flowloom.errors import RunError
from flowloom_registry.runs.folder import RunFolder, read_json, write_text
from flowloom_registry.studies.cells import Cell

FORMAT = 1
FINISHED, FAILED, UNDEFINED, ABSENT = "finished", "failed", "not defined", "not installed"
RUNNING, WAITING = "running", "waiting"


@dataclass(frozen=True)
class State:
    """What is known of a cell.

    Args:
        state: one of this module's words.
        why: of a cell that did not finish; what was left out of one that did.
        seconds: that the cell took, over all calls.
        asked: `Cell.asked` of that time.
    """

    state: str
    why: str = ""
    seconds: float = 0.0
    asked: Any = None


@dataclass(frozen=True)
class CellEntry:
    """A cell as ``study.json`` keeps it: enough to read its results without the experiment's file."""

    name: str
    labels: dict[str, str]
    seed: int
    trains: str
    by: str


@contextmanager
def _damaged(file: Path, why: str) -> Iterator[None]:
    """What a file of JSON lacks, or has too much of, is told in one line."""
    try:
        yield
    except (KeyError, TypeError) as error:
        raise RunError(f"{file} is damaged: {why}") from error


class StudyFolder:
    """One study's files.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = path / "study.json"
        self.results = path / "results.csv"
        self.report = path / "report.html"

    def begin(self, name: str, summary: str, axes: Sequence[str], cells: Sequence[Cell]) -> None:
        """Write down what the study is.

        Raises:
            RunError: the folder holds something else, or cannot be written.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; choose another folder with --out")
        found = {p.name for p in self.path.iterdir() if p.name[0] != "."} if self.path.is_dir() else set()
        if found and not self.index.is_file():
            raise RunError(
                f"{self.path} is not the folder of a study (it holds {sorted(found)[0]!r} and no "
                f"{self.index.name}); choose another folder with --out"
            )
        entries = [CellEntry(c.name, dict(c.labels), c.seed, c.trains, c.by) for c in cells]
        told = {"format": FORMAT, "name": name, "summary": summary, "axes": list(axes)}
        told["cells"] = [asdict(entry) for entry in entries]
        write_text(self.index, json.dumps(told, indent=2) + "\n")

    def entries(self) -> list[CellEntry]:
        """Its cells.

        Raises:
            RunError: it is no study, or damaged.
        """
        told = self.told()
        with _damaged(self.index, "it lists no cells"):
            return [CellEntry(**entry) for entry in told["cells"]]

    def told(self) -> dict[str, Any]:
        """What ``study.json`` says.

        Raises:
            RunError: there is none, or it is damaged or of another format.
        """
        if not self.index.is_file():
            raise RunError(f"{self.path} is not the folder of a study: it has no {self.index.name}")
        told = read_json(self.index)
        if told.get("format") != FORMAT:
            raise RunError(f"{self.index} is of another format; run the experiment again in another folder")
        if not {"name", "summary", "axes", "cells"} <= told.keys():
            raise RunError(f"{self.index} is damaged: it says not what the study is")
        return told

    def run_of(self, cell: Cell | CellEntry) -> RunFolder:
        """The run folder that holds the weights of a cell."""
        return RunFolder(self.path / "cells" / (cell.trains or cell.name))

    def runs_beside(self, cell: Cell) -> list[Path]:
        """The run folders of other cells, of earlier calls too."""
        own = self.run_of(cell).path
        folder = self.path / "cells"
        return sorted(p for p in folder.iterdir() if p != own) if folder.is_dir() else []

    def results_of(self, cell: Cell | CellEntry) -> RunFolder:
        """The same, with the evaluation of this cell."""
        run = self.run_of(cell)
        return run.beside(cell.name) if cell.trains else run

    def state_file(self, name: str) -> Path:
        """Where the state of a cell lies."""
        return self.path / "states" / f"{name}.json"

    def state(self, name: str) -> State:
        """The state of a cell; waiting where nothing is known.

        Raises:
            RunError: the file is damaged.
        """
        file = self.state_file(name)
        if not file.is_file():
            return State(WAITING)
        told = read_json(file)
        with _damaged(file, "it says no state of a cell"):
            return State(**told)

    def set_state(self, name: str, state: State) -> None:
        """Write the state of a cell."""
        write_text(self.state_file(name), json.dumps(asdict(state), indent=2) + "\n")

    def log_file(self, name: str) -> Path:
        """Where goes what a cell says.

        Raises:
            RunError: its folder cannot be made.
        """
        folder = self.path / "logs"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot create {folder}: {error.strerror or error}") from error
        return folder / f"{name}.txt"

    def set_aside(self, name: str) -> None:
        """Move a cell's run out of the way; the one that was moved before is lost.

        Raises:
            InUseError: another process is at work on it.
        """
        old, place = self.path / "cells" / name, self.path / "replaced" / name
        if old.exists():
            with ExitStack() as held:
                for run in (old, *old.glob("stages/*")):
                    held.enter_context(RunFolder(run).locked())
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(place, ignore_errors=True)
                os.replace(old, place)
