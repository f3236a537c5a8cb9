"""Walks in groups, kept for some steps of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flowloom.data import Dataset
from flowloom.draw import Draw
from flowloom.energies import Energy, require_energy
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, read_as
from flowloom.layout import Layout
from flowloom.objectives import Batch
from flowloom.state import Cond, expand, with_batch
from flowloom.training.feeds import Feeding
from flowloom.training.feeds.own import OwnFeed
from flowloom.views import View
from flowloom_alignment.groups import groups_of, rewards_of, standardised
from flowloom_alignment.noise_search import NoiseSearch
from flowloom_alignment.rollouts import Rollouts, Search, roll_out
from flowloom_alignment.sde import FlowSDE

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["RolloutFeed"]


class RolloutFeed(OwnFeed):
    """Batches of walks by the present policy, ``group`` under the conditions of each of ``prompts`` rows.

    They are taken anew every ``every`` steps by the flow's own field, unguided; a batch as large as all of
    them sees each once. Rewards are of decoded data.

    Args:
        energy: minus the reward; injected from the recipe.
        data: training rows, for their conditions; injected from the recipe.
        views: what is made of them, in order; injected from the recipe.
        prompts: groups a look; one where nothing informs the network.
        group: G, walks of each.
        every: steps of training on the same walks.
        sde: takes their steps.
        search: for noise that promises much (Smart-GRPO); None draws it blindly.
        shape: event shape of the states where there are no data.
    """

    def __init__(
        self,
        energy: Energy,
        data: Dataset | None = None,
        views: Sequence[View] = (),
        prompts: int = 1,
        group: int = 16,
        every: int = 1,
        sde: FlowSDE | None = None,
        search: NoiseSearch | None = None,
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__(data, views, shape, None, every)
        if prompts < 1 or group < 2:
            raise ValueError(f"prompts counts from 1 and group from 2, got {prompts} and {group}")
        self.energy, self.sde = energy, sde or FlowSDE()
        self.prompts, self.group, self.search = prompts, group, search
        if search is not None and search.after > self.sde.steps:
            raise IncompatibleError(f"search.after is step {search.after}, and walks have {self.sde.steps}")

    def start(self, feeding: Feeding) -> None:
        """Remember what batches are made with.

        Raises:
            IncompatibleError: the flow has no score, states of parts, or an energy of other states; or a step
                of the walks draws no noise.
        """
        super().start(feeding)
        flow = feeding.flow
        require_energy(
            self.energy, flow.spec if flow.codec is None else flow.codec.data_spec, "feed rollouts"
        )
        if flow.spec.parts or not flow.path.converts("velocity", "score", flow.source):
            raise IncompatibleError(
                "feed rollouts walks by an SDE: states of one tensor on an affine path from a gaussian source"
            )
        field = read_as(flow.objective.field(flow.model, flow.source), "velocity")
        self.sde.require_noise(field, "feed rollouts")

    def refresh(self, flow: Flow, step: int, generator: torch.Generator) -> Mapping[str, float]:
        """Walk, and ask for rewards."""
        n = self.prompts * self.group
        draw = Draw(generator, device=self.feeding.device, dtype=flow.dtype)
        cond = self._told(flow, step, generator)
        layout = flow.layout(cond)
        field = read_as(flow.objective.field(flow.model, flow.source), "velocity")
        x0 = flow.source.sample(with_batch(flow.spec.event_shape(), n), draw, cond=cond)
        assert isinstance(x0, Tensor)
        searched: tuple[int, Search] | None = None
        if self.search is not None:
            find = self._searching(flow, field, cond, layout, draw)
            searched = self.search.after, find
            if not self.search.after:
                std = x0.new_full((n,), flow.source.std or 1.0)
                x0 = expand(std, x0) * find(torch.zeros_like(x0), std, torch.full_like(std, field.span[0]))
        states, noise = roll_out(self.sde, field, x0, cond, layout, draw, searched)
        reward = rewards_of(self.energy, states[:, -1], cond, flow)
        advantage = standardised(reward, groups_of(self._informing(flow, cond), n, x0.device))
        self.kept = {
            "states": states,
            "noise": noise,
            "advantage": advantage,
            "reward": reward,
            **{f"cond.{name}": value for name, value in cond.items()},
        }
        calls = n + (self.search.calls * self.prompts if self.search is not None else 0)
        return {"rollout_reward": float(reward.mean()), "reward_calls": float(calls)}

    def batch(self, number: int, generator: torch.Generator) -> Batch:
        """Some of the walks, all of them where they are as many as a batch is large."""
        kept = self.chosen(self.feeding.size, number)
        cond = {k.removeprefix("cond."): v for k, v in kept.items() if k.startswith("cond.")}
        states = kept["states"]
        layout = self.feeding.flow.layout(cond)
        return Rollouts(
            states[:, 0],
            states[:, -1],
            cond,
            layout,
            states=states,
            noise=kept["noise"],
            advantage=kept["advantage"],
            reward=kept["reward"],
            sde=self.sde,
        )

    def _told(self, flow: Flow, step: int, generator: torch.Generator) -> Cond:
        rows = self.asked(self.prompts, step)
        if rows is None:
            return {}
        cond = flow.encode(rows, generator).cond
        return {name: value.repeat_interleave(self.group, 0) for name, value in cond.items()}

    @staticmethod
    def _informing(flow: Flow, cond: Cond) -> Cond:
        names = flow.spec.named("inform")
        return {name: value for name, value in cond.items() if name in names}

    def _searching(self, flow: Flow, field: Field, cond: Cond, layout: Layout | None, draw: Draw) -> Search:
        """The search of one step, which asks the reward of data decoded in one step."""
        search = self.search
        assert search is not None
        assert field.path is not None
        path = field.path

        def find(mean: Tensor, std: Tensor, t: Tensor) -> Tensor:
            first = slice(None, None, self.group)
            asked = {k: v[first].repeat_interleave(search.candidates, 0) for k, v in cond.items()}
            times = t[first].repeat_interleave(search.candidates)
            rows = torch.arange(len(t), device=t.device)[first].repeat_interleave(search.candidates)
            many = None if layout is None else layout.take(rows)

            def score(states: Tensor) -> Tensor:
                states = states if many is None else many.hold(many.zero(states))
                velocity = field(states, times, asked)
                data = path.convert(velocity, states, times, "velocity", "data")
                data = data if many is None else many.hold(many.zero(data))
                return rewards_of(self.energy, data, asked, flow)

            centre, width = search(score, mean[first], std[first], draw)
            centre, width = (v.repeat_interleave(self.group, 0) for v in (centre, width))
            return centre + search.spread * width * draw.normal(mean.shape)

        return find
