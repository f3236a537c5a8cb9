"""Prediction: held-out rows are asked for by their conditions alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from flowloom.data.base import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.metrics import Metric
from flowloom.solvers import Solver
from flowloom.spec import Spec
from flowloom.state import State, map_state, shape_of
from flowloom.tasks.base import Task, row_given, some_rows

__all__ = ["Predict"]


class Predict(Task):
    """Tells the conditions of held-out rows and asks for the rows: forecasts, regression, denoising.

    What a recipe's views make known (a context, a noisy observation, given entries) is a condition as any
    other. Every condition is told; none is withheld.

    Args:
        solver: in place of the flow's own.
        metrics: judges of the answers; in a recipe, the recipe's own where none are named.
        draws: answers to every question; as many as the metrics want where None.
        name: what it is called in tables and files.
    """

    viewed: ClassVar[bool] = True

    def __init__(
        self,
        solver: Solver | None = None,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(metrics, draws, name)
        self.solver = solver

    def pose(self, data: Dataset, n: int, generator: torch.Generator) -> tuple[Examples, Examples]:
        """Conditions beside empty states, and the rows.

        Raises:
            IncompatibleError: the data have no conditions but their sizes.
        """
        told = data.spec.named("inform", "given", "values", "start")
        if not told:
            raise IncompatibleError(
                "predict asks for rows by their conditions, and these data have none; a view makes some "
                "(context, noisy, mask), or take the task inpaint"
            )
        truth = some_rows(data, n, generator).laid_out(data.spec)
        return self.asked_of(truth, data.spec, generator), truth

    def read(self, given: str, data: Dataset, n: int) -> Examples:
        """The conditions of a row, by its number, ``n`` times.

        Raises:
            IncompatibleError: there is no such row.
        """
        rows = row_given(given, data, n, f"{type(self).__name__.lower()} takes").laid_out(data.spec)
        return self.asked_of(rows, data.spec, torch.Generator().manual_seed(int(given)))

    def example(self, data: Dataset) -> str:
        """A row."""
        return "0"

    def asked_of(self, truth: Examples, spec: Spec, generator: torch.Generator) -> Examples:
        """What is told of rows, beside empty states.

        Args:
            truth: the rows, laid out.
            spec: of the data.
            generator: of what is drawn.
        """
        empty: State = map_state(torch.zeros_like, truth.x)
        return Examples(empty, truth.cond, truth.layout)

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """A draw under the conditions of every row."""
        cond = {name: value for name, value in asked.cond.items() if name in flow.known_conditions()}
        solution = flow.solve(len(asked), solver=self.solver, cond=cond, seed=seed)
        with torch.no_grad(), flow.evaluating():
            x = flow.decode(Examples(solution.x, solution.cond)).x
        return Examples(map_state(torch.Tensor.cpu, x), asked.cond, asked.layout)

    def untouched(self, asked: Examples) -> Examples | None:
        """What is `shown`: a noisy observation is a prediction too."""
        return self.shown(asked)

    def shown(self, asked: Examples) -> Examples | None:
        """The first condition that has the form of an example (a noisy observation, say)."""
        form = shape_of(asked.x)
        seen = (value for value in asked.cond.values() if tuple(value.shape) == form)
        observed = next((value for value in seen if value.is_floating_point()), None)
        return None if observed is None else Examples(observed, asked.cond, asked.layout)
