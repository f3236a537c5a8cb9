"""Small worlds in which several different actions are right."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom_trajectories.control.env import Env

__all__ = ["HiddenGoals", "TwoGoals"]


class HiddenGoals(Env):
    """One of several goals on a circle is the right one, agents see nothing, and have a few tries.

    An action is a point of the plane; one that is nearer to the right goal than ``within`` brings 1 and ends
    the episode. A policy that knows one of m goals finds it in 1/m of the episodes; one that draws each as
    often in :math:`1 - (1 - 1/m)^{tries}` of them. What is seen is the number 0. States are ``(n, 2)``: the
    number of the goal, and whether it was hit.

    Args:
        goals: on the circle.
        distance: its radius.
        within: radius of a goal.
        tries: actions of an episode.
    """

    observation, action, returns = 1, 2, (0.0, 1.0)

    def __init__(self, goals: int = 4, distance: float = 1.5, within: float = 0.35, tries: int = 8) -> None:
        if goals < 1 or tries < 1 or distance <= 0 or within <= 0:
            raise ValueError(
                "goals and tries count from 1, distance and within are positive; got "
                f"{goals}, {tries}, {distance} and {within}"
            )
        self.goals, self.within, self.steps = goals, within, tries
        angle = 2 * math.pi * torch.arange(goals) / goals
        self.places = distance * torch.stack([angle.cos(), angle.sin()], -1)

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        """A goal each."""
        which = torch.randint(self.goals, (n,), generator=generator, device=generator.device)
        return torch.stack([which.float(), torch.zeros_like(which).float()], 1)

    def observe(self, state: Tensor) -> Tensor:
        """Nothing."""
        return torch.zeros_like(state[:, :1])

    def step(self, state: Tensor, action: Tensor, generator: torch.Generator) -> Tensor:
        """Whether the goal was hit."""
        right = self.places.to(action)[state[:, 0].long()]
        hit = (action - right).norm(dim=-1) < self.within
        return torch.stack([state[:, 0], torch.maximum(state[:, 1], hit.to(state))], 1)

    def reward(self, state: Tensor, action: Tensor, after: Tensor) -> Tensor:
        """1 for a hit."""
        return after[:, 1] - state[:, 1]

    def over(self, state: Tensor) -> Tensor:
        """Goals that were hit."""
        return state[:, 1] > 0

    def reached(self, state: Tensor) -> Tensor:
        """The same."""
        return state[:, 1] > 0


class TwoGoals(Env):
    """A square with a goal at its left and one at its right: from its middle, either way is as good.

    Agents start anywhere, see where they are on a scale from -1 to 1, and move by at most one cell a step,
    not over the edge. Arriving brings 1. States are ``(n, 2)``, in cells.

    Args:
        side: cells of a side.
        within: cells from a goal that count as there.
        steps: of an episode.
    """

    observation, action, returns = 2, 2, (0.0, 1.0)

    def __init__(self, side: int = 9, within: float = 1.0, steps: int = 16) -> None:
        if side < 3 or steps < 1 or within <= 0:
            raise ValueError(f"side from 3, steps from 1, within positive; got {side}, {steps}, {within}")
        self.side, self.within, self.steps = side, within, steps
        self.places = torch.tensor([[0.5, side / 2], [side - 0.5, side / 2]])

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        """Anywhere that is no goal; who is thrown onto one starts in the middle."""
        state = self.side * torch.rand(n, 2, generator=generator, device=generator.device)
        return torch.where(self.reached(state)[:, None], torch.full_like(state, self.side / 2), state)

    def observe(self, state: Tensor) -> Tensor:
        """Places from -1 to 1."""
        return 2 * state / self.side - 1

    def step(self, state: Tensor, action: Tensor, generator: torch.Generator) -> Tensor:
        """Moves of at most a cell."""
        length = action.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        return (state + action * length.reciprocal().clamp_max(1.0)).clamp(0, self.side)

    def reward(self, state: Tensor, action: Tensor, after: Tensor) -> Tensor:
        """1 on arrival."""
        return self.reached(after).to(state) - self.reached(state).to(state)

    def over(self, state: Tensor) -> Tensor:
        """Those that are there."""
        return self.reached(state)

    def reached(self, state: Tensor) -> Tensor:
        """Near one of both."""
        return torch.cdist(state, self.places.to(state)).amin(1) < self.within
