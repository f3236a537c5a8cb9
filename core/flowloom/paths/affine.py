"""Affine paths in flat space."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.geometry import Euclidean, Geometry
from flowloom.paths.base import Path, Point
from flowloom.paths.conversions import AFFINE_KINDS, Kind, affine
from flowloom.schedules import CondOT, Schedule
from flowloom.sources import Source
from flowloom.state import State, Time, expand, map_state


class AffinePath(Path):
    r"""``x_t = alpha_t x1 + sigma_t x0`` with velocity ``alpha'_t x1 + sigma'_t x0`` (2210.02747).

    Velocity, data, noise and (from a Gaussian) score convert into each other. A posterior over the vertices
    of a simplex (logits over an event's last dimension) is a prediction of the data, ``E[x1] = p``
    (CatFlow, 2406.04843).

    Args:
        schedule: alpha and sigma. One that leaves the data at t=0 needs a source at least ten times as wide
            as what it leaves (of data of deviation 1).
        geometry: Euclidean, or a product of Euclidean parts.
    """

    affine = True

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

    def converts(self, given: Kind, wanted: Kind, source: Source | None = None) -> bool:
        """Between velocity, data and noise, with a Gaussian source scores; from a posterior."""
        if given == wanted:
            return True
        if wanted not in AFFINE_KINDS or given not in (*AFFINE_KINDS, "posterior"):
            return False
        return "score" not in (given, wanted) or (source is not None and source.gaussian)

    def converted(
        self, value: State, x: State, t: Time, given: Kind, wanted: Kind, source: Source | None
    ) -> State:
        """See `flowloom.paths.conversions`."""
        if given == "posterior":
            value, given = map_state(lambda logits: torch.softmax(logits, -1), value), "data"
        std = 1.0 if source is None or source.std is None else source.std
        return affine(value, x, t, self.schedule, str(given), str(wanted), std)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Spaces that its points leave: curved, discrete, walled. Data at t=0 beside a source as small."""
        geometry, source, left = parts.get("geometry"), parts.get("source"), self.schedule.leaves
        if left and isinstance(source, Source) and (source.std is None or source.std < 10 * left):
            yield Clash(
                "path",
                "source",
                f"{self.schedule} leaves data of weight {left:g} at t=0, where sampling starts from the "
                f"source alone: that must be Gaussian and much wider, such as source: {{use: gaussian, std: "
                f"{80 * left:g}}}",
            )
        if isinstance(geometry, Geometry) and not geometry.straight:
            fits = "mixture" if not geometry.continuous else "geodesic"
            yield Clash("path", "geometry", f"an affine path leaves {geometry}; use path: {fits}")
        elif isinstance(geometry, Geometry) and geometry.convex and not left and not _between(self.schedule):
            yield Clash(
                "path",
                "geometry",
                f"points of an affine path stay in {geometry} where they lie between source and data, and "
                f"weights of {self.schedule} do not add up to 1; use schedule: cond-ot (sigma_min 0) or "
                "polynomial",
            )


def _between(schedule: Schedule) -> bool:
    """Whether points lie on the straight line from source to data, but for what rounding may leave."""
    t = torch.linspace(0, 1, 65, dtype=torch.float64, device="cpu")
    return bool((schedule.alpha(t) + schedule.sigma(t) - 1).abs().max() <= 1e-4)
