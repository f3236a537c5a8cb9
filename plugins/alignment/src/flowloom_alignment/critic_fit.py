"""How well a critic foresees the rewards of samples it was not trained on."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom.seeds import generator as generator_of
from flowloom.state import Cond, State
from flowloom_alignment.ac_flow import ACFlow
from flowloom_alignment.groups import groups_of, rewards_of
from flowloom_alignment.reward_weighted import shape

__all__ = ["CriticFit"]


class CriticFit(Score):
    """The share of the variance of shaped rewards that V(x_t, t) explains, on fresh samples.

    ``critic_r2`` is that at half the way, ``critic_rise`` by how much it is higher at nine tenths than at one
    tenth. Samples are drawn under the conditions of the examples.

    Args:
        n: samples.
    """

    of_data = False
    better: ClassVar = {"critic_r2": "higher", "critic_rise": "higher"}
    about: ClassVar = {
        "critic_r2": "Share of the variance of rewards that the critic explains at half the way.",
        "critic_rise": "How much larger that share is at nine tenths of the way than at one tenth.",
    }

    def __init__(self, n: int = 2000) -> None:
        if n < 2:
            raise ValueError(f"n counts from 2, got {n}")
        self.n = n

    def require(self, flow: Flow) -> None:
        """Ask for a critic."""
        if not isinstance(flow.objective, ACFlow):
            name = type(flow.objective).__name__
            raise IncompatibleError(
                f"score critic-fit is of the critic of objective ac-flow, and not of {name}"
            )

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """Draw, judge, and ask the critic on the way."""
        self.require(flow)
        objective = flow.objective
        assert isinstance(objective, ACFlow)
        if not len(examples):
            raise ShapeError("score critic-fit: there is no example whose conditions to draw under")
        rows = examples.exactly(self.n)
        cond = {name: value[rows.to(value.device)] for name, value in examples.cond.items()}
        with flow.evaluating():
            solved = flow.solve(self.n, seed=seed, cond=cond)
            reward = rewards_of(objective.energy, solved.x, solved.cond, flow)
            informs = {k: v for k, v in solved.cond.items() if k in flow.spec.named("inform")}
            shaped = shape(reward, groups_of(informs, self.n, reward.device))
            draws = generator_of(seed, "critic-fit", 0, flow.device)
            x0 = flow.start_for(Examples(solved.x, dict(solved.cond)), draws)
            found = [
                self._explained(objective, x0, solved.x, solved.cond, shaped, at) for at in (0.1, 0.5, 0.9)
            ]
        return {"critic_r2": found[1], "critic_rise": found[2] - found[0]}

    @staticmethod
    def _explained(objective: ACFlow, x0: State, x1: State, cond: Cond, shaped: Tensor, at: float) -> float:
        first, last = objective.path.span
        t = torch.full((len(shaped),), first + at * (last - first), device=shaped.device)
        told = objective.critic(objective.path.sample(x0, x1, t).x_t, t, **cond)
        return float(1 - (told - shaped).square().mean() / shaped.var(correction=0).clamp_min(1e-12))
