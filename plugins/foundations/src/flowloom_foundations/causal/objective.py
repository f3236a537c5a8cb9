"""What a causal network of trajectories is trained to say, and the field that it then is."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from flowloom.conditions import drop, require_dropout
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Field, Kind
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source
from flowloom.state import Cond
from flowloom_foundations.causal.model import CausalTrajectory

HISTORY = "next-state"
"""Kind of a field that is called with all states so far and answers with the next one."""


class NextStates(Field):
    """A causal network as a field: states so far ``(batch, k, *event)`` to the next one, drawn.

    Args:
        model: the network.
        path: of the trajectories that it was trained on.
        temperature: factor of the deviation of its latents.
    """

    kind, stochastic = HISTORY, True

    def __init__(self, model: CausalTrajectory, path: Path, temperature: float) -> None:
        self.model, self.path, self.geometry = model, path, path.geometry
        self.temperature = temperature
        self.told_by(model)

    def __call__(self, x: Any, t: Tensor, cond: Cond, generator: torch.Generator | None = None) -> Tensor:
        """The state after the last one; ``t`` is that of the last, and says nothing that k does not."""
        times = torch.arange(x.shape[1], device=x.device, dtype=x.dtype) / self.model.steps
        mean, log_var = self.model.posterior(x, times.expand(len(x), -1), dict(cond))
        noise = Draw.like(mean, generator).normal(tuple(mean[:, -1:].shape))
        z = mean[:, -1:] + self.temperature * (log_var[:, -1:] / 2).exp() * noise
        return self.model.decode(z)[:, 0]


class NextState(Objective):
    r"""The next state of a straight trajectory from all before it, through a latent (CaLMFlow, 2410.05292).

    The flow is a Volterra equation :math:`z(t) = z(0) + \int_0^t G(z(s), t, s)\,ds`, whose solution may
    depend on all of its past. On states :math:`x_k` at times k / N of a path, by teacher forcing,

    .. math:: E \sum_{k < N} \|x_{k+1} - D(z_k)\|^2 + \beta\,KL\big(N(\mu_k, \sigma_k^2)\,\|\,N(0, 1)\big).

    The latent does not see its target, so it cannot stand for the choice that independent ends leave open
    at the first step: give ``coupling: optimal-transport``. Contexts of several trajectories and prompts of
    a language model are not here; conditions are embedded as everywhere. Logs ``square`` and ``kl``. The
    paper's sizes are our reading.

    Args:
        path: affine, in flat space; injected from the recipe.
        kl_weight: :math:`\beta`.
        noise: standard deviation of what is added to the states that are seen, against drifting off.
        temperature: of samples; see `NextStates`.
        condition_dropout: probability with which conditions are withheld from a row.

    Raises:
        IncompatibleError: the space is curved.
    """

    def __init__(
        self,
        path: Path | None = None,
        kl_weight: float = 1e-3,
        noise: float = 0.02,
        temperature: float = 1.0,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_dropout(condition_dropout)
        if not all(0 <= value < math.inf for value in (kl_weight, noise, temperature)):
            raise ValueError(
                "kl_weight, noise and temperature must be finite and not negative, got "
                f"{kl_weight}, {noise} and {temperature}"
            )
        self.path = path or AffinePath()
        if not self.path.geometry.straight:
            raise IncompatibleError(f"next-state is for flat space, not {self.path.geometry}")
        self.kl_weight, self.noise, self.temperature = kl_weight, noise, temperature
        self.condition_dropout = condition_dropout

    @property
    def kind(self) -> Kind:
        """``next-state``."""
        return HISTORY

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """All transitions of the batch's trajectories in one call."""
        x1 = batch.x1
        if not isinstance(model, CausalTrajectory) or not isinstance(x1, Tensor):
            raise ShapeError("objective next-state trains model: causal-trajectory, on states of one tensor")
        n, steps, generator = len(x1), model.steps, step.generator
        times = torch.arange(steps + 1, device=x1.device, dtype=x1.dtype) / steps
        states = torch.stack([cast(Tensor, batch.point(self.path, t.expand(n)).x_t) for t in times], 1)
        draw = Draw.like(states, generator)
        seen = states[:, :-1] + self.noise * draw.normal(tuple(states[:, :-1].shape))
        cond = drop(batch.cond, self.condition_dropout, n, generator)
        mean, log_var = model.posterior(seen, times[:-1].expand(n, -1), dict(cond))
        z = mean + (log_var / 2).exp() * draw.normal(tuple(mean.shape))
        square = (states[:, 1:] - model.decode(z)).square().flatten(2).sum((1, 2)).mean()
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).flatten(1).sum(1).mean()
        parts = {"square": square.detach(), "kl": kl.detach()}
        return Loss(square + self.kl_weight * kl, parts)

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network as a field of histories."""
        assert isinstance(model, CausalTrajectory)
        found = NextStates(model, self.path, self.temperature)
        found.source = source
        return found
