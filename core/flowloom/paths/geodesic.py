"""Geodesic paths on any geometry."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.geometry import Euclidean, Geometry
from flowloom.paths.base import Path, Point
from flowloom.schedules import CondOT, Schedule
from flowloom.state import State, Time, expand, map_state


class GeodesicPath(Path):
    r"""The shortest geodesic from x0 to x1, run at speed :math:`\dot\alpha_t` (Chen and Lipman 2302.03660).

    :math:`x_t = \gamma(\alpha_t)` and :math:`u_t = \dot\alpha_t \gamma'(\alpha_t)`, in closed form where
    the geometry has one; no simulation and no automatic differentiation.

    Args:
        geometry: the space; injected from the recipe where none is given.
        schedule: its alpha is the share of the way covered at time t.
    """

    def __init__(self, geometry: Geometry | None = None, schedule: Schedule | None = None) -> None:
        self.geometry = geometry or Euclidean()
        self.schedule: Schedule = schedule or CondOT()

    def sample(self, x0: State, x1: State, t: Time, *, generator: torch.Generator | None = None) -> Point:
        """The point at time t; nothing is drawn.

        Raises:
            ShapeError: the batch is empty, or in half precision, which closed forms do not survive. Whether
                points lie on the space is not asked here; `Geometry.require` does.
        """
        self.geometry.require_precision(x1, "x1")
        schedule = self.schedule
        if isinstance(schedule, CondOT):
            x_t, velocity = self.geometry.geodesic(x0, x1, t)
            return Point(x_t, t, velocity, x0, x1)
        x_t, velocity = self.geometry.geodesic(x0, x1, map_state(schedule.alpha, t))

        def rescale(v: Tensor, time: Tensor) -> Tensor:
            return expand(schedule.d_alpha(time), v) * v

        return Point(x_t, t, map_state(rescale, velocity, t), x0, x1)
