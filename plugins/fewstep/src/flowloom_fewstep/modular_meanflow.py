"""Modular MeanFlow: how much gradient the derivative keeps."""

from __future__ import annotations

from typing import Literal

import torch

from flowloom.objectives import Step
from flowloom.paths import Path
from flowloom.times import TimeLaw
from flowloom_fewstep.guided_target import GuidedTarget
from flowloom_fewstep.identity import Residual, mean_velocity_residual
from flowloom_fewstep.pairs import Pair, PairObjective

__all__ = ["ModularMeanFlow"]


class ModularMeanFlow(PairObjective):
    r"""MeanFlow whose derivative passes a share of its gradient (You et al. 2508.17426).

    .. math:: L_\lambda = E\,\big\|u_\theta - (t - s)\, SG_\lambda[\partial_s u_\theta + w \cdot \partial_x
              u_\theta] - v\big\|^2, \qquad SG_\lambda[z] = \lambda z + (1 - \lambda)\, \mathrm{sg}(z)

    in our direction of time. :math:`\lambda = 0` is MeanFlow; the paper's curriculum is :math:`\lambda(k) =
    \min(1, k / T_{warm})`. Every :math:`\lambda` has the same value, and the same residual 0 where v is the
    flow's velocity. But v is that of a pair of ends, and with w = v, as in the paper, its noise is squared
    with the derivative: for :math:`\lambda > 0` the minimum is another map, flatter than the flow's.
    ``tangent: averaged`` takes w from the averaged network's own diagonal, and has no such bias.

    Args:
        path: see `PairObjective`.
        times: law of either time.
        through: lambda at the end of the warm-up.
        warm: share of the training in which lambda grows from 0; 0 for none.
        tangent: w, of the pair of ends or of the averaged network (``train.ema``).
        distinct: share of rows with two times.
        power: p of the adaptive weight.
        guided: guidance to train in.
        condition_dropout: see `PairObjective`.

    Raises:
        ValueError: a share is none.
    """

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        through: float = 1.0,
        warm: float = 0.5,
        tangent: Literal["conditional", "averaged"] = "conditional",
        distinct: float = 0.25,
        power: float = 1.0,
        guided: GuidedTarget | None = None,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__(path, times, distinct, power, guided=guided, condition_dropout=condition_dropout)
        if not (0 <= through <= 1 and 0 <= warm <= 1):
            raise ValueError(f"through and warm are shares in [0, 1], got {through}, {warm}")
        self.through, self.warm, self.tangent = through, warm, tangent
        self.averages = tangent == "averaged"
        self.compiles = through == 0

    def share(self, progress: float) -> float:
        """Lambda when ``progress`` of the training is done."""
        return self.through * (min(1.0, progress / self.warm) if self.warm else 1.0)

    def residual(self, pair: Pair, step: Step) -> Residual:
        """One network call in forward mode, differentiated backwards as far as lambda says."""
        pair.require_jvp("modular-meanflow")
        tangent = None
        if self.tangent == "averaged":
            with torch.no_grad():
                tangent = pair.asks(step.averaged.model)(pair.x, pair.s)
        share = self.share(step.progress)
        return mean_velocity_residual(
            pair.mean, pair.geometry, pair.x, pair.s, pair.t, pair.velocity, tangent, share
        )
