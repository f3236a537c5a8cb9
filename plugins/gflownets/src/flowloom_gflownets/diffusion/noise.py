"""How noisy the gradient is from which a control learns."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.objectives import Batch, Step
from flowloom.scores import Score
from flowloom.seeds import generator as generator_of
from flowloom_gflownets.subtrajectory import SubTrajectoryBalance


class GradientNoise(Score):
    r"""Spread of the gradient that the control gets from a batch, of parts of walks and of whole ones.

    At the weights of the flow, and from the same walks: ``noise_of_parts`` is the root of the summed
    variances of its entries, ``noise_of_wholes`` that of the same loss whose weight is all on whole walks
    (trajectory balance over d), ``noise_ratio`` the first over the second.

    Args:
        batches: over which gradients vary.
        batch: walks in each.
    """

    of_data = False
    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"noise_ratio": "lower"}

    def __init__(self, batches: int = 20, batch: int = 128) -> None:
        if batches < 2 or batch < 1:
            raise ValueError(f"give batches from 2 and walks from 1, got {batches} and {batch}")
        self.batches, self.batch = batches, batch

    def require(self, flow: Flow) -> None:
        """Ask for an objective that knows parts of walks."""
        if not isinstance(flow.objective, SubTrajectoryBalance):
            raise IncompatibleError("score gradient-noise needs objective subtrajectory-balance")

    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """All three.

        Raises:
            ShapeError: there are no examples.
        """
        self.require(flow)
        if len(examples) == 0:
            raise ShapeError("score gradient-noise: there is no sample to score")
        parts = flow.objective
        assert isinstance(parts, SubTrajectoryBalance)
        wholes = copy.copy(parts)
        wholes.lamda, wholes.segment = WHOLE, None
        model = copy.deepcopy(flow.model).eval().requires_grad_(True)
        noise = [self._noise(one, model, flow, seed) for one in (parts, wholes)]
        return {"noise_of_parts": noise[0], "noise_of_wholes": noise[1], "noise_ratio": noise[0] / noise[1]}

    def _noise(self, objective: SubTrajectoryBalance, model: nn.Module, flow: Flow, seed: int) -> float:
        root = objective.environment.root(self.batch, flow.device, flow.dtype)
        control = [p for name, p in model.named_parameters() if not name.startswith("flow.")]
        found: list[Tensor] = []
        for number in range(self.batches):
            step = Step(generator=generator_of(seed, "gradient-noise", number, flow.device))
            with torch.enable_grad():
                loss = objective.loss(model, Batch(root, root), step).total
                assert isinstance(loss, Tensor)
                slopes = torch.autograd.grad(loss, control, allow_unused=True)
            found.append(torch.cat([s.flatten().double() for s in slopes if s is not None]))
        return float(torch.stack(found).var(0).sum().sqrt())


WHOLE = 1e30
"""A lambda beside which nothing but the longest part has a weight."""
