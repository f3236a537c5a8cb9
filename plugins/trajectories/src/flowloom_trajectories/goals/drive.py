"""Planning by goals: choose one, make candidates, take the best, distrust goals that shadows deny."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.metrics import Metric
from flowloom.seeds import derive, generator
from flowloom.state import map_state
from flowloom.tasks import Task
from flowloom.tasks.base import some_rows
from flowloom_trajectories.goals.flow import GoalFlow

__all__ = ["GoalPlan"]


class GoalPlan(Task):
    r"""One way for every scene, as GoalFlow drives (2503.05689, section 3.4).

    The scorer's goal is taken, and several ways to it are drawn. Each is scored by
    :math:`-(1 - w)\,d + w\,p`, with d its distance from the goal and p its progress (the length of its
    chord), both scaled to [0, 1] among the candidates of the scene; the best is kept. A *shadow* is drawn
    with the goal withheld: where the shadows all end farther from the goal than ``threshold`` of their own
    progress, the goal is not believed, and the best shadow by progress is driven instead.

    Args:
        candidates: ways to a goal, and shadows.
        progress: w.
        threshold: as a share of progress; None for no shadows.
        corrupt: share of scenes whose goal is replaced by a random one of the vocabulary, to try the shadows.
        metrics: see `Task`.
        draws: see `Task`.
        name: see `Task`.
    """

    def __init__(
        self,
        candidates: int = 8,
        progress: float = 0.1,
        threshold: float | None = 0.2,
        corrupt: float = 0.0,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(metrics, draws, name)
        if candidates < 1 or not 0 <= progress <= 1 or not 0 <= corrupt <= 1:
            raise ValueError(
                f"candidates from 1, progress and corrupt in [0, 1]; got {candidates}, {progress}, {corrupt}"
            )
        self.candidates, self.progress, self.threshold = candidates, progress, threshold
        self.corrupt = corrupt

    def pose(self, data: Dataset, n: int, generator: torch.Generator) -> tuple[Examples, Examples]:
        """Scenes without their goals, and the ways that were taken.

        Raises:
            IncompatibleError: the data have no goals.
        """
        if "goal" not in data.spec.conditions:
            raise IncompatibleError("goal-plan asks about ways with the condition 'goal'")
        rows = some_rows(data, n, generator)
        cond = {name: value for name, value in rows.cond.items() if name != "goal"}
        return Examples(map_state(torch.zeros_like, rows.x), cond), rows

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """The way that is driven in every scene.

        Raises:
            IncompatibleError: the flow chooses no goals.
        """
        rule, n = flow.objective, len(asked)
        if not isinstance(rule, GoalFlow) or rule.scorer is None:
            raise IncompatibleError("goal-plan drives a flow of objective: goal-flow that has a scorer")
        cond = {name: value for name, value in asked.cond.items() if name in flow.known_conditions()}
        draws = generator(seed, "goal-plan")
        there = {name: value.to(flow.device) for name, value in cond.items()}
        with torch.no_grad():
            goal = rule.chosen(there, n, torch.Generator(flow.device).manual_seed(derive(seed, "goal"))).cpu()
            vocabulary = rule.scorer.flow.objective.get_buffer("vocabulary").cpu()
        wrong = vocabulary[torch.randint(len(vocabulary), (n,), generator=draws)]
        goal = torch.where((torch.rand(n, generator=draws) < self.corrupt)[:, None], wrong, goal)
        ways = self._drawn(flow, cond, goal, derive(seed, "goal-plan/ways"), shadow=False)
        ends = ways[:, :, -1]
        off, far = (ends - goal).norm(dim=-1), ends.norm(dim=-1)
        score = -(1 - self.progress) * _scaled(off) + self.progress * _scaled(far)
        best = ways[score.argmax(0), torch.arange(n)]
        if self.threshold is not None:
            shadows = self._drawn(flow, cond, goal, derive(seed, "goal-plan/shadows"), shadow=True)
            last = shadows[:, :, -1]
            reach = last.norm(dim=-1).clamp_min(1e-6)
            denied = ((last - goal).norm(dim=-1) / reach > self.threshold).all(0)
            other = shadows[reach.argmax(0), torch.arange(n)]
            best = torch.where(denied[:, None, None], other, best)
        return Examples(best, asked.cond)

    def _drawn(self, flow: Flow, cond: dict[str, Tensor], goal: Tensor, seed: int, *, shadow: bool) -> Tensor:
        """Candidates of all scenes in one solve, ``(candidates, n, waypoints, 2)``."""
        n, k = len(goal), self.candidates
        told = {name: value.repeat(k, *[1] * (value.ndim - 1)) for name, value in cond.items()}
        told |= {"goal": goal.repeat(k, 1), "null_goal": torch.full((n * k,), shadow)}
        solution = flow.solve(n * k, cond=told, seed=seed)
        kept = {name: value for name, value in solution.cond.items() if name != "null_goal"}
        with torch.no_grad(), flow.evaluating():
            x = flow.decode(Examples(solution.x, kept)).x
        assert isinstance(x, Tensor)
        return x.cpu().reshape(k, n, *x.shape[1:])


def _scaled(values: Tensor) -> Tensor:
    """To [0, 1] among the candidates of a scene."""
    low, high = values.amin(0), values.amax(0)
    return (values - low) / (high - low).clamp_min(1e-9)
