"""Whether ways through a junction are any good."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom_trajectories.goals.junction import EXITS, ROAD, bezier

__all__ = ["Failures"]


class Failures(Metric):
    """Failed ways through a junction, and whether all open exits are taken.

    A way fails that ends farther than the road's half width from every open exit, or has a waypoint more than
    ``off`` metres from the quadratic way to its own end. ``exit_entropy`` is the entropy of the exit that
    good ways take, of the scenes with the same exits open, in units of that of two equal shares.

    Args:
        off: metres.
    """

    better: ClassVar = {"failure_rate": "lower", "exit_entropy": "higher"}
    paired: ClassVar[bool] = True

    def __init__(self, off: float = 1.0) -> None:
        if off <= 0:
            raise ValueError(f"off must be positive, got {off}")
        self.off = off

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Judge ways under the scenes of the truth."""
        self.require_rows(samples, real)
        ways, scene = samples.x, real.cond.get("scene")
        if not isinstance(ways, Tensor) or ways.ndim != 3 or ways.shape[2] != 2 or scene is None:
            raise IncompatibleError("failures judges ways (waypoints, 2) of data: junction")
        ways = ways.float()
        scene = scene.repeat(len(ways) // len(scene), 1)
        away = torch.cdist(ways[:, -1], EXITS).masked_fill(scene <= 0, math.inf)
        distance, exit_ = away.min(1)
        bent = (ways - bezier(ways[:, -1], ways.shape[1])).norm(dim=-1).amax(1)
        good = (distance < ROAD) & (bent < self.off)
        entropies = []
        for closed in range(3):
            taken = exit_[good & (scene[:, closed] <= 0)]
            if len(taken):
                share = torch.bincount(taken, minlength=3).double() / len(taken)
                entropies.append(float(torch.special.entr(share).sum()) / math.log(2))
        entropy = sum(entropies) / len(entropies) if entropies else 0.0
        return {"failure_rate": 1 - float(good.double().mean()), "exit_entropy": entropy}
