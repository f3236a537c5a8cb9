"""Whether forecasts walk through others."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom_trajectories.metrics.ways import ways

__all__ = ["Collisions"]


class Collisions(Metric):
    """Share of draws that come nearer than ``radius`` to where a neighbour was at the same step.

    Rows of which no step is real and free are left out, and a draw that is not finite has no rate: it is NaN.
    Neighbours go their true ways (``ahead``, which only judges see), and are looked at between steps as well.
    The truth has a rate of its own, ``real_collision_rate``: people walk side by side, and annotations err.

    Args:
        draws: of each row.
        radius: metres between two centres; 0.2 as in Kothari et al. (2007.03639).
        ahead: the condition ``(neighbours, steps, 3)``: x, y and 1 where seen.
    """

    better: ClassVar = {"collision_rate": "lower"}
    paired: ClassVar[bool] = True

    def __init__(self, draws: int = 20, radius: float = 0.2, ahead: str = "ahead") -> None:
        if draws < 1 or not 0 < radius < math.inf:
            raise ValueError(f"draws must be at least 1 and radius positive, got {draws} and {radius}")
        self.draws, self.radius, self.ahead = draws, radius, ahead

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Look at every draw beside the neighbours of its row."""
        self.require_rows(samples, real)
        others = real.cond.get(self.ahead)
        if others is None:
            raise IncompatibleError(f"collisions look at where others went, and there is no '{self.ahead}'")
        drawn, truth, counts = ways(samples, real, "collisions")

        # What stands in padding is nowhere, and nobody walks there.
        seen = (others[..., 2] > 0) & counts[:, None]
        rows = counts.any(1)

        def rate(way: Tensor) -> float:
            there = others[..., :2].double()
            gap = way[..., None, :, :] - there
            # Both walk straight between two steps: the nearest point of the segment of their difference.
            a, b = gap[..., :-1, :], gap[..., 1:, :]
            step = b - a
            share = (-(a * step).sum(-1) / step.square().sum(-1).clamp_min(1e-12)).clamp(0, 1)
            near = (a + share[..., None] * step).norm(dim=-1) < self.radius
            near = near & seen[..., :-1] & seen[..., 1:]
            met = near.flatten(-2).any(-1)[..., rows].double().mean()
            return float(met) if bool(way.isfinite().all()) else math.nan

        return {"collision_rate": rate(drawn), "real_collision_rate": rate(truth[None])}
