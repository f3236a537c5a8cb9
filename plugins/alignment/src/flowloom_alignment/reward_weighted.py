"""Flow matching of one's own samples, weighed by their reward."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.energies import Energy
from flowloom.errors import IncompatibleError, TrainingError
from flowloom.objectives import Batch, FlowMatching, Loss, Step
from flowloom.objectives.base import Asked
from flowloom.paths import Path
from flowloom.times import TimeLaw
from flowloom.trained import Trained
from flowloom.weights import Weight
from flowloom_alignment.groups import rewards_of, standardised
from flowloom_alignment.references import misread

__all__ = ["RewardWeighted", "Rewarded"]


@dataclass(frozen=True, kw_only=True)
class Rewarded(Batch):
    """A batch whose x1 were judged.

    Args:
        reward: ``(n,)``.
        shaped: the same, standardised among its like and bounded by 1.
    """

    reward: Tensor
    shaped: Tensor


class RewardWeighted(FlowMatching):
    r"""ORW-CFM-W2 (Fan et al. 2502.06061): what is rewarded is learned more, and the old flow holds on.

    .. math::
        L = E\, e^{\tau r(x_1)} \|v_\theta(x_t, t) - u_t\|^2
            + \alpha\, E\, \|v_\theta(x_t, t) - v_{ref}(x_t, t)\|^2

    where x1 are the present flow's own samples (``feed: rewarded``). The second term bounds the squared
    Wasserstein distance to the old flow; without it the flow collapses onto whatever the reward likes most.
    Weights have no gradient. Of a batch without rewards the energy is asked, of states as they are.

    Args:
        energy: minus the reward; in a recipe, the recipe's.
        reference: the flow that was there before; needed where ``pull`` is not 0.
        path: where the points come from.
        times: law of t.
        weight: per-time weight.
        tau: how sharply rewards weigh.
        pull: alpha.
        condition_dropout: see `flowloom.objectives.PointObjective`.

    Raises:
        IncompatibleError: ``pull`` has no reference.
    """

    def __init__(
        self,
        energy: Energy,
        reference: Trained | None = None,
        path: Path | None = None,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        tau: float = 1.0,
        pull: float = 0.0,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__(path, times, weight, condition_dropout=condition_dropout)
        if tau < 0 or pull < 0:
            raise ValueError(f"tau and pull are at least 0, got {tau} and {pull}")
        if pull and reference is None:
            raise IncompatibleError("pull draws towards a reference: give reference: {run: NAME}, or pull: 0")
        self.energy, self.reference, self.tau, self.pull = energy, reference, tau, pull

    def judged(self, batch: Batch) -> Rewarded:
        """The batch with its rewards."""
        if isinstance(batch, Rewarded):
            return batch
        reward = rewards_of(self.energy, batch.x1, batch.cond)
        groups = torch.zeros(len(reward), dtype=torch.long, device=reward.device)
        shaped = shape(reward, groups)
        return Rewarded(batch.x0, batch.x1, batch.cond, batch.layout, reward=reward, shaped=shaped)

    @torch.no_grad()
    def gains(self, batch: Rewarded, asked: Asked) -> Tensor:
        """Weights of rows ``(n,)``, not negative.

        Raises:
            TrainingError: a reward is so large that its exponential is no number.
        """
        found = (self.tau * batch.reward).exp()
        if not bool(found.isfinite().all()):
            raise TrainingError(
                f"exp(tau r) is too large a number for a reward of {float(batch.reward.max()):g} at tau "
                f"{self.tau:g}; take a smaller tau, or objective ac-flow, whose rewards are shaped"
            )
        return found

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Another reference, besides what flow matching cannot work with."""
        yield from super().clashes(parts)
        yield from misread(self.reference, self)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Draw t and x_t once; the weighted error, and the distance to the old flow there."""
        batch = self.judged(batch)
        asked, layout = self.ask(model, batch, step), batch.layout
        error = self.rows(self.compare(asked.prediction, asked.point, asked.cond), asked.point.t, layout)
        gains = self.gains(batch, asked).to(error)
        total = (gains * error).mean()
        parts = {"matching": total.detach(), "reward": batch.reward.mean(), "gain": gains.mean()}
        if not self.pull:
            return Loss(total, parts)
        assert self.reference is not None
        point = asked.point
        with torch.no_grad():
            before = self.field(self.reference)(point.x_t, point.t, asked.cond)
            before = before if layout is None else layout.still(before)
        away = self.compare(asked.prediction, replace(point, velocity=before), asked.cond)
        distance = self.rows(away, point.t, layout).mean()
        return Loss(total + self.pull * distance, parts | {"distance": distance.detach()})


def shape(reward: Tensor, groups: Tensor) -> Tensor:
    """Rewards of any size as numbers between -1 and 1: standardised in their group, and tanh of that."""
    return standardised(reward, groups).tanh()
