"""Stage 2: flow matching to ways, told their goals."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from flowloom.conditions import require_dropout
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.objectives import Batch, FlowMatching, Step
from flowloom.objectives.base import Asked
from flowloom.paths import Path
from flowloom.state import Cond, batch_size
from flowloom.times import TimeLaw
from flowloom.trained import Trained
from flowloom_trajectories.goals.scorer import GoalScores

__all__ = ["GoalFlow"]


class GoalFlow(FlowMatching):
    """Flow matching under a scene and a goal, either of which may be withheld (GoalFlow, 2503.05689).

    Training sees the true goal, and withholds all conditions from a row with probability
    ``condition_dropout`` and else the goal alone with ``goal_dropout`` (the paper draws one of the three
    cases a batch). Where no goal is given in sampling, a scorer of an earlier stage chooses it from its
    vocabulary.

    Args:
        path: see `FlowMatching`.
        times: see `FlowMatching`.
        scorer: a run of ``objective: goal-scores``; None leaves goals to the caller.
        pick: ``draw`` takes a goal with the probability that its score has, ``top`` the mean of the best.
        top: goals of which ``top`` takes the mean.
        goal_dropout: probability that the goal alone is withheld.
        condition_dropout: probability that everything is.

    Raises:
        IncompatibleError: the scorer's run is of another objective, or knows fewer goals than ``top``.
    """

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        scorer: Trained | None = None,
        pick: Literal["draw", "top"] = "draw",
        top: int = 1,
        goal_dropout: float = 0.1,
        condition_dropout: float = 0.1,
    ) -> None:
        super().__init__(path, times, condition_dropout=condition_dropout)
        require_dropout(goal_dropout)
        if top < 1:
            raise ValueError(f"top counts goals from 1, got {top}")
        if scorer is not None and not isinstance(scorer.flow.objective, GoalScores):
            name = type(scorer.flow.objective).__name__
            raise IncompatibleError(f"scorer is a run of objective: goal-scores, and this one is of {name}")
        known = getattr(scorer.flow.model, "goals", top) if scorer is not None else top
        if top > known:
            raise IncompatibleError(f"top takes the mean of {top} goals, and the scorer knows {known}")
        self.scorer, self.pick, self.top, self.goal_dropout = scorer, pick, top, goal_dropout
        self.invents = () if scorer is None else ("goal",)

    def withholds(self, names: frozenset[str], every: frozenset[str]) -> bool:
        """Everything, or the goal alone."""
        alone = self.goal_dropout > 0 and names == {"goal"}
        return alone or super().withholds(names, every)

    def ask(self, model: nn.Module, batch: Batch, step: Step) -> Asked:
        """One network call, the goal withheld from some rows."""
        if self.goal_dropout and "goal" in batch.cond:
            drawn = Draw.like(batch.x1, step.generator).uniform((batch_size(batch.x1),))
            batch = replace(batch, cond={**batch.cond, "null_goal": drawn < self.goal_dropout})
        return super().ask(model, batch, step)

    @torch.no_grad()
    def complete(self, cond: Cond, n: int, generator: torch.Generator | None = None) -> Cond:
        """With goals of the scorer, where none are given."""
        if self.scorer is None or "goal" in cond:
            return cond
        return {**cond, "goal": self.chosen(cond, n, generator)}

    def chosen(self, cond: Cond, n: int, generator: torch.Generator | None = None) -> Tensor:
        """A goal for each of ``n`` scenes, ``(n, 2)`` in units of the data."""
        assert self.scorer is not None
        rule = self.scorer.flow.objective
        assert isinstance(rule, GoalScores)
        scores, vocabulary = rule.scores(self.scorer, cond, n), rule.vocabulary
        if self.pick == "top":
            return vocabulary[scores.topk(self.top, 1).indices].mean(1)
        uniform = Draw.like(scores, generator).uniform(tuple(scores.shape)).clamp_min(1e-12)
        return vocabulary[(scores - (-uniform.log()).log()).argmax(1)]  # Gumbel's trick
