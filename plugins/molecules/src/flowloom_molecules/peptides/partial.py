"""Partial sampling: some parts of a held-out peptide stand at their data, the others are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.metrics import Metric
from flowloom.solvers import Solver
from flowloom.state import map_state
from flowloom.tasks import Task, row_given, some_rows
from flowloom_molecules.peptides.pdb import pdb_text, sequence
from flowloom_registry.runs.folder import write_text

__all__ = ["PartialSampling"]


class PartialSampling(Task):
    """Holds whole parts of the truth at their data during all steps, whatever the flow was trained for.

    With ``pos`` and ``rot`` held a backbone gets a sequence (fixed-backbone design); with ``types`` as well,
    side chains are packed; with ``types`` alone, a sequence is folded (PepFlow, 2406.00735, section 3.4). The
    network is not told which parts are held, and sees them clean at every t.

    Args:
        parts: those held; none, and the whole peptide is drawn, where empty.
        solver: in place of the flow's own.
        metrics: judges of the answers; in a recipe, the recipe's own where none are named.
        draws: answers to every question; as many as the metrics want where None.
        name: what it is called in tables and files.
    """

    writes = (".pdb",)
    viewed = True

    def __init__(
        self,
        parts: Sequence[str] = (),
        solver: Solver | None = None,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(metrics, draws, name)
        self.parts, self.solver = tuple(parts), solver

    def pose(self, data: Dataset, n: int, generator: torch.Generator) -> tuple[Examples, Examples]:
        """Rows of which the other parts are empty, and whole.

        Raises:
            IncompatibleError: the data has no such part, or no other.
        """
        self._require_parts(data)
        return self._posed(some_rows(data, n, generator).laid_out(data.spec))

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """The same rows with the other parts drawn; those held stay bit by bit."""
        assert asked.layout is not None
        here = asked.to(flow.device)
        with torch.no_grad(), flow.evaluating():
            known = flow.encode(replace(here, layout=None)).x
        assert here.layout is not None
        layout = here.layout.holding(known)
        told = {name: value for name, value in here.cond.items() if name in flow.known_conditions()}
        solved = flow.solve(len(asked), cond=told, layout=layout, seed=seed, solver=self.solver)
        with torch.no_grad(), flow.evaluating():
            found: Any = flow.decode(Examples(solved.x, here.cond)).x
        kept = asked.layout.holding(asked.x).hold(map_state(lambda v: v.cpu(), found))
        return Examples(kept, asked.cond, asked.layout)

    def read(self, given: str, data: Dataset, n: int) -> Examples:
        """A row of the data by its number, ``n`` times.

        Raises:
            IncompatibleError: there is no such row, or the data has no such part, or no other.
        """
        self._require_parts(data)
        return self._posed(row_given(given, data, n, "partial-sampling takes").laid_out(data.spec))[0]

    def example(self, data: Dataset) -> str:
        """A row."""
        return "0"

    def show(self, answers: Examples, data: Dataset) -> list[str]:
        """The sequence of every answer."""
        return [sequence(answers, i) for i in range(len(answers))]

    def write(self, answers: Examples, data: Dataset, file: Path) -> list[Path]:
        """A PDB file for every answer: ``file``, and ``file`` with a number before its ending.

        Raises:
            IncompatibleError: another ending is asked for.
        """
        self.require_writes(file)
        written = []
        for i in range(len(answers)):
            one = file if i == 0 else file.with_stem(f"{file.stem}-{i + 1}")
            write_text(one, pdb_text(answers, i))
            written.append(one)
        return written

    def shown(self, asked: Examples) -> Examples | None:
        """Nothing: a peptide without a part is no peptide."""
        return None

    def _require_parts(self, data: Dataset) -> None:
        if not set(self.parts) < set(data.spec.parts):
            raise IncompatibleError(
                f"partial-sampling holds some of the parts {', '.join(data.spec.parts) or 'none'}, not all; "
                f"got {', '.join(self.parts) or 'none'}"
            )

    def _posed(self, rows: Examples) -> tuple[Examples, Examples]:
        x: Any = rows.x
        real: Any = (rows.layout or Layout()).real
        given = {
            name: real[name]
            if real and real.get(name) is not None
            else torch.ones(x[name].shape[:2], dtype=torch.bool)
            for name in self.parts
        }
        layout = Layout(real, given or None)
        # Nothing of the answer is left in the question; frames stay frames.
        empty = {name: v if name in given else _nothing(name, v) for name, v in x.items()}
        return Examples(empty, rows.cond, layout.holding(empty)), Examples(x, rows.cond, layout)


def _nothing(name: str, value: torch.Tensor) -> torch.Tensor:
    if name == "rot":
        return torch.eye(3, dtype=value.dtype).expand_as(value).clone()
    return torch.zeros_like(value)
