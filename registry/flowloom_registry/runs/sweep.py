"""Quality against network evaluations: the same rows by several solvers of several numbers of steps."""

from __future__ import annotations

import math

import torch

from flowloom.data import Examples
from flowloom.errors import FlowloomError
from flowloom.solvers import FixedGrid, Solver
from flowloom_registry.config.example import build_component
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.chosen import require_fit
from flowloom_registry.runs.columns import Judge
from flowloom_registry.runs.drawing import drawn, drawn_again
from flowloom_registry.runs.evaluation import SweepPoint
from flowloom_registry.runs.notes import Notes
from flowloom_registry.runs.progress import progress

_ODE_SWEEP = ("euler", "midpoint", "heun")


def sweep(
    assembly: Assembly, judge: Judge, rows: Examples, few: int | None, notes: Notes
) -> list[SweepPoint]:
    """Points of all solvers; one that fails is left out with a note.

    Args:
        assembly: whose ``evaluate`` section says which solvers, and at how many evaluations.
        judge: of the samples.
        rows: under whose conditions they are drawn.
        few: see `flowloom_registry.runs.drawing.drawn`.
        notes: collects what was left out.
    """
    config = assembly.evaluate
    names = config.sweep_solvers
    if not names and assembly.flow.solver.wanted() == "velocity":
        names = _ODE_SWEEP
    if not names or not config.sweep_nfe:
        return []
    points: list[SweepPoint] = []
    cost = 1
    with notes.about("the cost of a field"), torch.no_grad():
        guided = assembly.flow.field()
        cost = guided.calls(sum(guided.span) / 2, rows.cond)
    patience = math.inf if notes.rehearsing else 0.0
    with progress("sweep", len(names) * len(config.sweep_nfe), patience=patience) as report:
        for i, name in enumerate(names):
            for j, nfe in enumerate(config.sweep_nfe):
                with notes.about(f"sweep of {name} at {nfe} evaluation{'s' * (nfe != 1)}"):
                    solver = _with_budget(assembly, name, nfe // cost)
                    if solver is not None and (not notes.rehearsing or nfe == min(config.sweep_nfe)):
                        points.append(_point(assembly, judge, name, solver, rows, few, notes))
                report(i * len(config.sweep_nfe) + j + 1, {})
    if cost > 1:
        notes.lines.append(f"guidance evaluates the network {cost} times a step; all of them count")
    return points


def _point(
    assembly: Assembly, judge: Judge, name: str, solver: Solver, rows: Examples, few: int | None, notes: Notes
) -> SweepPoint:
    first = drawn(assembly, solver, rows, few, notes)
    if notes.rehearsing:
        return SweepPoint(name, first.nfe, {})

    def draw(i: int, count: int) -> list[Examples]:
        return drawn_again(assembly, solver, rows, few, notes, i, count) if i else [first.examples]

    return SweepPoint(name, first.nfe, judge.of(draw, rows), len(rows))


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
    require_fit(solver, assembly, f"evaluate.sweep_solvers: {name}")
    return solver
