"""Judging a run: samples, training data and a baseline against held-out data; scores, tasks and a sweep."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom.scores import Score
from flowloom_registry.runs.ask import ask_all
from flowloom_registry.runs.assembly import Assembly, rows_of
from flowloom_registry.runs.baseline import baseline, rules
from flowloom_registry.runs.columns import Judge, named, same
from flowloom_registry.runs.drawing import drawn, drawn_again
from flowloom_registry.runs.evaluation import FLOOR, SAMPLES, SEEN, THROUGH, Columns, Evaluation
from flowloom_registry.runs.notes import Notes
from flowloom_registry.runs.sweep import sweep
from flowloom_registry.runs.through import through_the_codec
from flowloom_registry.runs.values import named_values


def evaluate(assembly: Assembly, notes: Notes | None = None, few: int | None = None) -> Evaluation:
    """Judge what was trained by its own metrics, scores and tasks; what fails is left out with a note.

    Args:
        assembly: what to judge.
        notes: collects what was left out.
        few: samples that are really drawn and then repeated, for a rehearsal; all where None.

    Raises:
        IncompatibleError: the recipe names none of them, or has no data.
    """
    if not assembly.judged:
        raise IncompatibleError(
            "the recipe names no metrics, scores or tasks; add a section such as 'metrics: [energy-distance]'"
        )
    notes = notes or Notes()
    asks_data = assembly.metrics or assembly.tasks or any(score.of_data for score in assembly.scores)
    if assembly.data is None and not asks_data:
        return _without_data(assembly, notes, few)
    return _Judging(assembly, notes, few).result()


def _without_data(assembly: Assembly, notes: Notes, few: int | None) -> Evaluation:
    """Scores that ask for no data, of the flow's own samples."""
    config, flow = assembly.evaluate, assembly.flow
    n = config.n if few is None else min(config.n, few)
    better: dict[str, str] = {name: way for one in assembly.scores for name, way in one.better.items()}
    values: dict[str, float] = {}
    nfe, seconds = 0, 0.0
    with notes.about("sampling"):
        began = time.perf_counter()
        solution = flow.solve(n, seed=config.seed, batch=config.batch)
        nfe, seconds = solution.nfe, time.perf_counter() - began
        for score in assembly.scores:
            with notes.about(f"score {named(score)}"):
                found = score(flow, Examples(solution.x, solution.cond), seed=config.seed)
                values.update(named_values(found))
    return Evaluation(n, 0, {}, better, {SAMPLES: values}, nfe=nfe, seconds=seconds, notes=notes.lines)


class _Judging:
    """One evaluation: rows, columns, scores, sweep and tasks, each by itself."""

    def __init__(self, assembly: Assembly, notes: Notes, few: int | None) -> None:
        self.assembly, self.notes, self.few = assembly, notes, few
        self.config = config = assembly.evaluate
        self.data = assembly.require_data("metrics, scores and tasks judge against data")
        # Scores are of held-out examples: without the split there is nothing to say.
        self.held_out: Dataset | None = (
            self.data.split(config.split) if assembly.scores else assembly.held_out()
        )
        self.seen = assembly.in_range(rows_of(self.data, config.reference, config.seed))
        if self.held_out is None:
            notes.lines.append(
                f"the data has no split '{config.split}'; conditions and references are training data"
            )
            self.real = assembly.in_range(rows_of(self.data, config.n, config.seed + 1))
            self.reference = self.seen
        else:
            self.real = assembly.in_range(rows_of(self.held_out, config.n, config.seed))
            self.reference = assembly.in_range(rows_of(self.held_out, config.reference, config.seed))

    def result(self) -> Evaluation:
        assembly, notes = self.assembly, self.notes
        judges: list[Metric | Score] = [*assembly.metrics, *assembly.scores]
        better: dict[str, str] = {name: way for one in judges for name, way in one.better.items()}
        n, size = len(self.real), len(self.reference)
        scores = self._scores()
        if not assembly.flow.objective.generates:
            if assembly.metrics or assembly.tasks:
                notes.lines.append(
                    "the objective trains nothing that is sampled, so metrics and tasks are left out"
                )
            return Evaluation(n, size, {}, better, scores, notes=notes.lines)
        found = Evaluation(n, size, {}, better, scores, notes=notes.lines)
        if assembly.metrics:
            found = self._compared(found)
        tasks = ask_all(assembly, self.held_out, self.seen, self.few, notes)
        return replace(found, tasks=tasks)

    def _compared(self, found: Evaluation) -> Evaluation:
        """The columns and the sweep."""
        assembly, config, notes, real = self.assembly, self.config, self.notes, self.real
        paired = bool(assembly.spec.conditions) and self.held_out is not None
        judge = Judge(assembly, assembly.metrics, self.reference, paired, notes)
        columns: Columns = {}
        nfe, seconds, name = 0, 0.0, ""
        solver = assembly.flow.solver
        with notes.about("sampling"):
            first = drawn(assembly, solver, real, self.few, notes, otherwise=True)
            nfe, seconds = first.nfe, first.seconds

            def draw(i: int, count: int) -> list[Examples]:
                if not i:
                    return [first.examples]
                return drawn_again(assembly, solver, real, self.few, notes, i, count)

            columns[SAMPLES] = judge.of(draw, real)
            for other, same_drawn in first.otherwise.items():
                columns[f"{SAMPLES} through {other}"] = judge.of(same(same_drawn), real, 1)
        if SAMPLES not in columns and notes.rehearsing:
            judge.of(same(real), real)
        if self.held_out is not None:
            with notes.about(f"column '{SEEN}'"):
                trained = judge.of_training(real, config.seed + 1)
                if trained is not None:
                    columns[SEEN] = trained
        with notes.about(f"column '{THROUGH}'"):
            for column, kept in through_the_codec(assembly, real, self.few, notes).items():
                columns[column] = judge.of(same(kept), real, 1)
        with notes.about("the baseline"):
            simple = baseline(assembly, self.seen, real, judge.draws, notes)
            if simple is not None:
                name, others = simple
                columns[name] = judge.of(lambda i, count: others[i : i + count], real)
        for other, rule in rules(assembly, real, notes).items():
            columns[other] = judge.of(rule, real)
        judge.explain(columns)
        rows = real.take(real.evenly(config.sweep_n))
        points = sweep(assembly, judge, rows, self.few, notes)
        return replace(found, columns=columns, sweep=points, nfe=nfe, seconds=seconds, baseline=name)

    def _scores(self) -> Columns:
        if not self.assembly.scores:
            return {}
        # What looks at no examples would say the same of training data, as slowly.
        of_data = [score for score in self.assembly.scores if score.of_data]
        if not of_data:
            return {SAMPLES: self._scored(self.real, self.assembly.scores)}
        same = rows_of(self.data, len(self.real), self.config.seed)
        return {FLOOR: self._scored(self.real, self.assembly.scores), SEEN: self._scored(same, of_data)}

    def _scored(self, examples: Examples, scores: Sequence[Score]) -> dict[str, float]:
        """Scores of one set of examples."""
        values: dict[str, float] = {}
        for score in scores:
            with self.notes.about(f"score {named(score)}"):
                few = len(examples) if self.few is None else min(self.few, len(examples))
                some = examples.take(torch.arange(few))
                states = self.assembly.encode(some, self.assembly.flow.device)
                found = score(self.assembly.flow, states, seed=self.config.seed)
                values.update(named_values(found))
        return values
