"""An actor and a critic of states on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.draw import Draw
from flowloom.energies import Energy
from flowloom.models import Critic
from flowloom.objectives import Batch, Loss, Step, Turn
from flowloom.objectives.base import Asked
from flowloom.paths import Path
from flowloom.state import batch_size
from flowloom.times import TimeLaw
from flowloom.trained import Trained
from flowloom.weights import Weight
from flowloom_alignment.reward_weighted import Rewarded, RewardWeighted

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["ACFlow"]

Weighting = Literal["exp", "linear", "sigmoid"]


class ACFlow(RewardWeighted):
    r"""Weighs flow matching by what a sample is better than its critic expected (AC-Flow, 2510.18072).

    The critic :math:`V(x_t, t, c)` regresses the shaped reward (standardised, and tanh of that) of the flow's
    own samples by the Huber loss, at the points where the actor is trained. Its answer is the feedback on the
    way:

    .. math::
        A_t = \mathrm{clip}(r - V(x_t, t, c), -c, c), \qquad
        L = E\, f(A_t) \|v_\theta - u_t\|^2 + \alpha\, E\, \|v_\theta - v_{ref}\|^2

    with f(A) = exp(tau A), 1 + tau A or the logistic function of tau A, without gradient. For ``warmup``
    steps the critic trains alone. With :math:`V = 0` and raw rewards it is `RewardWeighted`.

    The paper's text was not at hand: the form of A, the shaping, f, the clip and the warm-up follow its
    abstract, its project page and the method before it.

    Args:
        critic: V; a part of this objective.
        energy: minus the reward; in a recipe, the recipe's.
        reference: the flow that was there before; needed where ``pull`` is not 0.
        path: where the points come from.
        times: law of t.
        weight: per-time weight.
        tau: how sharply advantages weigh.
        pull: alpha.
        clip: c.
        weighting: f.
        warmup: steps in which the critic trains alone.
        condition_dropout: see `flowloom.objectives.PointObjective`.

    Raises:
        ValueError: weights could be negative, or an argument is out of range.
    """

    def __init__(
        self,
        critic: Critic,
        energy: Energy,
        reference: Trained | None = None,
        path: Path | None = None,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        tau: float = 1.0,
        pull: float = 0.0,
        clip: float = 1.0,
        weighting: Weighting = "exp",
        warmup: int = 0,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__(energy, reference, path, times, weight, tau, pull, condition_dropout)
        if not clip > 0 or warmup < 0:
            raise ValueError(f"clip is positive and warmup at least 0, got {clip} and {warmup}")
        if weighting == "linear" and tau * clip >= 1:
            raise ValueError(
                f"weights 1 + tau A are negative where tau * clip is over 1, and it is {tau * clip:g}"
            )
        self.critic, self.limit, self.weighting, self.warmup = critic, clip, weighting, warmup

    def turns(self, flow: Flow) -> Sequence[Turn]:
        """The critic's, then, after the warm-up, the actor's."""

        def judge(batch: Batch, step: Step) -> Loss:
            return self.critic_loss(batch, step)

        def act(batch: Batch, step: Step) -> Loss:
            return self.loss(flow.model, batch, step)

        own = {id(p) for p in self.critic.parameters()}
        judging = {name: p for name, p in flow.trainable().items() if id(p) in own}
        acting = {name: p for name, p in flow.trainable().items() if id(p) not in own}
        return Turn("critic", judge, judging), Turn("actor", act, acting, after=self.warmup)

    def critic_loss(self, batch: Batch, step: Step) -> Loss:
        """How far the critic is from the shaped rewards, at random points of the path."""
        batch = self.judged(batch)
        t = self.times.sample(batch_size(batch.x1), Draw.like(batch.x1, step.generator))
        point = batch.point(self.path, t, step.generator)
        told = self.critic(point.x_t, t, **batch.cond)
        error = told.detach() - batch.shaped
        explained = 1 - error.square().mean() / batch.shaped.var(correction=0).clamp_min(1e-8)
        return Loss(F.huber_loss(told, batch.shaped.to(told)), {"explained": explained})

    @torch.no_grad()
    def gains(self, batch: Rewarded, asked: Asked) -> Tensor:
        """f of the clipped advantage."""
        value = self.critic(asked.point.x_t, asked.point.t, **batch.cond)
        advantage = self.tau * (batch.shaped - value).clamp(-self.limit, self.limit)
        if self.weighting == "exp":
            return advantage.exp()
        return 1 + advantage if self.weighting == "linear" else advantage.sigmoid()
