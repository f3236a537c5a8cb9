"""SplitMeanFlow: average velocities by splitting intervals, with forward passes alone."""

from __future__ import annotations

from flowloom.draw import Draw
from flowloom.objectives import Step
from flowloom.paths import Path
from flowloom.times import TimeLaw
from flowloom.trained import Trained
from flowloom_fewstep.composition import composition_residual
from flowloom_fewstep.guided_target import GuidedTarget
from flowloom_fewstep.identity import Residual
from flowloom_fewstep.pairs import Pair, PairObjective

__all__ = ["SplitMeanFlow"]


class SplitMeanFlow(PairObjective):
    r"""An interval's displacement is the sum of its parts' (Guo et al. 2507.16884).

    .. math:: L = E\, \big\|u_\theta(x_s, s, t)
              - \mathrm{sg}(\lambda\, u_\theta(x_s, s, m) + (1 - \lambda)\, u_\theta(x_m, m, t))\big\|^2,
              \quad m = s + \lambda (t - s), \; x_m = x_s + (m - s)\, u_\theta(x_s, s, m)

    with :math:`\lambda` uniform on [0, 1], every row its own. The paper's noise is at time 1, so its
    :math:`u_2`, the part next to the state, is our first. The other rows (s = t) anchor the network to the
    velocity of the pair of ends, or of a teacher with whatever guidance it has. There is no derivative: any
    attention kernel serves. MeanFlow is the limit :math:`\lambda \to 0`. On a manifold the parts are composed
    by exponentials, see `flowloom_fewstep.composition`.

    Args:
        path: see `PairObjective`.
        times: law of either time.
        distinct: share of rows that are split; the others are the paper's p_flow.
        power: p of the adaptive weight; the paper's loss is plain.
        guided: guidance to train in, where there is no teacher.
        condition_dropout: see `PairObjective`.
        teacher: gives the velocities, as in the paper's distillation; start from its weights with ``model:
            {run: ..., frozen: false}``.
    """

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        distinct: float = 0.5,
        power: float = 0.0,
        guided: GuidedTarget | None = None,
        condition_dropout: float = 0.0,
        teacher: Trained | None = None,
    ) -> None:
        super().__init__(
            path,
            times,
            distinct,
            power,
            guided=guided,
            condition_dropout=condition_dropout,
            teacher=teacher,
        )

    def residual(self, pair: Pair, step: Step) -> Residual:
        """Three network calls, one of them with gradient."""
        ratio = Draw.like(pair.x, step.generator).uniform(pair.s.shape)
        return composition_residual(pair, ratio)
