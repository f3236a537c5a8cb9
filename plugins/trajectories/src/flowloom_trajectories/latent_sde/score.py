"""How far the bound of a latent diffusion is from the exact likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.objectives import Batch, Step
from flowloom.scores import Score
from flowloom.seeds import generator as generator_of
from flowloom_trajectories.latent_sde.objective import SDEMatching
from flowloom_trajectories.latent_sde.processes import OrnsteinUhlenbeck


class NelboGap(Score):
    """The negative bound of held-out series less their exact negative log likelihood, in nats a series.

    The bound is `SDEMatching`'s, whatever objective the flow was trained by; both estimate the same number.

    Args:
        data: the process, which knows its likelihood; injected from the recipe.
        draws: of times and noise for every series.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"nelbo_gap": "lower"}

    def __init__(self, data: Dataset, draws: int = 64) -> None:
        if not isinstance(data, OrnsteinUhlenbeck):
            raise IncompatibleError(
                "score nelbo-gap needs data: ornstein-uhlenbeck, whose likelihood is exact"
            )
        if draws < 1:
            raise ValueError(f"draws count from 1, got {draws}")
        self.data, self.draws = data, draws

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``nelbo_gap``, and the two that it is the difference of."""
        x, objective = examples.x, SDEMatching()
        assert isinstance(x, Tensor)
        if not len(x):
            raise ShapeError("score nelbo-gap: there is no example to score")
        total = 0.0
        with flow.evaluating():
            for k in range(self.draws):
                step = Step(generator=generator_of(seed, "nelbo-gap", k, flow.device))
                bound = objective.loss(flow.model, Batch(x, x, examples.cond), step).total
                assert isinstance(bound, Tensor)
                total += float(bound)
        nelbo, exact = total / self.draws, -float(self.data.log_prob(x.cpu()).mean())
        return {"nelbo_gap": nelbo - exact, "nelbo": nelbo, "exact_nll": exact}
