"""Whether a policy knows several ways where several are as good."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom_trajectories.control.agents import Policy
from flowloom_trajectories.control.bandits import HiddenGoals, TwoGoals
from flowloom_trajectories.control.env import Env

__all__ = ["Choices"]


class Choices(Score):
    """What a policy does where several actions are right: in `HiddenGoals`, or in the middle of `TwoGoals`.

    ``goals_known`` counts the goals that are hit by at least ``least`` of the actions that hit any; in
    `TwoGoals` every action counts for the side that it goes to. ``least_share`` is the share of the goal that
    is chosen least, of all actions, so that those that hit nothing make it smaller.

    Args:
        env: where; injected from the recipe.
        draws: actions.
        least: share from which a goal is known.
    """

    of_data: ClassVar[bool] = False
    better: ClassVar = {"goals_known": "higher", "least_share": "higher"}
    about: ClassVar = {
        "goals_known": "Goals that get at least 15 % (or as told) of the actions that hit any.",
        "least_share": "Share of all actions that go to the goal which is chosen least.",
    }

    def __init__(self, env: Env, draws: int = 2000, least: float = 0.15) -> None:
        if draws < 1 or not 0 < least < 1:
            raise ValueError(f"draws counts from 1 and least is a share, got {draws} and {least}")
        self.env, self.draws, self.least = env, draws, least

    def require(self, flow: Flow) -> None:
        """Ask for a policy in a world of which the right actions are known."""
        if not isinstance(self.env, HiddenGoals | TwoGoals) or len(flow.spec.shape) != 1:
            raise IncompatibleError(
                "score choices judges policies in a world with several goals: env hidden-goals or two-goals"
            )
        Policy(flow, self.env, None, 0)

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """Draw actions under one observation; the examples are counted, and not looked at."""
        self.require(flow)
        if not len(examples):
            raise ShapeError("score choices is asked of some examples, if only for their number")
        seen = torch.zeros(self.draws, self.env.observation)
        x = flow.solve(self.draws, cond={"observation": seen}, seed=seed).x
        assert isinstance(x, Tensor)
        x = x.cpu()
        if isinstance(self.env, HiddenGoals):
            hit = torch.cdist(x, self.env.places) < self.env.within
        else:
            hit = torch.stack([x[:, 0] < 0, x[:, 0] > 0], 1)
        counts = hit.double().sum(0)
        shares = counts / counts.sum().clamp_min(1)
        return {
            "goals_known": float((shares >= self.least).sum()),
            "least_share": float(counts.min() / self.draws),
        }
