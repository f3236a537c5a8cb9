"""Filling holes: some entries of a held-out row are given, the others are to be made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from flowloom.data.base import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.metrics import Metric
from flowloom.solvers import Solver
from flowloom.spec import Spec
from flowloom.tasks.base import Task, row_given, some_rows
from flowloom.tasks.complete import completed
from flowloom.views import Mask, View, through
from flowloom.views.base import spec_through

__all__ = ["Inpaint"]


class Inpaint(Task):
    """Shows held-out rows with holes, of any kind of state, and asks for what stood there.

    Flows that were trained with given entries are told of them; others answer by replacement (see
    `flowloom.tasks.completed`).

    Args:
        holes: views that say what is given, in place of the recipe's own (``[{use: mask, prefix: 1}]``,
            ``[hole]`` of images). Where neither has any, half of the entries of every part, at random.
        solver: in place of the flow's own.
        metrics: judges of the answers; in a recipe, the recipe's own where none are named.
        draws: answers to every question; as many as the metrics want where None.
        name: what it is called in tables and files.
    """

    viewed: ClassVar[bool] = True

    def __init__(
        self,
        holes: Sequence[View] = (),
        solver: Solver | None = None,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(metrics, draws, name)
        self.holes, self.solver = tuple(holes), solver

    def pose(self, data: Dataset, n: int, generator: torch.Generator) -> tuple[Examples, Examples]:
        """Rows with their holes empty, and whole.

        Raises:
            IncompatibleError: a view of ``holes`` cannot be taken, or gives nothing.
        """
        return self._posed(some_rows(data, n, generator), data.spec, generator)

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """The same rows filled; what was given stays as it came.

        Raises:
            IncompatibleError: nothing is marked as given, or a codec moves entries.
        """
        if asked.layout is None:
            asked = asked.laid_out(flow.spec if flow.codec is None else flow.codec.data_spec)
        return completed(flow, asked, seed=seed, solver=self.solver)

    def read(self, given: str, data: Dataset, n: int) -> Examples:
        """A row of the data by its number, with ``n`` different holes where they are drawn.

        Raises:
            IncompatibleError: there is no such row.
        """
        rows = row_given(given, data, n, "inpaint takes")
        return self._posed(rows, data.spec, torch.Generator().manual_seed(int(given)))[0]

    def example(self, data: Dataset) -> str:
        """A row."""
        return "0"

    def _posed(self, rows: Examples, spec: Spec, generator: torch.Generator) -> tuple[Examples, Examples]:
        holes = self.holes or (() if spec.named("given") else _half_of(spec))
        if holes:
            rows, spec = _unmarked(rows, spec)
            rows, spec = through(holes, rows, spec, generator), spec_through(holes, spec)
        if not spec.named("given"):
            said = ", ".join(type(view).__name__ for view in holes)
            raise IncompatibleError(
                f"inpaint: the views {said} give no entries; take mask, or hole of images"
            )
        truth = rows.laid_out(spec)
        layout = truth.layout or Layout()
        # Nothing of the answer is left in the question.
        empty: Any = _only_given(truth.x, layout.given)
        return Examples(empty, truth.cond, layout.holding(empty)), truth


def _half_of(spec: Spec) -> tuple[View, ...]:
    names = [name for name, _ in spec.leaves()]
    return tuple(
        Mask(0.5, 0.5, of=name, name=f"given_{name.replace('.', '_')}" if name else "given") for name in names
    )


def _unmarked(rows: Examples, spec: Spec) -> tuple[Examples, Spec]:
    """Rows of which nothing is given."""
    off = spec.named("given", "values")
    cond = {name: value for name, value in rows.cond.items() if name not in off}
    kept = {name: one for name, one in spec.conditions.items() if name not in off}
    return replace(rows, cond=cond, layout=None), replace(spec, conditions=kept)


def _only_given(x: Any, given: Any) -> Any:
    """States with 0 wherever nothing is given."""
    if isinstance(x, dict):
        return {name: _only_given(v, given.get(name) if given else None) for name, v in x.items()}
    none = torch.zeros(x.shape[:1], dtype=torch.bool) if given is None else given
    return Layout(given=~none).still(x)
