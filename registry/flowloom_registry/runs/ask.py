"""Tasks of a run: questions on held-out rows, answers of the flow and of the baseline, the truth."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import torch

from flowloom.data import Dataset, Examples
from flowloom.errors import FlowloomError, IncompatibleError
from flowloom.renderers import Figure
from flowloom.seeds import derive, generator
from flowloom.tasks import Task
from flowloom_registry.config.plan import ComponentPlan
from flowloom_registry.numbered import numbered
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.baseline import baseline, rules
from flowloom_registry.runs.columns import Judge, joined, same
from flowloom_registry.runs.drawing import rehearsed
from flowloom_registry.runs.evaluation import SAMPLES, SEEN, THROUGH, UNTOUCHED, Asked, Columns
from flowloom_registry.runs.notes import Notes
from flowloom_registry.runs.through import truth_through_the_codec


def ask_all(
    assembly: Assembly, held_out: Dataset | None, seen: Examples, few: int | None, notes: Notes
) -> dict[str, Asked]:
    """What every task of the recipe found; what fails is left out with a note.

    Args:
        assembly: whose tasks.
        held_out: rows that are asked about.
        seen: training examples.
        few: how many questions are really asked in a rehearsal; all where None.
        notes: collects what was left out.
    """
    found: dict[str, Asked] = {}
    for name, task in names(assembly).items():
        with notes.about(f"task {name}"):
            if held_out is None:
                raise IncompatibleError(
                    f"it asks about held-out rows, and the data has no split '{assembly.evaluate.split}'"
                )
            found[name] = _Asking(assembly, name, task, few, notes).result(held_out, seen)
    return found


def names(assembly: Assembly) -> Mapping[str, Task]:
    """Tasks by the name they give themselves, else that of their component; see `numbered`."""

    def called(task: Task) -> str:
        plan = assembly.built.places.plan_of(task)
        assert isinstance(plan, ComponentPlan)
        return task.name or plan.row.name

    return dict(zip(numbered(map(called, assembly.tasks)), assembly.tasks, strict=True))


class _Asking:
    """One task: its questions, its answers and its table."""

    def __init__(self, assembly: Assembly, name: str, task: Task, few: int | None, notes: Notes) -> None:
        self.assembly, self.name, self.task, self.few, self.notes = assembly, name, task, few, notes

    def result(self, held_out: Dataset, seen: Examples) -> Asked:
        assembly, config, task = self.assembly, self.assembly.evaluate, self.task
        draws = generator(config.seed, f"task/{self.name}")
        asked, truth = task.pose(held_out, config.questions, draws)
        if len(asked) != len(truth):
            raise IncompatibleError(f"it poses {len(asked)} questions, and knows the truth of {len(truth)}")
        judge = Judge(assembly, task.metrics, truth, True, self.notes, f"task {self.name}: ")
        began = time.perf_counter()
        first = self._answered(asked, truth, 0)
        seconds = time.perf_counter() - began
        columns: Columns = {}

        def answer(i: int, count: int) -> list[Examples]:
            if not i or self.few is not None:
                return [first] * count
            return self._again(asked, truth, i, count)

        columns[SAMPLES] = judge.of(answer, truth, task.draws)
        if judge.sets:
            trained = judge.of_training(truth, config.seed + 1)
            if trained is not None:
                columns[SEEN] = trained
        with self.notes.about(f"task {self.name}: column '{UNTOUCHED}'"):
            unanswered = task.untouched(asked)
            if unanswered is not None:
                columns[UNTOUCHED] = judge.of(same(unanswered), truth, task.draws)
        with self.notes.about(f"task {self.name}: column '{THROUGH}'"):
            kept = truth_through_the_codec(assembly, truth, self.few) if task.exact else None
            if kept is not None:
                columns[THROUGH] = judge.of(same(kept), truth, task.draws)
        with self.notes.about(f"task {self.name}: the baseline"):
            simple = baseline(assembly, seen, asked, task.draws, self.notes)
            if simple is not None:
                column, others = simple
                columns[column] = judge.of(lambda i, count: others[i : i + count], truth, task.draws)
        for column, rule in rules(assembly, asked, self.notes, truth.layout).items():
            columns[column] = judge.of(rule, truth, task.draws)
        judge.explain(columns)
        better: dict[str, str] = {name: way for metric in task.metrics for name, way in metric.better.items()}
        figures = self._figures(asked, first, truth)
        return Asked(
            len(truth), task.draws, columns, better, seconds, first, figures, self._example(held_out)
        )

    def _example(self, viewed: Dataset) -> tuple[str, str]:
        """Words that ask this task something, and the kind of file that answers it, for the report."""
        data = viewed if self.task.viewed else self.assembly.built["data"].split(self.assembly.evaluate.split)
        try:
            words = self.task.example(data)
            self.task.read(words, data, 1)
        except FlowloomError:  # nothing is amiss where such data cannot be asked about in words
            return "", ""
        # A command line would take these for an option, or show what nobody can type.
        if words.startswith("-") or not words.isprintable():
            return "", ""
        return words, next(iter(self.task.writes), "")

    def _answered(self, asked: Examples, truth: Examples, draw: int) -> Examples:
        """One answer to every question, with the layout that the truth has."""
        few = asked if self.few is None else asked.take(torch.arange(min(self.few, len(asked))))
        seed = derive(self.assembly.evaluate.seed, f"task/{self.name}/answer", draw)
        answers = self.task(self.assembly.flow, few, seed=seed)
        if len(answers) != len(few):
            raise IncompatibleError(f"it gives {len(answers)} answers to {len(few)} questions")
        instead = truth.take(torch.arange(len(few)))
        answers = self.assembly.as_answered(answers, instead.layout)
        return rehearsed(answers, instead, len(truth), self.few, self.notes)

    def _again(self, asked: Examples, truth: Examples, first: int, count: int) -> list[Examples]:
        """Further answers to every question, as many at once as a batch holds."""
        n, found = len(asked), list[Examples]()
        at_once = max(1, self.assembly.evaluate.batch // max(n, 1))
        for i in range(first, first + count, at_once):
            rows = torch.arange(n).repeat(min(at_once, first + count - i))
            answers = self._answered(asked.take(rows), truth.take(rows), i)
            found += [answers.take(part) for part in torch.arange(len(rows)).split(n)]
        return found

    def _figures(self, asked: Examples, answers: Examples, truth: Examples) -> list[Figure]:
        renderer = self.assembly.renderer
        if renderer is None:
            return []
        spec, n = self.assembly.spec, torch.arange(min(self.assembly.sample.n, len(truth)))
        figures: list[Figure] = []
        with self.notes.about(f"task {self.name}: showing answers"):
            shown = self.task.shown(asked)
            sides = [
                None if one is None else one.take(n).with_layout(spec) for one in (shown, answers, truth)
            ]
            assert sides[1] is not None
            assert sides[2] is not None
            if renderer.draws > 1 and self.few is None:
                more = self._again(asked.take(n), truth.take(n), 1, renderer.draws - 1)
                sides[1] = joined([sides[1], *more])
            figures = renderer.answers(sides[0], sides[1], sides[2])
        return [replace(figure, title=f"Task {self.name}: {figure.title}") for figure in figures]
