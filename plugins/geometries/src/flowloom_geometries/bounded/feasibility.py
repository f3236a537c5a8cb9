"""Whether samples lie where they may, and not on the edge of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch

from flowloom.data import Examples
from flowloom.geometry import Geometry
from flowloom.metrics import Metric


class Feasibility(Metric):
    """Shares of samples outside a convex set, and exactly on its walls.

    A point is on a wall where a step of ``margin`` along one of the axes leaves the set, times the extent of
    real points where that is less than 1. It costs two
    projections an axis: meant for a few dimensions.

    Args:
        domain: the set; where a recipe gives none, its geometry has to be one.
        margin: of the wall, in units of the set.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {"outside": "lower", "on_wall": "lower"}
    about: ClassVar[Mapping[str, str]] = {
        "outside": "Share of samples outside the set.",
        "on_wall": "Share of samples that lie exactly on a wall, where data have none.",
    }

    def __init__(self, domain: Geometry, margin: float = 1e-6) -> None:
        if not 0 < margin < math.inf:
            raise ValueError(f"margin must be positive and finite, got {margin}")
        self.domain, self.margin = domain, margin

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``outside`` and ``on_wall``."""
        self.require_rows(samples, real)
        x = samples.x
        assert isinstance(x, torch.Tensor)
        outside = ~(self.domain.violation(x) <= 0)
        exact, truth = x.double(), real.x
        assert isinstance(truth, torch.Tensor)
        extent = float((truth.double().amax(0) - truth.double().amin(0)).max())
        margin = self.margin * (min(1.0, extent) or 1.0)
        touches = torch.zeros_like(outside)
        for axis in torch.eye(exact[0].numel(), dtype=exact.dtype, device=x.device):
            for sign in (-1, 1):
                beside = exact + sign * margin * axis.reshape(exact.shape[1:])
                touches |= ~(self.domain.violation(beside) <= 0)
        return {
            "outside": float(outside.float().mean()),
            "on_wall": float((touches & ~outside).float().mean()),
        }
