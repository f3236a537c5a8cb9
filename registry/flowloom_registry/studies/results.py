"""Results of finished runs as tidy records, read from their files alone."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowloom.errors import MissingDependencyError, RunError
from flowloom_registry.config.nodes import plain
from flowloom_registry.config.yaml import read
from flowloom_registry.runs.folder import RunFolder, read_text, write_text
from flowloom_registry.runs.found import read_evaluation
from flowloom_registry.studies.folder import FINISHED, CellEntry, State, StudyFolder

SAMPLES, FLOOR, HELD_OUT = "samples", "training data", "held-out data"
RUN = "run"
"""Name of the axis where single runs are compared."""


_LEAST_ROOM = 0.05
"""Gap between floor and baseline, as a share of the larger, from which on it serves as a measure."""


@dataclass(frozen=True)
class Record:
    """One value of one cell.

    Args:
        cell: its name.
        labels: axis -> what stands there.
        seed: of the cell.
        state: of the cell; only one that finished has values.
        why: it did not finish, or what was left out.
        metric: name of the value, empty where there is none.
        value: of the cell's samples; of what a score was asked about.
        floor: of training data: what perfect samples would have.
        baseline: of what any flow has to beat: a Gaussian fitted to the training data, say.
        better: ``lower`` or ``higher``.
        solver: by which samples were drawn; empty for the recipe's own.
        evaluations: of the network, for each sample.
        own: whether it is of the recipe's own solver, and not of the sweep.
        main: whether the metric is the one to look at first.
        train_seconds: that training took, None where it is not known.
        sample_seconds: that all samples took, of the recipe's own solver.
        parameters: that were trained, None where it is not known.
        judged: by how much it was: ``200 examples against 359``, ``50 questions, 4 draws each``. Many metrics
            depend on it, so that values stand beside each other only where it is the same.
    """

    cell: str
    labels: Mapping[str, str]
    seed: int
    state: str
    why: str = ""
    metric: str = ""
    value: float | None = None
    floor: float | None = None
    baseline: float | None = None
    better: str = ""
    solver: str = ""
    evaluations: int | None = None
    own: bool = True
    main: bool = False
    train_seconds: float | None = None
    sample_seconds: float | None = None
    parameters: int | None = None
    judged: str = ""

    @property
    def quality(self) -> float | None:
        """The value between floor and baseline: 0 as training data, 1 as the baseline; less is better.

        None where the baseline is no worse than training data, or by so little that it measures nothing:
        training data of other conditions (molecules, say) may be as far from held-out data as a Gaussian.
        """
        if self.value is None or self.floor is None or self.baseline is None:
            return None
        room = self.baseline - self.floor
        worse = -room if self.better == "higher" else room
        least = _LEAST_ROOM * max(abs(self.baseline), abs(self.floor))
        return (self.value - self.floor) / room if worse > least else None

    def row(self) -> dict[str, Any]:
        """One flat line of a table."""
        told = {name: value for name, value in vars(self).items() if name != "labels"}
        head = {"cell": told.pop("cell"), **self.labels}
        return {**head, **told, "quality": self.quality}


@dataclass(frozen=True)
class Results:
    """The results of a study.

    Args:
        name: of the study.
        summary: one line about it.
        axes: names of the labels.
        records: one for each value; one without a value for a cell that has none.
    """

    name: str
    summary: str
    axes: Sequence[str]
    records: Sequence[Record]

    def rows(self) -> list[dict[str, Any]]:
        """A flat mapping for each record, all with the same keys."""
        return [record.row() for record in self.records]

    def frame(self) -> Any:
        """A tidy table (`pandas.DataFrame`): one row for each cell, number of evaluations and metric.

        Raises:
            MissingDependencyError: pandas is not installed; `rows` needs nothing.
        """
        try:
            import pandas  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError as error:
            raise MissingDependencyError(
                "a frame needs pandas; pip install 'flowloom[frames]', or take .rows(), a list of mappings"
            ) from error
        return pandas.DataFrame(self.rows())

    def csv(self) -> str:
        """The same as text."""
        rows = self.rows()
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]) if rows else ["cell"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)
        return out.getvalue()

    def write(self, folder: StudyFolder) -> None:
        """Write ``results.csv`` and ``report.html``."""
        from flowloom_registry.studies.page import page

        write_text(folder.results, self.csv())
        write_text(folder.report, page(self))

    def states(self) -> dict[str, Record]:
        """Cell -> its first record, for its state."""
        return {record.cell: record for record in reversed(self.records)}

    def ended(self, state: str) -> list[Record]:
        """Cells in that state."""
        return [record for record in self.states().values() if record.state == state][::-1]


def read_results(folder: StudyFolder) -> Results:
    """Results of a study, from its folder.

    Raises:
        RunError: it is no study, or its files are damaged.
    """
    told = folder.told()
    states = {entry.name: folder.state(entry.name) for entry in folder.entries()}
    found = {
        entry.name: of_cell(entry, states[entry.name], folder.results_of(entry)) for entry in folder.entries()
    }
    # Cells with weights of their own come first: a sweep is theirs, and others repeat it.
    known: list[tuple[str, Any, set[_Point]]] = []
    for entry in sorted(folder.entries(), key=lambda entry: bool(entry.trains)):
        weights, asked = entry.trains or entry.name, _sweeps_alike(states[entry.name])
        there = [points for w, a, points in known if (w, a) == (weights, asked)]
        found[entry.name] = [
            record
            for record in found[entry.name]
            if record.own or not any(_point(record) in points for points in there)
        ]
        known.append((weights, asked, {_point(record) for record in found[entry.name] if not record.own}))
    records = [record for entry in folder.entries() for record in found[entry.name]]
    return Results(told["name"], told["summary"], told["axes"], records)


_Point = tuple[str, int | None, str]


def _point(record: Record) -> _Point:
    return record.solver, record.evaluations, record.metric


def _sweeps_alike(state: State) -> Any:
    """What a sweep depends on: all that a cell was asked but for its solver, in whose place others stand."""
    asked = state.asked if isinstance(state.asked, dict) else {}
    return {name: value for name, value in asked.get("recipe", {}).items() if name != "solver"}


def read_runs(paths: Sequence[Path]) -> Results:
    """Results of runs side by side; those that differ in nothing but the seed stand together.

    A run of words and seed that are there already stands by itself: it is no further seed.

    Raises:
        RunError: one is no run, or did not finish.
    """
    groups: list[tuple[Any, str, set[Any]]] = []
    records: list[Record] = []
    for path in paths:
        run = RunFolder(path)
        status = run.status()
        if status["state"] != "finished":
            raise RunError(f"{path} did not finish ({status['state']}); go on with: {run.going_on()}")
        recipe = plain(read(read_text(run.recipe), str(run.recipe)).root)
        seed = recipe.pop("seed", 0)
        rest = {key: value for key, value in recipe.items() if key not in ("name", "versions")}
        found = next((one for one in groups if one[0] == rest and seed not in one[2]), None)
        if found is None:
            found = (rest, _unused(path.resolve().name, [known for _, known, _ in groups]), set())
            groups.append(found)
        label = found[1]
        found[2].add(seed)
        entry = CellEntry(str(path), {RUN: label}, seed, "", "")
        records += of_cell(entry, State(FINISHED), run)
    return Results("comparison", "", [RUN], records)


def _unused(name: str, taken: Iterable[str]) -> str:
    known, n = set(taken), 2
    while name in known:
        name, n = f"{name.rpartition(' ')[0] or name} {n}", n + 1
    return name


def of_cell(entry: CellEntry, state: State, run: RunFolder) -> list[Record]:
    """The records of one cell."""
    bare = Record(entry.name, entry.labels, entry.seed, state.state, state.why)
    if state.state != FINISHED or not run.evaluation.is_file():
        return [bare]
    told = read_evaluation(run)
    found = list(_values(bare, told, train_seconds(run, told)))
    main = _main(entry.by, found)
    own = [Record(**{**vars(record), "main": record.metric == main}) for record in found]
    return own or [bare]


def _values(bare: Record, told: Mapping[str, Any], seconds: float | None) -> Iterator[Record]:
    columns, scores, better = told.get("columns", {}), told.get("scores", {}), told.get("better", {})
    floor = columns.get(FLOOR, {})
    simple = told.get("baseline")
    baseline = columns.get(simple, {})
    base = {
        **vars(bare),
        "train_seconds": seconds,
        "sample_seconds": told.get("seconds"),
        "parameters": told.get("parameters"),
    }

    def record(metric: str, value: float | None, **more: Any) -> Record:
        ends = {
            "floor": floor.get(metric),
            "baseline": baseline.get(metric),
            "better": better.get(metric, ""),
        }
        return Record(**{**base, **ends, "metric": metric, "value": value, **more})

    def by(n: int | None) -> str:
        return f"{n} examples against {told['reference']}" if n and "reference" in told else ""

    for metric, value in columns.get(SAMPLES, {}).items():
        yield record(metric, value, evaluations=told.get("nfe"), judged=by(told.get("n")))
    for task, table in told.get("tasks", {}).items():
        columns_of = table.get("columns", {})
        posed = (
            f"{table['n']} questions, {table['draws']} draws each" if {"n", "draws"} <= table.keys() else ""
        )
        for metric, value in columns_of.get(SAMPLES, {}).items():
            ends = {
                "floor": columns_of.get(FLOOR, {}).get(metric),
                "baseline": columns_of.get(simple, {}).get(metric),
            }
            way = table.get("better", {}).get(metric, "")
            yield record(f"{task}/{metric}", value, **ends, better=way, judged=posed)
    asked = scores.get(HELD_OUT) or scores.get(SAMPLES) or {}
    for metric, value in asked.items():
        yield record(metric, value, floor=None, baseline=None)
    for point in told.get("sweep", []):
        spent, judged = {"solver": point["solver"], "evaluations": point["nfe"]}, by(point.get("n"))
        for metric, value in point["values"].items():
            yield record(metric, value, **spent, own=False, judged=judged)


def _main(by: str, found: Sequence[Record]) -> str:
    """The metric that is looked at first: the one asked for, else the first that says which way is better."""
    if by:
        return by
    judged = [record.metric for record in found if record.better and record.own]
    return next(iter(judged), found[0].metric if found else "")


def train_seconds(run: RunFolder, told: Mapping[str, Any]) -> float | None:
    """What training took, as the evaluation says; else from the examples a second that were logged."""
    known = told.get("train_seconds")
    if known is not None:
        return float(known)
    recipe = plain(read(read_text(run.recipe), str(run.recipe)).root)
    batch = (recipe.get("train") or {}).get("batch")
    seconds, last = 0.0, 0
    for line in run.read_metrics():
        if not line["step"]:
            continue  # a look before the first step
        rate = line.get("examples_per_second")
        if not (batch and rate and math.isfinite(rate)):
            return None
        seconds += (line["step"] - last) * batch / rate
        last = line["step"]
    return round(seconds, 2) if last else None
