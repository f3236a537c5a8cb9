"""The tables of a run: samples beside real held-out data and a Gaussian; what the flow says of held-out data."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from flowloom.data import Examples
from flowloom.errors import FlowloomError, IncompatibleError
from flowloom.metrics import Metric, gaussian_baseline
from flowloom.scores import Score
from flowloom.solvers import FixedGrid, Solver
from flowloom_registry.config.example import build_component
from flowloom_registry.runs.experiment import Experiment, rows_of
from flowloom_registry.runs.progress import progress, walking

SAMPLES, FLOOR, BASELINE, SEEN = "samples", "held-out data", "Gaussian", "training data"
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
        reference: training examples that every column is compared with.
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


def evaluate(experiment: Experiment) -> Evaluation:
    """Judge a trained experiment by its own metrics and scores.

    Raises:
        IncompatibleError: the recipe names neither.
    """
    config = experiment.evaluate
    if not experiment.metrics and not experiment.scores:
        raise IncompatibleError(
            "the recipe names no metrics and no scores; add a section such as 'metrics: [energy-distance]'"
        )
    if experiment.data is None and not experiment.metrics and not any(s.of_data for s in experiment.scores):
        return _without_data(experiment)
    data = experiment.require_data("metrics and scores judge against data")
    notes: list[str] = []
    for metric in experiment.metrics:
        metric.fit(data)
    reference = experiment.in_range(rows_of(data, config.reference, config.seed))
    # Scores are of held-out examples: without the split there is nothing to say.
    held_out = data.split(config.split) if experiment.scores else experiment.held_out()
    if held_out is None:
        notes.append(f"the data has no split '{config.split}'; conditions are taken from the training data")
        real = experiment.in_range(rows_of(data, config.n, config.seed + 1))
    else:
        real = experiment.in_range(rows_of(held_out, config.n, config.seed))
    judges: list[Metric | Score] = [*experiment.metrics, *experiment.scores]
    better: dict[str, str] = {name: way for one in judges for name, way in one.better.items()}
    scores = {}
    if experiment.scores:
        scores[FLOOR] = _scored(experiment, real)
        scores[SEEN] = _scored(experiment, rows_of(data, len(real), config.seed))
    if not experiment.metrics:
        return Evaluation(len(real), len(reference), {}, better, scores, notes=notes)
    columns: dict[str, dict[str, float]] = {}
    drawn, nfe, seconds = _draw(experiment, experiment.flow.solver, real)
    columns[SAMPLES] = judge(experiment, drawn, reference)
    if held_out is not None:
        columns[FLOOR] = judge(experiment, real, reference)
    if config.baseline == "gaussian":
        try:
            within = experiment.class_condition()
            seen = reference.laid_out(experiment.spec)
            gaussian = gaussian_baseline(seen, real.cond, len(real), within=within, seed=config.seed)
            columns[BASELINE] = judge(experiment, experiment.in_range(gaussian), reference)
        except IncompatibleError as error:
            notes.append(f"no Gaussian baseline: {error}")
    sweep = _sweep(experiment, real, reference, notes)
    return Evaluation(len(real), len(reference), columns, better, scores, sweep, nfe, seconds, notes)


def _without_data(experiment: Experiment) -> Evaluation:
    """Scores that ask for no data, of the flow's own samples."""
    config, flow = experiment.evaluate, experiment.flow
    began = time.perf_counter()
    solution = flow.solve(config.n, seed=config.seed, batch=config.batch)
    elapsed = time.perf_counter() - began
    values: dict[str, float] = {}
    for score in experiment.scores:
        values.update(score(flow, Examples(solution.x, solution.cond), seed=config.seed))
    better: dict[str, str] = {name: way for one in experiment.scores for name, way in one.better.items()}
    return Evaluation(config.n, 0, {}, better, {SAMPLES: values}, nfe=solution.nfe, seconds=elapsed)


def _scored(experiment: Experiment, examples: Examples) -> dict[str, float]:
    """All scores of one set of examples."""
    states = experiment.encode(examples, experiment.flow.device)
    values: dict[str, float] = {}
    for score in experiment.scores:
        values.update(score(experiment.flow, states, seed=experiment.evaluate.seed))
    return values


def judge(experiment: Experiment, examples: Examples, reference: Examples) -> dict[str, float]:
    """All metrics of one column."""
    values: dict[str, float] = {}
    for metric in experiment.metrics:
        values.update(metric(examples.laid_out(experiment.spec), reference.laid_out(experiment.spec)))
    return values


def _draw(experiment: Experiment, solver: Solver, real: Examples) -> tuple[Examples, int, float]:
    """As many samples as real examples, under the same conditions."""
    began = time.perf_counter()
    with walking("sampling", len(real), experiment.evaluate.batch) as on_step:
        solution = experiment.flow.solve(
            len(real),
            solver=solver,
            seed=experiment.evaluate.seed,
            batch=experiment.evaluate.batch,
            cond=real.cond,
            on_step=on_step,
        )
    elapsed = time.perf_counter() - began
    return Examples(experiment.decode(solution.x, real.cond), real.cond), solution.nfe, elapsed


def _sweep(experiment: Experiment, real: Examples, reference: Examples, notes: list[str]) -> list[SweepPoint]:
    config = experiment.evaluate
    names = config.sweep_solvers
    if not names and experiment.flow.solver.wanted() == "velocity":
        names = _ODE_SWEEP
    if not names or not config.sweep_nfe:
        return []
    rows = real.take(torch.arange(min(config.sweep_n, len(real))))
    field_cost = experiment.flow.field().calls(0.5, real.cond)
    points: list[SweepPoint] = []
    with progress("sweep", len(names) * len(config.sweep_nfe)) as report:
        for i, name in enumerate(names):
            for j, nfe in enumerate(config.sweep_nfe):
                solver = _with_budget(experiment, name, nfe // field_cost)
                if solver is not None:
                    drawn, spent, _ = _draw(experiment, solver, rows)
                    points.append(SweepPoint(name, spent, judge(experiment, drawn, reference)))
                report(i * len(config.sweep_nfe) + j + 1, {})
    if field_cost > 1:
        notes.append(f"guidance evaluates the network {field_cost} times a step; all of them count")
    return points


def _with_budget(experiment: Experiment, name: str, calls: int) -> Solver | None:
    """The solver of that name that spends about ``calls`` field calls, None where it cannot."""
    catalog, trusted = experiment.built.recipe.catalog, experiment.built.recipe.trusted
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
