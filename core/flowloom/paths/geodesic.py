"""Geodesic paths on any geometry."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.geometry import Euclidean, Geometry
from flowloom.paths.base import Path, Point
from flowloom.paths.conversions import Kind, margin
from flowloom.schedules import CondOT, Schedule, starting_at_source
from flowloom.sources import Source
from flowloom.state import State, Time, expand, map_state


class GeodesicPath(Path):
    r"""The shortest geodesic from x0 to x1, run at speed :math:`\dot\alpha_t` (Chen and Lipman 2302.03660).

    :math:`x_t = \gamma(\alpha_t)` and :math:`u_t = \dot\alpha_t \gamma'(\alpha_t)`, in closed form where
    the geometry has one; no simulation and no automatic differentiation.

    A prediction of one end is a velocity along the geodesic through it, and the other way round:

    .. math:: u = \frac{\dot\alpha}{1 - \alpha} \log_x(x_1) = -\frac{\dot\alpha}{\alpha} \log_x(x_0), \quad
        x_1 = \exp_x\Big(\frac{1 - \alpha}{\dot\alpha} u\Big)

    so that a network may answer with the data, as those of protein backbones do. In curved space, or where
    coordinates wrap, the predicted end stands in for the mean of x1 that flat space has.

    Args:
        geometry: the space; injected from the recipe where none is given.
        schedule: its alpha is the share of the way covered at time t.
    """

    def __init__(self, geometry: Geometry | None = None, schedule: Schedule | None = None) -> None:
        self.geometry = geometry or Euclidean()
        self.schedule: Schedule = starting_at_source(schedule or CondOT())

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

    def converts(self, given: Kind, wanted: Kind, source: Source | None = None) -> bool:
        """Between velocity, data and noise."""
        return given == wanted or {str(given), str(wanted)} <= {"velocity", "data", "noise"}

    def converted(
        self, value: State, x: State, t: Time, given: Kind, wanted: Kind, source: Source | None
    ) -> State:
        """Through the velocity; divisions that are singular at an end are taken 1e-4 before it."""

        def share(leaf: Tensor, time: Tensor, kind: Kind) -> Tensor:
            eps = margin(leaf.dtype)
            # In single precision 1 - alpha is 0 already where a schedule arrives with no speed (cosine).
            s = expand(time.double(), leaf).clamp(eps, min(1 - eps, self.schedule.latest))
            alpha = self.schedule.alpha(s)
            left = 1 - alpha if kind == "data" else -alpha
            return (left / self.schedule.d_alpha(s)).to(leaf.dtype)

        if given != "velocity":
            way: State = self.geometry.log(x, value)
            value = map_state(lambda w, time: w / share(w, time, given), way, t)
        if wanted == "velocity":
            return value
        end: State = self.geometry.exp(x, map_state(lambda v, time: v * share(v, time, wanted), value, t))
        return end
