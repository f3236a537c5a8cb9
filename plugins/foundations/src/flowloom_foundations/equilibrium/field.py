"""The field of equilibrium matching: a kind that core does not know, and how it is read as a velocity."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from flowloom.fields import Field, NetworkField, Wrapped
from flowloom.fields.base import onto_space
from flowloom.paths import Path
from flowloom.sources import Source
from flowloom.state import Cond, State, Time, map_state
from flowloom_foundations.equilibrium.landscape import Form, Slope

__all__ = ["GRADIENT", "Descending", "GradientField"]

GRADIENT = "gradient"
"""Kind of a field that is the gradient of one energy for all times: it points from data to noise."""


class GradientField(NetworkField):
    """The gradient of a network's landscape, of kind ``gradient``: the same at all times.

    Args:
        model: the network.
        path: the path it was trained on.
        source: the law of x0.
        form: of the energy that the network spells out; None where it answers with the gradient.
        horizon: how long a descent the time from source to data stands for, where it is read as a velocity.
    """

    def __init__(
        self,
        model: nn.Module,
        path: Path | None = None,
        source: Source | None = None,
        form: Form | None = None,
        horizon: float = 0.75,
    ) -> None:
        super().__init__(Slope(model, form), GRADIENT, path, source)
        self.readings = {(GRADIENT, "velocity"): partial(Descending, horizon=horizon)}

    def __call__(self, x: State, t: Time, cond: Cond) -> State:
        """The gradient, tangent on curved spaces; ``t`` is not told."""
        return onto_space(self.geometry, "velocity", x, self.model(x, t, **cond))


class Descending(Wrapped):
    r"""Gradient flow as a velocity, :math:`\dot x = -T \nabla E(x)` for t from 0 to 1.

    Euler's method in N steps is gradient descent in N steps of :math:`\eta = T / N`; better solvers follow
    the same curve closer. It is not the velocity of the path that was trained on: data, noise and scores do
    not follow from it.

    Args:
        field: of kind ``gradient``.
        horizon: T.
    """

    def __init__(self, field: Field, horizon: float) -> None:
        super().__init__(field)
        self.kind, self.path, self.horizon = "velocity", None, horizon

    @property
    def span(self) -> tuple[float, float]:
        """That of the gradient's path."""
        return self.field.span

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """``-T`` times the gradient."""
        return map_state(lambda v: -self.horizon * v, self.ask(x, t, cond, generator))
