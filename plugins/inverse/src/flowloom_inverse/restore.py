"""Restoration: a measurement of held-out rows is shown, and the rows are asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.metrics import Metric
from flowloom.metrics.paired import PairedMetric
from flowloom.state import Cond
from flowloom.tasks import Task, some_rows
from flowloom_inverse.operators import Operator
from flowloom_inverse.problem import Problem
from flowloom_inverse.restorers import Restorer

__all__ = ["Misfit", "Restore"]

_MEASURED, _DRAWN, _MISFIT = "measured", "measured_by_", "measured_misfit"


class Restore(Task):
    """Shows :math:`y = A(x) + s n` of held-out rows and asks for x; the flow was never trained to answer.

    What is shown is ``A^+ y``, which is also judged by itself (`untouched`). The answers are draws of the
    posterior where the restorer draws, and one best guess where it does not: compare means of several draws
    (``mse_of_mean``), as a perfect sampler has twice the squared error of the best guess.

    Args:
        operator: A.
        by: the restorer.
        noise: s, in the unit of the data.
        told: conditions of the rows that are told as well (their class); none by default, as a measurement
            comes without them.
        metrics: judges of the answers; in a recipe, the recipe's own where none are named.
        draws: answers to every question; as many as the metrics want where None.
        name: what it is called in tables and files.
    """

    def __init__(
        self,
        operator: Operator,
        by: Restorer,
        noise: float = 0.0,
        told: Sequence[str] = (),
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(metrics, draws, name)
        if not 0 <= noise < math.inf:
            raise ValueError(f"noise is a standard deviation of at least 0, got {noise}")
        self.operator, self.by, self.noise, self.told = operator, by, noise, tuple(told)

    def pose(self, data: Dataset, n: int, generator: torch.Generator) -> tuple[Examples, Examples]:
        """What was measured, brought back, and the rows.

        Raises:
            IncompatibleError: the operator cannot measure such data, or a condition to tell is not there.
        """
        self.operator.require(data.spec)
        missing = [name for name in self.told if name not in data.spec.conditions]
        if missing:
            have = ", ".join(data.spec.conditions) or "none"
            raise IncompatibleError(f"told: the data have no condition '{missing[0]}'; they have: {have}")
        truth = some_rows(data, n, generator)
        assert isinstance(truth.x, Tensor)
        drawn = self.operator.draw(truth, data.spec, generator)
        y = self.operator(truth.x, drawn)
        y = y + self.noise * torch.randn(y.shape, generator=generator, dtype=y.dtype)
        seen = self.operator.measured(y, drawn)
        y = y if seen is None else y * seen
        # Conditions stay beside the question for other columns of the table; the flow is told `told` alone.
        cond = dict(truth.cond) | {_DRAWN + name: value for name, value in drawn.items()} | {_MEASURED: y}
        return Examples(self.operator.back(y, drawn), cond), truth

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """What the restorer makes of it, with the misfit of every row."""
        problem = self._problem(flow, asked)
        cond = {name: asked.cond[name] for name in self.told}
        x = flow.solve(len(asked), solver=self.by.of(problem), cond=cond, seed=seed).x
        assert isinstance(x, Tensor)
        with torch.no_grad(), flow.evaluating():
            answer, misfit = problem.decode(x).cpu(), self._misfit(problem, x)
        return Examples(answer, {**asked.cond, _MISFIT: misfit.cpu()})

    def untouched(self, asked: Examples) -> Examples:
        """What is shown: the measurement, brought back."""
        return asked

    def _problem(self, flow: Flow, asked: Examples) -> Problem:
        def here(value: Tensor) -> Tensor:
            return value.to(flow.device, flow.dtype) if value.is_floating_point() else value.to(flow.device)

        drawn: Cond = {
            name.removeprefix(_DRAWN): here(value)
            for name, value in asked.cond.items()
            if name.startswith(_DRAWN)
        }
        if _MEASURED not in asked.cond:
            raise IncompatibleError("restore answers what it posed: a measurement of data")
        return Problem(flow, self.operator, here(asked.cond[_MEASURED]), drawn, self.noise)

    def _misfit(self, problem: Problem, x: Tensor) -> Tensor:
        return problem.squares(x) / (self.noise**2 or 1)


class Misfit(PairedMetric):
    """How far answers are from what was measured: mean squared residual, over the variance of the noise.

    1 is what the truth has; well below it the noise was fitted, well above it the measurement was not. Where
    there was no noise it is the mean squared residual. Nothing is said of columns that come from elsewhere.

    Args:
        draws: answers of each row.
    """

    better: ClassVar = {"misfit": "lower"}
    silent: ClassVar = "only the restorer measures what it answered"
    about: ClassVar = {"misfit": "mean squared residual of the measurement over the variance of its noise"}

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """The mean over rows."""
        self.require_rows(samples, real)
        return {"misfit": float(samples.cond[_MISFIT].mean())} if _MISFIT in samples.cond else {}
