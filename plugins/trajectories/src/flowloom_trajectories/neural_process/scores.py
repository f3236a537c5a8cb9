"""What a process is judged by: its joint draws, and its likelihood beside that of the true process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.likelihood import Divergence
from flowloom.metrics import EnergyScore
from flowloom.scores import Score
from flowloom.solvers import Solver
from flowloom_trajectories.neural_process.functions import Functions

__all__ = ["DifferenceScore", "ProcessGap"]


class DifferenceScore(EnergyScore):
    """Energy score of differences of neighbours along the first dimension of a state.

    Smooth functions have small differences, and answers that are right one by one need not: this score sees
    what values have to do with each other. Arguments as of `EnergyScore`.
    """

    better: ClassVar = {"difference_score": "lower"}

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare the draws of every row with its truth.

        Raises:
            IncompatibleError: states are not ``(places, ...)``, or have one place.
        """
        if not isinstance(real.x, Tensor) or real.x.ndim < 2 or real.x.shape[1] < 2:
            raise IncompatibleError("difference-score takes states (places, ...) of at least two places")
        free = (real.layout or Layout()).free
        both = None if free is None else free[:, 1:] & free[:, :-1]
        truth = replace(real, x=real.x.diff(dim=1), layout=None if both is None else Layout(both))
        assert isinstance(samples.x, Tensor)
        found = super().__call__(Examples(samples.x.diff(dim=1)), truth)
        return {"difference_score": found["energy_score"]}


class ProcessGap(Score):
    """Exact log likelihood of the targets under the true process, less the flow's, in nats a target.

    Args:
        data: the functions, of known kernels; injected from the recipe.
        solver: of the likelihood; the flow's own where left out.
        divergence: ``exact`` or ``hutchinson``.
        most: rows that are asked.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"gp_gap": "lower"}

    def __init__(
        self,
        data: Dataset,
        solver: Solver | None = None,
        divergence: Divergence = "hutchinson",
        most: int = 200,
    ) -> None:
        if not isinstance(data, Functions):
            raise IncompatibleError("score gp-gap needs data: gp-functions, whose likelihood is exact")
        if most < 1:
            raise ValueError(f"most counts rows from 1, got {most}")
        self.data, self.solver, self.divergence, self.most = data, solver, divergence, most

    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``gp_gap``, and the two that it is the difference of."""
        if not len(examples):
            raise ShapeError("score gp-gap: there is no example to score")
        rows = examples.take(examples.evenly(self.most))
        x, asked = rows.x, rows.cond["asked"]
        assert isinstance(x, Tensor)
        exact = [
            torch.distributions.MultivariateNormal(mean, cov).log_prob(x[i, asked[i], 0].double().cpu())
            for i, (mean, cov) in enumerate(self.data.posterior(rows.to("cpu")))
        ]
        cond = {name: value for name, value in rows.cond.items() if name in flow.spec.told(rows.cond)}
        found = flow.log_prob(x, solver=self.solver, divergence=self.divergence, seed=seed, **cond)
        count = float(asked.sum())
        truth, own = float(torch.stack(exact).sum()) / count, float(found.detach().sum()) / count
        return {"gp_gap": truth - own, "log_likelihood": own, "exact_log_likelihood": truth}
