"""Affine paths in flat space."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.geometry import Euclidean, Geometry
from flowloom.paths.base import Path, Point
from flowloom.schedules import CondOT, Schedule
from flowloom.state import State, Time, expand, map_state


class AffinePath(Path):
    r"""``x_t = alpha_t x1 + sigma_t x0`` with velocity ``alpha'_t x1 + sigma'_t x0`` (2210.02747).

    Args:
        schedule: alpha and sigma.
        geometry: Euclidean, or a product of Euclidean parts.
    """

    affine = True
    vertices = True

    def __init__(self, schedule: Schedule | None = None, geometry: Geometry | None = None) -> None:
        self.schedule: Schedule = schedule or CondOT()
        self.geometry = geometry or Euclidean()

    def sample(self, x0: State, x1: State, t: Time, *, generator: torch.Generator | None = None) -> Point:
        """The point at time t; nothing is drawn."""
        schedule = self.schedule
        if isinstance(schedule, CondOT):
            slope = 1 - schedule.sigma_min

            def velocity_of(a: Tensor, b: Tensor) -> Tensor:
                return torch.sub(b, a, alpha=slope) if slope != 1 else b - a

            def straight(a: Tensor, velocity: Tensor, time: Tensor) -> Tensor:
                return torch.addcmul(a, expand(time, a), velocity)

            # x_t = x0 + t (x1 - (1 - sigma_min) x0): two passes over the data instead of five.
            velocity = map_state(velocity_of, x0, x1)
            return Point(map_state(straight, x0, velocity, t), t, velocity, x0, x1)

        def mix(a: Tensor, b: Tensor, time: Tensor) -> Tensor:
            time = expand(time.to(b.dtype), b)
            return torch.addcmul(schedule.sigma(time) * a, schedule.alpha(time), b)

        def slope_of(a: Tensor, b: Tensor, time: Tensor) -> Tensor:
            time = expand(time.to(b.dtype), b)
            return torch.addcmul(schedule.d_sigma(time) * a, schedule.d_alpha(time), b)

        return Point(map_state(mix, x0, x1, t), t, map_state(slope_of, x0, x1, t), x0, x1)

    def posterior_velocity(self, p: State, x: State, t: Time) -> State:
        """``(p - x) / (1 - t)`` on the straight path: ``p`` is ``E[x1]`` (CatFlow, 2406.04843)."""
        from flowloom.fields.convert import convert

        return convert(p, x, t, self.schedule, "data", "velocity")
