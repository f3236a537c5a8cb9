"""How a flow fares in a world."""

from __future__ import annotations

from typing import ClassVar

import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.scores import Score
from flowloom.seeds import generator
from flowloom.solvers import Solver
from flowloom_trajectories.control.agents import agent_of
from flowloom_trajectories.control.env import Env, carried_out

__all__ = ["ClosedLoop"]


class ClosedLoop(Score):
    """Returns of episodes in which the flow acts, as a policy or by its plans.

    Args:
        env: where; injected from the recipe.
        episodes: side by side.
        every: steps between two plans.
        target: return that is wanted, for flows that are told one; the best of the world where None.
        solver: in place of the flow's own.
    """

    of_data: ClassVar[bool] = False
    better: ClassVar = {"episode_return": "higher", "success": "higher", "episode_steps": "lower"}
    about: ClassVar = {
        "episode_return": "Mean sum of rewards of an episode in which the flow acts.",
        "success": "Share of the episodes in which the agent has what it came for at the end.",
        "episode_steps": "Mean number of steps until an episode is over, or its time is up.",
    }

    def __init__(
        self,
        env: Env,
        episodes: int = 128,
        every: int = 1,
        target: float | None = None,
        solver: Solver | None = None,
    ) -> None:
        if episodes < 1 or every < 1:
            raise ValueError(f"episodes and every count from 1, got {episodes} and {every}")
        self.env, self.episodes, self.every, self.target = env, episodes, every, target
        self.solver = solver

    def require(self, flow: Flow) -> None:
        """Ask for a policy, or for plans of what the world shows."""
        if flow.spec.parts or flow.spec.discrete or len(flow.spec.shape) not in (1, 2):
            raise IncompatibleError(
                "score closed-loop acts by flows of actions or of plans (horizon, numbers); these are of "
                f"{flow.spec.in_words()}"
            )
        agent_of(flow, self.env, self.every, self.target, self.solver, 0)

    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """Act; the examples are counted, and not looked at."""
        self.require(flow)
        if not len(examples):
            raise ShapeError("score closed-loop is asked of some examples, if only for their number")
        agent = agent_of(flow, self.env, self.every, self.target, self.solver, seed)
        draws = generator(seed, "closed-loop")
        with torch.no_grad(), flow.evaluating():
            found = carried_out(self.env, agent, self.env.reset(self.episodes, draws), draws)
        return {
            "episode_return": float(found.returns.double().mean()),
            "success": float(found.reached.double().mean()),
            "episode_steps": float(found.alive.double().sum(1).mean()),
        }
