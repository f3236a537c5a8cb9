"""MeanFlow: average velocities, learned from scratch in one stage."""

from __future__ import annotations

from flowloom.objectives import Step
from flowloom.paths import Path
from flowloom.times import TimeLaw
from flowloom_fewstep.guided_target import GuidedTarget
from flowloom_fewstep.identity import Residual, mean_velocity_residual
from flowloom_fewstep.pairs import Pair, PairObjective

__all__ = ["MeanFlow"]


class MeanFlow(PairObjective):
    r"""Learn the average velocity between two times (Geng et al. 2505.13447; Riemannian: 2510.21608).

    .. math:: L = E\; w\, \big\|u_\theta(x_s, s, t) - \mathrm{sg}(u_{tgt})\big\|^2, \qquad
       u_{tgt} = v + (t - s)\,\big(v \cdot \partial_x u_\theta + \partial_s u_\theta\big)

    in our direction of time (data at 1); :math:`v` is the velocity of the conditional path, the derivative
    one ``torch.func.jvp``, and the error summed over entries. On a curved geometry the residual is that of
    `flowloom_fewstep.identity`, which says what an average velocity is there. A share of the rows has s = t
    and is plain flow matching. The network reads ``s`` as its time and ``t - s`` as the setting ``span`` (the
    pair that the paper found best, table 1c); one evaluation ``exp_x(u(x, 0, 1))`` then samples.

    Args:
        path: where the points come from; injected from the recipe where none is given.
        times: law of either time, uniform by default. The paper's logit-normal(-0.4, 1) is, in our time,
            ``{use: logit-normal, mean: 0.4, std: 1}``.
        distinct: share of rows with two times, 1/4 on ImageNet and 3/4 on CIFAR-10 in the paper.
        power: p of the adaptive weight, see `flowloom_fewstep.weighting.adaptive`: 1 on ImageNet, 0.75 on
            CIFAR-10.
        guided: guidance to train in.
        condition_dropout: probability with which a row's conditions are withheld, drawn per row.

    Raises:
        IncompatibleError: the states are tokens, or the path jumps.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        distinct: float = 0.25,
        power: float = 1.0,
        guided: GuidedTarget | None = None,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__(path, times, distinct, power, guided=guided, condition_dropout=condition_dropout)

    def residual(self, pair: Pair, step: Step) -> Residual:
        """One network call in forward mode, compared with the identity.

        Raises:
            IncompatibleError: the network has no forward-mode derivative.
        """
        pair.require_jvp("meanflow")
        return mean_velocity_residual(pair.mean, pair.geometry, pair.x, pair.s, pair.t, pair.velocity)
