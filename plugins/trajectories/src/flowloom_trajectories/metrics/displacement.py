"""How far forecasts are from what came."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from flowloom.data import Examples
from flowloom.metrics import Metric
from flowloom_trajectories.metrics.ways import ways

__all__ = ["Displacement"]


class Displacement(Metric):
    r"""Average and final displacement, of one draw and of the best of K, in the unit of the data (metres).

    With :math:`e_{kt} = \|\hat y_{kt} - y_t\|` of draw k at step t, over steps that are real and not given,
    and over rows that have such steps:

    * ``ade``, ``fde``: mean over draws of :math:`\overline{e_k}`, and of the last step's e;
    * ``min_ade``, ``min_fde``: mean over rows of the smallest of K, each by itself, as in the literature
      (Gupta et al. 1803.10892);
    * ``miss_rate``: share of rows whose best final displacement exceeds ``miss``.

    Args:
        draws: K, 20 for pedestrians.
        miss: a final displacement that is a miss.
    """

    better: ClassVar = {
        "ade": "lower",
        "fde": "lower",
        "min_ade": "lower",
        "min_fde": "lower",
        "miss_rate": "lower",
    }
    about: ClassVar = {
        "ade": "mean distance from the truth over steps and draws",
        "fde": "mean distance at the last step, over draws",
        "min_ade": "mean distance over steps, of the best draw of each row",
        "min_fde": "distance at the last step, of the best draw of each row",
        "miss_rate": "share of rows of which no draw ends near the truth",
    }
    paired: ClassVar[bool] = True

    def __init__(self, draws: int = 20, miss: float = 2.0) -> None:
        if draws < 1 or not 0 < miss < math.inf:
            raise ValueError(f"draws must be at least 1 and miss positive, got {draws} and {miss}")
        self.draws, self.miss = draws, miss

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare every draw with its truth."""
        self.require_rows(samples, real)
        drawn, truth, counts = ways(samples, real, "displacement")
        rows = counts.any(1)
        off, counts = (drawn - truth).norm(dim=-1)[:, rows], counts[rows]
        average = off.sum(-1) / counts.sum(-1)
        last = (counts * torch.arange(1, counts.shape[1] + 1)).argmax(-1)
        final = off.gather(-1, last.expand(len(off), -1)[..., None])[..., 0]
        best = final.amin(0)
        missed = torch.where(best.isnan(), best, (best > self.miss).double())
        return {
            "ade": float(average.mean()),
            "fde": float(final.mean()),
            "min_ade": float(average.amin(0).mean()),
            "min_fde": float(best.mean()),
            "miss_rate": float(missed.mean()),
        }
