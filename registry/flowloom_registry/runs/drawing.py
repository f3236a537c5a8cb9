"""Samples for a table: under the conditions of given rows, all of them, or two repeated in a rehearsal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.seeds import derive
from flowloom.solvers import Solver
from flowloom.state import leaves
from flowloom_registry.runs.assembly import Assembly
from flowloom_registry.runs.notes import Notes
from flowloom_registry.runs.progress import walking


@dataclass(frozen=True)
class Drawn:
    """Samples, and what they cost.

    Args:
        examples: data, with their conditions.
        nfe: network evaluations of each.
        seconds: spent on all.
        otherwise: the same by other decoders than the codec's own, by their names (`Codec.compared`).
    """

    examples: Examples
    nfe: int
    seconds: float
    otherwise: Mapping[str, Examples] = field(default_factory=dict)


def drawn(
    assembly: Assembly,
    solver: Solver,
    rows: Examples,
    few: int | None,
    notes: Notes,
    again: int = 0,
    otherwise: bool = False,
) -> Drawn:
    """As many samples as rows, under their conditions.

    Args:
        assembly: whose flow draws.
        solver: by which.
        rows: whose conditions they are drawn under.
        few: how many are really drawn and then repeated; all where None.
        notes: whether this is a rehearsal.
        again: number of the draw; each has its own noise.
        otherwise: whether other decoders are asked as well.
    """
    config = assembly.evaluate
    require_told(assembly.flow, rows.cond)
    began = time.perf_counter()
    asked = rows if few is None else rows.take(torch.arange(min(few, len(rows))))
    seed = config.seed if not again else derive(config.seed, "again", again)
    with walking("sampling", len(asked), config.batch) as on_step:
        solution = assembly.flow.solve(
            len(asked),
            solver=solver,
            seed=seed,
            batch=config.batch,
            cond=assembly.to_ask(asked.cond),
            on_step=on_step,
        )
    seconds = time.perf_counter() - began

    def told(answers: Examples) -> Examples:
        return rehearsed(answers, asked, len(rows), few, notes)

    own, beside = told(assembly.drawn(solution, asked.cond)), dict[str, Examples]()
    if otherwise:
        with notes.about("what other decoders make of samples"):
            beside = {name: told(one) for name, one in assembly.otherwise(solution, asked.cond).items()}
    return Drawn(own, solution.nfe, seconds, beside)


def drawn_again(
    assembly: Assembly, solver: Solver, rows: Examples, few: int | None, notes: Notes, first: int, count: int
) -> list[Examples]:
    """Further draws of every row, in one solve.

    Args:
        assembly: whose flow draws.
        solver: by which.
        rows: whose conditions they are drawn under.
        few: as in `drawn`.
        notes: whether this is a rehearsal.
        first: number of the first of them.
        count: how many of each row.
    """
    n = len(rows)
    several = rows.take(torch.arange(n).repeat(count))
    found = drawn(assembly, solver, several, few, notes, first).examples
    return [found.take(part) for part in torch.arange(n * count).split(n)]


def require_told(flow: Flow, cond: Mapping[str, Any]) -> None:
    """Ask that nothing is left out which training never withheld: the answers would be of no law.

    Raises:
        IncompatibleError: names what is missing.
    """
    missing = flow.missing(cond)
    if missing:
        raise IncompatibleError(
            f"{flow.never_withheld(missing)}: the answers would be of no law that was learned; give it, or "
            "train with objective.condition_dropout"
        )


def rehearsed(answers: Examples, instead: Examples, n: int, few: int | None, notes: Notes) -> Examples:
    """In a rehearsal: finite answers in place of what untrained weights draw, repeated to ``n`` rows."""
    if notes.rehearsing and not all(bool(v.isfinite().all()) for _, v in leaves(answers.x)):
        answers = instead  # what untrained weights draw proves nothing
    return answers if few is None else answers.take(torch.arange(n) % len(answers))
