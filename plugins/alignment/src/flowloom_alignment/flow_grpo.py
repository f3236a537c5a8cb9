"""Group-relative policy optimisation of a flow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.draw import Draw
from flowloom.energies import Energy
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, read_as
from flowloom.objectives import Batch, FlowMatching, Loss, Step, Turn
from flowloom.objectives.flow_matching import Quantity
from flowloom.paths import Path
from flowloom.sources import Gaussian, Source
from flowloom.state import expand
from flowloom.trained import Trained
from flowloom_alignment.groups import groups_of, rewards_of, standardised
from flowloom_alignment.references import misread
from flowloom_alignment.rollouts import Rollouts, log_density, means_of, roll_out
from flowloom_alignment.sde import FlowSDE

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["FlowGRPO"]


class FlowGRPO(FlowMatching):
    r"""Descends the clipped policy objective of walks by an SDE with the flow's marginals.

    Flow-GRPO (Liu et al. 2505.05470). With :math:`m_\theta` the mean and :math:`s_k` the deviation of step k
    (`FlowSDE`), :math:`q_k = N(x_{k+1}; m_\theta, s_k^2) / N(x_{k+1}; m_{old}, s_k^2)`, and A the reward of a
    walk standardised among those of the same conditions,

    .. math::
        L = -E_k \min\big(q_k A,\ \mathrm{clip}(q_k, 1-\epsilon, 1+\epsilon)\,A\big)
            + \beta\, E_k \frac{\|m_\theta - m_{ref}\|^2}{2 s_k^2} .

    Walks come from ``feed: rollouts``, which keeps them for several steps. Of any other batch x0 is walked
    from on the spot, and the energy is asked of states as they are: then q is 1 in value.

    Args:
        energy: minus the reward; in a recipe, the recipe's.
        reference: the flow that was there before; needed where ``kl`` is not 0.
        path: an affine one, from a Gaussian.
        source: the law of x0.
        sde: takes the steps of walks that the feed does not bring.
        clip: epsilon.
        kl: beta.
        per_entry: log densities and divergences are means over entries, as in the authors' code, and not
            sums.
        predict: what the network answers with.

    Raises:
        IncompatibleError: the path tells no score, or ``kl`` has no reference.
    """

    def __init__(
        self,
        energy: Energy,
        reference: Trained | None = None,
        path: Path | None = None,
        source: Source | None = None,
        sde: FlowSDE | None = None,
        clip: float = 0.2,
        kl: float = 0.0,
        per_entry: bool = False,
        predict: Quantity = "velocity",
    ) -> None:
        super().__init__(path, predict=predict)
        self.energy, self.reference, self.law = energy, reference, source or Gaussian()
        self.sde, self.clip, self.kl, self.per_entry = sde or FlowSDE(), clip, kl, per_entry
        if not clip > 0 or not kl >= 0:
            raise ValueError(f"clip is positive and kl at least 0, got {clip} and {kl}")
        if kl and reference is None:
            raise IncompatibleError(
                "kl holds the policy to a reference: give reference: {run: NAME}, or kl: 0"
            )
        if not self.path.converts("velocity", "score", self.law):
            raise IncompatibleError(
                "flow-grpo walks by an SDE, which needs the score: an affine path from a gaussian source"
            )

    def turns(self, flow: Flow) -> Sequence[Turn]:
        """One turn; steps of its own walks must have a density.

        Raises:
            IncompatibleError: one draws no noise.
        """
        self.sde.require_noise(self.policy(flow.model), "flow-grpo")
        return super().turns(flow)

    def policy(self, model: nn.Module) -> Field:
        """A network as the field of velocities that takes the steps."""
        return read_as(self.field(model, self.law), "velocity")

    @torch.no_grad()
    def walked(self, model: nn.Module, batch: Batch, generator: torch.Generator | None) -> Rollouts:
        """Walks from the x0 of a batch that has none."""
        x0, cond, layout = batch.x0, batch.cond, batch.layout
        assert isinstance(x0, Tensor)
        if layout is not None:
            layout = layout.holding(batch.x1)
        draw = Draw.like(x0, generator)
        states, noise = roll_out(self.sde, self.policy(model), x0, cond, layout, draw)
        reward = rewards_of(self.energy, states[:, -1], cond)
        return Rollouts(
            x0,
            states[:, -1],
            cond,
            layout,
            states=states,
            noise=noise,
            advantage=standardised(reward, groups_of(cond, len(x0), x0.device)),
            reward=reward,
            sde=self.sde,
        )

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """The clipped objective over all steps of all walks, and the divergence from the reference."""
        walks = batch if isinstance(batch, Rollouts) else self.walked(model, batch, step.generator)
        told = (walks.states, walks.cond, walks.layout)
        mean, std, layout = means_of(walks.sde, self.policy(model), *told)
        std = expand(std, mean)
        away = (walks.states[:, 1:].flatten(0, 1) - mean) / std
        new, old = (
            log_density(noise, layout, per_entry=self.per_entry).reshape(walks.noise.shape[:2])
            for noise in (away, walks.noise.flatten(0, 1))
        )
        ratio, gain = (new - old).exp(), walks.advantage[:, None]
        within = ratio.clamp(1 - self.clip, 1 + self.clip)
        policy = -torch.minimum(ratio * gain, within * gain).mean()
        parts = {
            "policy": policy.detach(),
            "reward": walks.reward.mean(),
            "clipped": (ratio != within).to(ratio.dtype).mean(),
        }
        if not self.kl:
            return Loss(policy, parts)
        assert self.reference is not None
        with torch.no_grad():
            before, _, _ = means_of(walks.sde, self.policy(self.reference), *told)
        apart = (mean - before) / std
        divergence = -log_density(apart, layout, per_entry=self.per_entry).mean()
        return Loss(policy + self.kl * divergence, parts | {"kl": divergence.detach()})

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """States of several parts and another reference, besides what flow matching cannot work with."""
        yield from super().clashes(parts)
        yield from misread(self.reference, self)
        spec = parts.get("spec")
        if getattr(spec, "parts", None):
            yield Clash("objective", "data", "flow-grpo walks states of one tensor, and these have parts")
