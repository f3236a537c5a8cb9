"""The tables of a run: samples, training data and a Gaussian against held-out data; scores of examples."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from flowloom.data import Dataset, Examples
from flowloom.errors import FlowloomError, IncompatibleError
from flowloom.metrics import Metric, gaussian_baseline
from flowloom.scores import Score
from flowloom.seeds import derive
from flowloom.solvers import FixedGrid, Solver
from flowloom.state import concat, leaves
from flowloom_registry.config.example import build_component
from flowloom_registry.runs.assembly import Assembly, rows_of
from flowloom_registry.runs.notes import Notes
from flowloom_registry.runs.progress import progress, walking

SAMPLES, FLOOR, BASELINE, SEEN = "samples", "held-out data", "Gaussian", "training data"
THROUGH = "through the codec"
_ODE_SWEEP = ("euler", "midpoint", "heun")


@dataclass(frozen=True)
class SweepPoint:
    """Quality at one number of evaluations.

    Args:
        solver: its name.
        nfe: network evaluations an example, as counted.
        values: metrics.
    """

    solver: str
    nfe: int
    values: dict[str, float]


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
    """

    n: int
    reference: int
    columns: dict[str, dict[str, float]]
    better: dict[str, str]
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    sweep: list[SweepPoint] = field(default_factory=list)
    nfe: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def by_column(self) -> dict[str, dict[str, float]]:
        """Metrics and scores together, for hooks and trackers."""
        return {**self.columns, **{f"flow on {name}": values for name, values in self.scores.items()}}

    def as_json(self) -> dict[str, Any]:
        """Plain data for ``evaluation.json``; values that are not finite become None."""

        def plain(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {k: plain(v) for k, v in value.items()}
            if isinstance(value, (list, tuple)):
                return [plain(v) for v in value]
            return None if isinstance(value, float) and not math.isfinite(value) else value

        result: dict[str, Any] = plain(asdict(self))
        return result


def evaluate(assembly: Assembly, notes: Notes | None = None, drawn: int | None = None) -> Evaluation:
    """Judge what was trained by its own metrics and scores; what fails is left out with a note.

    Args:
        assembly: what to judge.
        notes: collects what was left out.
        drawn: samples that are really drawn and then repeated, for a rehearsal; all where None.

    Raises:
        IncompatibleError: the recipe names neither, or has no data.
    """
    if not assembly.metrics and not assembly.scores:
        raise IncompatibleError(
            "the recipe names no metrics and no scores; add a section such as 'metrics: [energy-distance]'"
        )
    notes = notes or Notes()
    if assembly.data is None and not assembly.metrics and not any(s.of_data for s in assembly.scores):
        return _without_data(assembly, notes, drawn)
    return _Judging(assembly, notes, drawn).result()


def _without_data(assembly: Assembly, notes: Notes, drawn: int | None) -> Evaluation:
    """Scores that ask for no data, of the flow's own samples."""
    config, flow = assembly.evaluate, assembly.flow
    n = config.n if drawn is None else min(config.n, drawn)
    better: dict[str, str] = {name: way for one in assembly.scores for name, way in one.better.items()}
    values: dict[str, float] = {}
    nfe, seconds = 0, 0.0
    with notes.about("sampling"):
        began = time.perf_counter()
        solution = flow.solve(n, seed=config.seed, batch=config.batch)
        nfe, seconds = solution.nfe, time.perf_counter() - began
        for score in assembly.scores:
            with notes.about(f"score {_name(score)}"):
                values.update(score(flow, Examples(solution.x, solution.cond), seed=config.seed))
    return Evaluation(n, 0, {}, better, {SAMPLES: values}, nfe=nfe, seconds=seconds, notes=notes.lines)


class _Judging:
    """One evaluation: rows, columns, scores and sweep, each by itself."""

    def __init__(self, assembly: Assembly, notes: Notes, drawn: int | None) -> None:
        self.assembly, self.notes, self.drawn = assembly, notes, drawn
        self.config = config = assembly.evaluate
        data = assembly.require_data("metrics and scores judge against data")
        # Scores are of held-out examples: without the split there is nothing to say.
        self.held_out = data.split(config.split) if assembly.scores else assembly.held_out()
        self.seen = assembly.in_range(rows_of(data, config.reference, config.seed))
        if self.held_out is None:
            notes.lines.append(
                f"the data has no split '{config.split}'; conditions and references are training data"
            )
            self.real = assembly.in_range(rows_of(data, config.n, config.seed + 1))
            self.reference = self.seen
        else:
            self.real = assembly.in_range(rows_of(self.held_out, config.n, config.seed))
            self.reference = assembly.in_range(rows_of(self.held_out, config.reference, config.seed))
        self.metrics = [metric for metric in assembly.metrics if self._ready(data, metric)]
        self.failed: set[str] = set()

    def result(self) -> Evaluation:
        assembly, config = self.assembly, self.config
        judges: list[Metric | Score] = [*assembly.metrics, *assembly.scores]
        better: dict[str, str] = {name: way for one in judges for name, way in one.better.items()}
        scores: dict[str, dict[str, float]] = {}
        if assembly.scores:
            scores[FLOOR] = self._scored(self.real)
            scores[SEEN] = self._scored(rows_of(assembly.require_data(""), len(self.real), config.seed))
        n, size = len(self.real), len(self.reference)
        found = Evaluation(n, size, {}, better, scores, notes=self.notes.lines)
        if not assembly.metrics:
            return found
        if not assembly.flow.objective.generates:
            self.notes.lines.append("the objective trains nothing that is sampled, so metrics are left out")
            return found
        columns: dict[str, dict[str, float]] = {}
        nfe, seconds = 0, 0.0
        with self.notes.about("sampling"):
            draws, nfe, seconds = self._draw(assembly.flow.solver, self.real)
            columns[SAMPLES] = self._judged(draws, self.real, assembly.flow.solver)
        if SAMPLES not in columns and self.notes.rehearsing:
            self._judged(self.real, self.real, None)
        if self.held_out is not None:
            with self.notes.about(f"column '{SEEN}'"):
                # Any rows, not the first ones: data sets are often sorted.
                some = assembly.in_range(rows_of(assembly.require_data(""), n, config.seed + 1))
                columns[SEEN] = self._judged(some, None, None)
        if assembly.flow.codec is not None and assembly.flow.codec.lossy:
            with self.notes.about(f"column '{THROUGH}'"):
                columns[THROUGH] = self._judged(self._through_the_codec(), self.real, None)
        if config.baseline == "gaussian":
            with self.notes.about(f"column '{BASELINE}'"):
                self._add_baseline(columns)
        sweep = self._sweep()
        return Evaluation(n, size, columns, better, scores, sweep, nfe, seconds, self.notes.lines)

    def _ready(self, data: Dataset, metric: Metric) -> bool:
        """Fit a metric, once; False where it cannot be used."""
        with self.notes.about(f"metric {_name(metric)}"):
            if metric.paired and not (self.assembly.spec.conditions and self.held_out is not None):
                raise IncompatibleError(
                    "it compares samples with the truth of the same row, and there is none: samples are "
                    "drawn under no conditions of held-out rows (a view such as mask, context or noisy "
                    "makes some)"
                )
            if id(metric) not in self.assembly.fitted:
                metric.fit(data)
                self.assembly.fitted.add(id(metric))
            return True
        return False

    def _scored(self, examples: Examples) -> dict[str, float]:
        """All scores of one set of examples."""
        values: dict[str, float] = {}
        for score in self.assembly.scores:
            with self.notes.about(f"score {_name(score)}"):
                few = examples.take(torch.arange(self.drawn)) if self.drawn is not None else examples
                states = self.assembly.encode(few, self.assembly.flow.device)
                values.update(score(self.assembly.flow, states, seed=self.config.seed))
        return values

    def _judged(
        self, examples: Examples, truth: Examples | None, solver: Solver | None, many: Examples | None = None
    ) -> dict[str, float]:
        """All metrics of one column.

        Args:
            examples: what is judged.
            truth: of the same rows, where there is one; paired metrics are left out otherwise.
            solver: by which further draws are made for those that want several.
            many: such draws, where they are there already.
        """
        values: dict[str, float] = {}
        for metric in self.metrics:
            if (metric.paired and truth is None) or _name(metric) in self.failed:
                continue
            before = len(self.notes.lines)
            with self.notes.about(f"metric {_name(metric)}"):
                asked, real = examples, self.reference
                if metric.paired and truth is not None:
                    real = truth
                    asked = many if many is not None else self._several(examples, truth, metric.draws, solver)
                spec = self.assembly.spec
                values.update(metric(asked.laid_out(spec), real.laid_out(spec)))
            if len(self.notes.lines) > before:  # said once, not for every column and solver
                self.failed.add(_name(metric))
        return values

    def _several(self, first: Examples, truth: Examples, draws: int, solver: Solver | None) -> Examples:
        """All rows once, then all rows again, as a paired metric wants them."""
        if draws == 1:
            return first
        more = [first]
        for i in range(1, draws):
            more.append(first if solver is None else self._draw(solver, truth, i)[0])
        cond = {name: torch.cat([one.cond[name] for one in more]) for name in first.cond}
        return Examples(concat([one.x for one in more]), cond)

    def _draw(self, solver: Solver, real: Examples, again: int = 0) -> tuple[Examples, int, float]:
        """As many samples as real examples, under the same conditions."""
        assembly, config = self.assembly, self.config
        began = time.perf_counter()
        asked = real if self.drawn is None else real.take(torch.arange(min(self.drawn, len(real))))
        seed = config.seed if not again else derive(config.seed, "again", again)
        with walking("sampling", len(asked), config.batch) as on_step:
            cond = assembly.to_ask(asked.cond)
            solution = assembly.flow.solve(
                len(asked), solver=solver, seed=seed, batch=config.batch, cond=cond, on_step=on_step
            )
        elapsed = time.perf_counter() - began
        examples = assembly.drawn(solution, asked.cond)
        if self.notes.rehearsing and not all(bool(v.isfinite().all()) for _, v in leaves(examples.x)):
            examples = real.take(torch.arange(len(asked)))  # what untrained weights draw proves nothing
        if self.drawn is not None:
            examples = examples.take(torch.arange(len(real)) % len(asked))
        return examples, solution.nfe, elapsed

    def _through_the_codec(self) -> Examples:
        """The held-out rows encoded and decoded."""
        real = self.real if self.drawn is None else self.real.take(torch.arange(self.drawn))
        states = self.assembly.encode(real, self.assembly.flow.device)
        found = Examples(self.assembly.decode(states.x, states.cond), real.cond)
        return found if self.drawn is None else found.take(torch.arange(len(self.real)) % self.drawn)

    def _add_baseline(self, columns: dict[str, dict[str, float]]) -> None:
        assembly, real, config = self.assembly, self.real, self.config
        draws = max((metric.draws for metric in self.metrics if metric.paired), default=1)
        cond = {name: value.repeat(draws, *(1,) * (value.ndim - 1)) for name, value in real.cond.items()}
        within = assembly.class_condition()
        try:
            seen = self.seen.laid_out(assembly.spec)
            many = gaussian_baseline(seen, cond, draws * len(real), within=within, seed=config.seed)
        except IncompatibleError as error:
            self.notes.lines.append(f"no Gaussian baseline: {error}")
            return
        many = assembly.in_range(many)
        columns[BASELINE] = self._judged(many.take(torch.arange(len(real))), real, None, many)

    def _sweep(self) -> list[SweepPoint]:
        assembly, config = self.assembly, self.config
        names = config.sweep_solvers
        if not names and assembly.flow.solver.wanted() == "velocity":
            names = _ODE_SWEEP
        if not names or not config.sweep_nfe:
            return []
        rows = self.real.take(torch.arange(min(config.sweep_n, len(self.real))))
        points: list[SweepPoint] = []
        cost = 1
        with self.notes.about("the cost of a field"), torch.no_grad():
            guided = assembly.flow.field()
            cost = guided.calls(sum(guided.span) / 2, self.real.cond)
        patience = math.inf if self.notes.rehearsing else 0.0
        with progress("sweep", len(names) * len(config.sweep_nfe), patience=patience) as report:
            for i, name in enumerate(names):
                for j, nfe in enumerate(config.sweep_nfe):
                    with self.notes.about(f"sweep of {name} at {nfe} evaluations"):
                        points += self._point(name, nfe // cost, rows, nfe == min(config.sweep_nfe))
                    report(i * len(config.sweep_nfe) + j + 1, {})
        if cost > 1:
            self.notes.lines.append(f"guidance evaluates the network {cost} times a step; all of them count")
        return points

    def _point(self, name: str, calls: int, rows: Examples, first: bool) -> list[SweepPoint]:
        solver = _with_budget(self.assembly, name, calls)
        if solver is None or (self.notes.rehearsing and not first):
            return []
        drawn, spent, _ = self._draw(solver, rows)
        return [SweepPoint(name, spent, {} if self.notes.rehearsing else self._judged(drawn, rows, solver))]


def _name(part: object) -> str:
    return type(part).__name__


def _with_budget(assembly: Assembly, name: str, calls: int) -> Solver | None:
    """The solver of that name that spends about ``calls`` field calls, None where it cannot."""
    catalog = assembly.built.recipe.catalog
    trusted = assembly.built.recipe.trusted
    # The name is one of the recipe's, and obeys what it may import.
    probe = build_component(
        "solver", name, {}, catalog=catalog, place="evaluate.sweep_solvers", trusted=trusted
    )
    if not isinstance(probe, FixedGrid):
        raise FlowloomError(
            f"evaluate.sweep_solvers: {name} has no fixed number of steps; it cannot be swept"
        )
    steps = calls // probe.evaluations_per_step
    if steps < 1:
        return None
    solver: Solver = build_component("solver", name, {"steps": steps}, catalog=catalog, trusted=trusted)
    return solver
