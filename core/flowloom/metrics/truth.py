"""How far answers are from the truth, row by row: for flows that are asked about held-out rows."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data.base import Examples
from flowloom.errors import ShapeError
from flowloom.metrics.base import Metric
from flowloom.state import leaves, map_state

__all__ = ["Truth"]


class Truth(Metric):
    r"""Distance of samples from the held-out row whose conditions they were drawn under.

    With K draws :math:`x_{kd}` of row k whose truth is :math:`y_k`, and Euclidean norms over real and free
    entries, divided by the root of their number:

    * ``truth_rmse``: mean over rows and draws of :math:`\|x_{kd} - y_k\|`;
    * ``truth_best``: mean over rows of the nearest draw (best of K); for K > 1;
    * ``truth_mean``: mean over rows of :math:`\|\bar x_k - y_k\|` with the mean of the draws; for K > 1;
    * ``energy_score``: :math:`E\|x - y\| - \tfrac12 E\|x - x'\|` over distinct draws, the strictly proper
      score of the whole conditional law (Gneiting and Raftery 2007; CRPS for one number); for K > 1.

    Args:
        draws: samples a row.
    """

    better: ClassVar = {
        "truth_rmse": "lower",
        "truth_best": "lower",
        "truth_mean": "lower",
        "energy_score": "lower",
    }
    paired: ClassVar[bool] = True

    def __init__(self, draws: int = 8) -> None:
        if draws < 1:
            raise ValueError(f"draws must be at least 1, got {draws}")
        self.draws = draws

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare every sample with its truth."""
        self.require_rows(samples, real)
        n = len(real)
        if len(samples) % n:
            raise ShapeError(
                f"{len(samples)} samples do not belong to {n} rows of truth; give every row as many"
            )
        truth, count = _columns(real, real)
        drawn = torch.stack(
            [_columns(samples.take(rows), real)[0] for rows in torch.arange(len(samples)).split(n)]
        )
        off = _norm(drawn - truth, count)
        values = {"truth_rmse": float(off.mean())}
        draws = len(drawn)
        if draws > 1:
            values["truth_best"] = float(off.amin(0).mean())
            values["truth_mean"] = float(_norm(drawn.mean(0) - truth, count).mean())
            among = sum(
                (_norm(drawn - one, count).sum(0) for one in drawn), torch.zeros(n, dtype=torch.float64)
            )
            values["energy_score"] = float((off.mean(0) - among / (2 * draws * (draws - 1))).mean())
        return values


def _columns(examples: Examples, like: Examples) -> tuple[Tensor, Tensor]:
    """Real and free entries side by side, 0 elsewhere, ``(n, features)``; and their number in every row."""
    x = examples.x
    ones = map_state(lambda v: torch.ones_like(v, dtype=torch.float64), x)
    if like.layout is not None:
        # What is given or padding is 0 on both sides, whatever stands there.
        x, ones = like.layout.still(x), like.layout.still(ones)
    flat = torch.cat([leaf.flatten(1).double() for _, leaf in leaves(x)], 1)
    return flat, torch.cat([leaf.flatten(1) for _, leaf in leaves(ones)], 1).sum(1)


def _norm(values: Tensor, count: Tensor) -> Tensor:
    return values.square().sum(-1).div(count.clamp_min(1)).sqrt()
