"""Mixture paths between tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.geometry import Discrete, Geometry
from flowloom.paths.base import Path, Point
from flowloom.schedules import CondOT, Schedule
from flowloom.state import State, Time, expand, map_state


class MixturePath(Path):
    r"""Each token is x1 with probability :math:`\kappa_t = \alpha_t` and x0 otherwise, independently.

    Gat et al., "Discrete Flow Matching" (2407.15595). The forward rate of a token towards y is
    :math:`\frac{\dot\kappa_t}{1-\kappa_t} [p_{1|t}(y | x_t) - \delta_{x_t}(y)]`.

    Args:
        geometry: the discrete space; injected from the recipe where none is given.
        schedule: its alpha is kappa; only alpha is used.
    """

    def __init__(self, geometry: Geometry, schedule: Schedule | None = None) -> None:
        if not isinstance(geometry, Discrete):
            raise IncompatibleError(f"path mixture needs a discrete geometry, got {geometry}")
        self.geometry = geometry
        self.schedule: Schedule = schedule or CondOT()

    def sample(self, x0: State, x1: State, t: Time, *, generator: torch.Generator | None = None) -> Point:
        """Draw which tokens have arrived; ``velocity`` is None."""

        def mix(a: Tensor, b: Tensor, time: Tensor) -> Tensor:
            draws = torch.rand(b.shape, generator=generator, device=b.device)
            return torch.where(draws < expand(self.schedule.alpha(time), b), b, a)

        return Point(map_state(mix, x0, x1, t), t, None, x0, x1)

    def rate(self, t: Tensor) -> Tensor:
        """``kappa' / (1 - kappa)``, the rate at which waiting tokens arrive; infinite at t=1."""
        return self.schedule.d_alpha(t) / (1 - self.schedule.alpha(t)).clamp_min(0)
