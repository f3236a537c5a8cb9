"""The flow's own samples, judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowloom.data import Dataset
from flowloom.data.records import examples_of
from flowloom.energies import Energy, require_energy
from flowloom.errors import IncompatibleError
from flowloom.objectives import Batch
from flowloom.training.feeds import Feeding, Replay, paired
from flowloom.views import View
from flowloom_alignment.groups import groups_of, rewards_of
from flowloom_alignment.reward_weighted import Rewarded, shape

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["RewardedFeed"]


class RewardedFeed(Replay):
    """Batches of the present flow's samples with their rewards, all of them made anew every ``every`` steps.

    Nothing older is kept: a critic of stale samples would judge another flow. Rewards are of decoded data.

    Args:
        energy: minus the reward; injected from the recipe.
        data: training rows, for their conditions; injected from the recipe.
        views: what is made of them, in order; injected from the recipe.
        fresh: samples a look.
        every: steps of training on the same samples.
        per_prompt: whether shaped rewards are standardised among those of the same conditions.
        noise: standard deviation of what is added to every reward.
        event: event shape of the states where there are no data.
    """

    def __init__(
        self,
        energy: Energy,
        data: Dataset | None = None,
        views: Sequence[View] = (),
        fresh: int = 512,
        every: int = 15,
        per_prompt: bool = True,
        noise: float = 0.0,
        event: Sequence[int] | None = None,
    ) -> None:
        super().__init__(data, views, fresh, fresh, every, 1.0, event)
        if noise < 0:
            raise ValueError(f"noise must not be negative, got {noise}")
        self.energy, self.per_prompt, self.noise = energy, per_prompt, noise

    def start(self, feeding: Feeding) -> None:
        """Remember what batches are made with.

        Raises:
            IncompatibleError: the energy is of other states.
        """
        super().start(feeding)
        flow = feeding.flow
        require_energy(
            self.energy, flow.spec if flow.codec is None else flow.codec.data_spec, "feed rewarded"
        )

    def refresh(self, flow: Flow, step: int, generator: torch.Generator) -> Mapping[str, float]:
        """Let the flow draw, and ask for rewards."""
        super().refresh(flow, step, generator)
        return {"sampled_reward": float(self.kept["reward"].mean()), "reward_calls": float(self.fresh)}

    def collect(self, flow: Flow, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Samples, rewards, and rewards in shape.

        Raises:
            IncompatibleError: rewards are to be compared within prompts, and each prompt has one sample.
        """
        found = super().collect(flow, step, generator)
        own = examples_of(found, "x")
        reward = rewards_of(self.energy, own.x, own.cond, flow)
        if self.noise:
            noise = torch.randn(
                reward.shape, generator=generator, device=generator.device, dtype=reward.dtype
            )
            reward = reward + self.noise * noise
        names = flow.spec.named("inform") if self.per_prompt else ()
        told = {name: value for name, value in own.cond.items() if name in names}
        groups = groups_of(told, len(reward), reward.device)
        if len(reward) > 1 and int(torch.bincount(groups).max()) == 1:
            raise IncompatibleError(
                "feed rewarded compares samples of the same conditions, and no two are alike; use "
                "per_prompt: false"
            )
        return {**found, "reward": reward, "shaped": shape(reward, groups)}

    def made(self, kept: Mapping[str, Tensor], number: int, generator: torch.Generator) -> Batch:
        """Samples beside fresh noise, with their rewards."""
        batch = paired(self.feeding, examples_of(kept, "x"), generator)
        told = {"reward": kept["reward"], "shaped": kept["shaped"]}
        return Rewarded(batch.x0, batch.x1, batch.cond, batch.layout, **told)
