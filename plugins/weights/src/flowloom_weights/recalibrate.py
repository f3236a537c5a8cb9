"""Networks that are generated, and then shown a batch of data for their statistics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.metrics import Metric
from flowloom.tasks import Task, some_rows
from flowloom_weights.perceptron import recalibrated
from flowloom_weights.quality import networks_of, require_zoo
from flowloom_weights.zoo import problem_of

__all__ = ["Recalibrate"]


class Recalibrate(Task):
    """Generates networks and computes the statistics of their batch normalisation anew on a batch of data.

    What a layer's units do on average depends on all weights before them, so that statistics which were
    generated beside the weights, each with an error of its own, no longer belong to them. Nothing is trained.

    Args:
        rows: of the problem's training split that are shown, at most.
        metrics: judges of the answers; in a recipe, the recipe's own where none are named.
        draws: answers to every question; as many as the metrics want where None.
        name: what it is called in tables and files.
    """

    def __init__(
        self,
        rows: int = 256,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(metrics, draws, name)
        if rows < 2:
            raise ValueError(f"statistics want at least 2 rows, got {rows}")
        self.rows = rows
        self._shown: Tensor | None = None

    def pose(self, data: Dataset, n: int, generator: torch.Generator) -> tuple[Examples, Examples]:
        """The conditions of ``n`` held-out networks, and those networks.

        Raises:
            IncompatibleError: the data are no zoo, or its networks have no batch normalisation.
        """
        zoo = require_zoo(data, "recalibrate")
        if not zoo.norm:
            raise IncompatibleError("networks without batch normalisation have no statistics; say norm: true")
        inputs, _ = problem_of(zoo.problem)
        chosen = torch.randperm(len(inputs), generator=generator)[: self.rows]
        self._shown = inputs[chosen]
        truth = some_rows(data, n, generator)
        empty = {name: torch.zeros_like(value) for name, value in networks_of(truth).items()}
        return Examples({**empty}, truth.cond), truth

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """Networks with statistics of their own."""
        if self._shown is None:
            raise IncompatibleError("recalibrate answers what it posed")
        solved = flow.solve(len(asked), cond=asked.cond, seed=seed)
        with torch.no_grad(), flow.evaluating():
            made = flow.decode(Examples(solved.x, solved.cond)).to("cpu")
            return Examples({**recalibrated(networks_of(made), self._shown)}, asked.cond)

    def shown(self, asked: Examples) -> Examples | None:
        """Nothing."""
        return None
