"""A mixture of velocities as a field, and the solvers that use all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from flowloom.draw import Draw
from flowloom.fields import Field, Kind, NetworkField
from flowloom.fields.base import time_tensor
from flowloom.paths import Path
from flowloom.solvers.base import FixedGrid
from flowloom.solvers.walk import Call
from flowloom.sources import Source
from flowloom.state import Cond, State, expand
from flowloom_fewstep.mixture_mlp import MixtureModel
from flowloom_fewstep.mixtures import LEAST_NOISE, Mixture, posterior, transition

__all__ = ["GMOde", "GMSde", "MixtureVelocity"]


class MixtureVelocity(Field):
    """A mixture of velocities; read as a velocity, its mean.

    Args:
        model: a `MixtureModel`.
        path: straight.
        source: the law of x0.
    """

    kind = "velocity-mixture"

    def __init__(self, model: nn.Module, path: Path, source: Source | None = None) -> None:
        self.model, self.path, self.geometry, self.source = model, path, path.geometry, source
        self.told_by(model)

    def data(self, x: Tensor, t: Tensor, cond: Cond) -> Mixture:
        """The law of x1 at a state."""
        return posterior(cast("MixtureModel", self.model).mixture(x, t, cond), x, t)

    def __call__(self, x: State, t: Any, cond: Cond) -> State:
        """The mean velocity."""
        mean: State = self.model(x, t, **cond)
        return mean

    def as_kind(self, kind: Kind) -> Field | None:
        """The mean velocity."""
        return NetworkField(self.model, "velocity", self.path, self.source) if kind == "velocity" else None


class _GMSteps(FixedGrid):
    """Solvers of mixtures of velocities."""

    consumes = "velocity-mixture"
    order = 1

    def asked(self, call: Call, x: State, t: float) -> tuple[Tensor, Tensor, Mixture]:
        """State, time and the law of x1 there: one evaluation.

        A field that answers with a mean alone, as a guided one does, is one component of almost no spread.
        """
        field, time = call.field, time_tensor(t, x)
        assert isinstance(x, Tensor)
        if isinstance(field, MixtureVelocity):
            call.nfe += field.calls(t, call.cond)
            return x, time, field.data(x, time, call.cond)
        mean = call(x, t)
        assert isinstance(mean, Tensor)
        one, narrow = mean.new_zeros(len(x), 1), torch.full_like(time, LEAST_NOISE**2)
        return x, time, posterior(Mixture(one, mean[:, None], narrow), x, time)


class GMSde(_GMSteps):
    """Draw x1 of the mixture, then the state at the next time between both (GMFlow's GM-SDE).

    Args:
        steps: number of equal steps, one evaluation each.
        grid: times to walk instead.
    """

    stochastic = True

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One transition, drawn."""
        state, time, data = self.asked(call, x, t)
        law = transition(time, time_tensor(t_next, state)).law(state, data)
        return law.sample(Draw.like(state, call.generator))


class GMOde(_GMSteps):
    """Euler sub-steps along the mean of the mixture, moved to where they are (GMFlow's GM-ODE).

    The network is asked at the start of a step alone; between, its mixture is multiplied by the likelihood of
    the present state and divided by that of the first.

    Args:
        steps: number of equal steps, one evaluation each.
        grid: times to walk instead.
        substeps: of each step; they cost nothing.
    """

    def __init__(self, steps: int = 4, grid: Sequence[float] | None = None, substeps: int = 32) -> None:
        super().__init__(steps, grid)
        if substeps < 1:
            raise ValueError(f"substeps must be at least 1, got {substeps}")
        self.substeps = substeps

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One evaluation, ``substeps`` of Euler."""
        state, time, data = self.asked(call, x, t)
        here, dt = state, (t_next - t) / self.substeps
        for i in range(self.substeps):
            now = time_tensor(t + i * dt, state)
            mean = data.moved(state, time, here, now).mean
            here = here + dt * (mean - here) / expand(1 - now, here)
        return here
