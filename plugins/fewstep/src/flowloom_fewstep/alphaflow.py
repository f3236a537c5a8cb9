"""AlphaFlow: from trajectory flow matching to MeanFlow by one ratio."""

from __future__ import annotations

from typing import Literal

import torch

from flowloom.objectives import Step
from flowloom.paths import Path
from flowloom.times import TimeLaw
from flowloom_fewstep.composition import composition_residual, short_step_residual
from flowloom_fewstep.guided_target import GuidedTarget
from flowloom_fewstep.identity import Residual, mean_velocity_residual
from flowloom_fewstep.pairs import Pair, PairObjective
from flowloom_fewstep.ratios import Ratio, SigmoidRatio, ratio_at

__all__ = ["AlphaFlow"]


class AlphaFlow(PairObjective):
    r"""One step of the path, then the network's own jump (Zhang et al. 2510.20771).

    .. math:: L = E\; \alpha^{-1} \big\|u_\theta(x_s, s, t)
              - \mathrm{sg}\big(\alpha f + (1 - \alpha)\, u_\theta(x_m, m, t)\big)\big\|^2, \qquad
              m = s + \alpha (t - s), \quad x_m = x_s + (m - s) f

    With f = v, the velocity of the pair of ends: :math:`\alpha = 1` is trajectory flow matching, and
    :math:`\alpha \to 0` has the gradient of MeanFlow, whose loss takes over at 0. ``first: own`` has f =
    :math:`u_\theta(x_s, s, m)`, and ``ratio: 0.5`` are then shortcut models (Frans et al. 2410.12557), with
    intervals of any length where theirs are powers of two. Rows with s = t have the target v.

    The adaptive weight is :math:`\alpha^{-1} / (|d / \alpha|^2 + c)^p`, as the residual d is of size
    :math:`\alpha`. For p = 1 the paper's is :math:`\alpha / (|d|^2 + c)`, the same where c counts little;
    where :math:`|d|^2` falls below c it would silence small ratios, and its limit would not be MeanFlow.

    Args:
        path: see `PairObjective`.
        times: law of either time; the paper's is MeanFlow's.
        ratio: alpha, or how it falls; by default the curriculum of the paper's B/2.
        first: f, the velocity of the pair of ends or the network's own average.
        distinct: share of rows with two times, 1/2 to 3/4 in the paper.
        power: p of the adaptive weight.
        guided: guidance to train in.
        condition_dropout: see `PairObjective`.

    Raises:
        ValueError: the ratio is out of range, or 0 with ``first: own``.
    """

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        ratio: float | SigmoidRatio | None = None,
        first: Literal["velocity", "own"] = "velocity",
        distinct: float = 0.5,
        power: float = 1.0,
        guided: GuidedTarget | None = None,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__(path, times, distinct, power, guided=guided, condition_dropout=condition_dropout)
        self.ratio: Ratio = SigmoidRatio() if ratio is None else ratio
        if isinstance(ratio, int | float) and not 0 <= ratio <= 1:
            raise ValueError(f"ratio must lie in [0, 1], got {ratio}")
        if first == "own" and not (isinstance(ratio, int | float) and ratio > 0):
            raise ValueError(
                "first: own composes two jumps of the network; give it a ratio in (0, 1], say 0.5"
            )
        self.first = first

    def residual(self, pair: Pair, step: Step) -> Residual:
        """MeanFlow's at ratio 0, else that of the composition."""
        ratio = ratio_at(self.ratio, step.progress)
        if ratio == 0:
            pair.require_jvp("alphaflow at ratio 0")
            return mean_velocity_residual(pair.mean, pair.geometry, pair.x, pair.s, pair.t, pair.velocity)
        if self.first == "velocity":
            return short_step_residual(pair, ratio)
        # Two jumps of the network differ from one by as much at any ratio: nothing shrinks with it.
        return composition_residual(pair, torch.full_like(pair.s, ratio))
