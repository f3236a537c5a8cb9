"""What evaluation found, as data: tables of columns, scores, the sweep and the tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from flowloom.data import Examples
from flowloom.renderers import Figure

SAMPLES, FLOOR, SEEN, THROUGH = "samples", "held-out data", "training data", "through the codec"
UNTOUCHED = "as asked"
"""Names of columns; that of the baseline is its own (`Evaluation.baseline`)."""

Columns = dict[str, dict[str, float]]
"""Column -> metric -> value."""


@dataclass(frozen=True)
class SweepPoint:
    """Quality at one number of evaluations.

    Args:
        solver: its name.
        nfe: network evaluations an example, as counted.
        values: metrics.
        n: examples that they are of.
    """

    solver: str
    nfe: int
    values: dict[str, float]
    n: int = 0


@dataclass(frozen=True)
class Asked:
    """What a task found.

    Args:
        n: questions.
        draws: answers to each.
        columns: answers, training data and baseline, by the metrics of the task.
        better: metric -> ``lower`` or ``higher``.
        seconds: spent on one answer to every question.
        answers: the first answers, for the run folder.
        figures: asked, answered and truth, for the report.
        example: words of a command line that ask it something, and the ending of a file that it then writes.
    """

    n: int
    draws: int
    columns: Columns
    better: dict[str, str]
    seconds: float = 0.0
    answers: Examples | None = None
    figures: list[Figure] = field(default_factory=list)
    example: tuple[str, str] = ("", "")

    def as_json(self) -> dict[str, Any]:
        """Plain data; answers and figures are files of their own."""
        kept = ("n", "draws", "columns", "better", "seconds", "example")
        return {name: getattr(self, name) for name in kept}


@dataclass(frozen=True)
class Evaluation:
    """What evaluation found.

    Args:
        n: examples a column.
        reference: held-out examples that every column is compared with.
        columns: column -> metric -> value.
        better: metric or score -> ``lower`` or ``higher``.
        scores: what was scored (held-out data, training data) -> score -> value.
        sweep: quality against network evaluations.
        nfe: evaluations of the recipe's own solver.
        seconds: spent on sampling the first column.
        notes: what was left out, and why.
        tasks: what was asked, by name.
        baseline: name of the column that any flow has to beat; empty where there is none.
    """

    n: int
    reference: int
    columns: Columns
    better: dict[str, str]
    scores: Columns = field(default_factory=dict)
    sweep: list[SweepPoint] = field(default_factory=list)
    nfe: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    tasks: dict[str, Asked] = field(default_factory=dict)
    baseline: str = ""

    def by_column(self) -> Columns:
        """Metrics, scores and tasks together, for hooks and trackers."""
        said = {f"flow on {name}": values for name, values in self.scores.items()}
        asked = {
            f"{task}: {column}": values
            for task, one in self.tasks.items()
            for column, values in one.columns.items()
        }
        return {**self.columns, **said, **asked}

    def as_json(self) -> dict[str, Any]:
        """Plain data for ``evaluation.json``; values that are not finite become None."""
        given = {name: value for name, value in vars(self).items() if name != "tasks"}
        given["sweep"] = [asdict(point) for point in self.sweep]
        given["tasks"] = {name: one.as_json() for name, one in self.tasks.items()}
        result: dict[str, Any] = _plain(given)
        return result


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
