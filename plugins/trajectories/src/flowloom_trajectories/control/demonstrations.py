"""What scripted agents of mixed skill did in a world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowloom.data import Drawn, Examples
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec
from flowloom_trajectories.control.env import Env, Episodes, carried_out

__all__ = ["Acts", "Demonstrations", "shown"]

_MOOD = 8
"""Steps after which an agent makes up its mind anew."""


def shown(env: Env, n: int, skills: Sequence[float], generator: torch.Generator) -> Episodes:
    """Episodes of scripted agents, each of a skill drawn from ``skills``.

    Every eight steps an agent of skill q decides whether to follow the world's guide, which it does with
    probability q; otherwise it goes at a fifth of the pace, with noise as large as the pace added.

    Args:
        env: where.
        n: episodes.
        skills: probabilities.
        generator: of everything drawn.
    """
    skill = torch.tensor(list(skills))[torch.randint(len(skills), (n,), generator=generator)]
    awake = torch.ones(n, dtype=torch.bool)

    def act(state: Any, gained: Tensor, step: int) -> Tensor:
        nonlocal awake
        if step % _MOOD == 0:
            awake = torch.rand(n, generator=generator) < skill
        best = env.guide(state)
        pace = best.norm(dim=-1, keepdim=True)
        lazy = 0.2 * best + pace * torch.randn(best.shape, generator=generator)
        return env.bounded(torch.where(awake[:, None], best, lazy))

    return carried_out(env, act, env.reset(n, generator), generator)


class Acts(Drawn):
    """Actions under what was seen: for behaviour cloning, inverse dynamics, and the form of policies.

    States are actions; conditions are ``observation`` and, with ``after``, that of the next step too.
    ``skills: []`` are agents that act at random, for policies that learn by themselves.

    Args:
        env: where; injected from the recipe.
        n: actions in every split.
        seed: of the draws.
        episodes: of which they are taken.
        skills: of the agents, see `shown`.
        best: share of the episodes that is kept, by their return.
        after: tell the observation of the next step.
    """

    def __init__(
        self,
        env: Env,
        n: int = 4096,
        seed: int = 0,
        episodes: int = 256,
        skills: tuple[float, ...] = (),
        best: float = 1.0,
        after: bool = False,
    ) -> None:
        super().__init__(n, seed)
        _require(episodes, skills)
        if not 0 < best <= 1:
            raise DataError(f"best is a share of the episodes in (0, 1], got {best}")
        self.env, self.episodes, self.skills, self.best, self.after = env, episodes, skills, best, after

    @property
    def spec(self) -> Spec:
        """Actions, and what was seen."""
        told = {"observation": Condition(shape=(self.env.observation,))}
        if self.after:
            told["after"] = Condition(shape=(self.env.observation,))
        return Spec((self.env.action,), conditions=told)

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Random steps of the episodes."""
        found = _played(self.env, self.episodes, self.skills, generator)
        kept = found.returns.argsort(descending=True)[: max(1, round(self.best * self.episodes))]
        row, step = found.alive[kept].nonzero(as_tuple=True)
        some = torch.randint(len(row), (n,), generator=generator)
        at = kept[row[some]], step[some]
        cond = {"observation": found.observations[at]}
        if self.after:
            cond["after"] = found.observations[at[0], at[1] + 1]
        return Examples(found.actions[at], cond)


class Demonstrations(Drawn):
    """Stretches of what agents of mixed skill saw, beside the return that was still to come.

    States are observations ``(horizon, observation)`` from any step of an episode on, the last one repeated
    where it ends; the first is given. The condition ``return`` is the sum of rewards from there on, on the
    scale of the world's `Env.returns`.

    Args:
        env: where; injected from the recipe.
        n: stretches in every split.
        seed: of the draws.
        horizon: observations of a stretch.
        episodes: of which they are taken.
        skills: of the agents, see `shown`.
    """

    def __init__(
        self,
        env: Env,
        n: int = 8192,
        seed: int = 0,
        horizon: int = 16,
        episodes: int = 512,
        skills: tuple[float, ...] = (0.2, 0.5, 0.8),
    ) -> None:
        super().__init__(n, seed)
        _require(episodes, skills)
        if horizon < 2 or not skills:
            raise DataError(f"horizon counts from 2 and there are skills, got {horizon} and {list(skills)}")
        self.env, self.horizon, self.episodes, self.skills = env, horizon, episodes, skills

    @property
    def spec(self) -> Spec:
        """Stretches of which the first observation is given."""
        shape = (self.horizon, self.env.observation)
        told = {
            "now": Condition(shape=(self.horizon,), role="given"),
            "now_values": Condition(shape=shape, role="values"),
            "return": Condition(shape=(1,)),
        }
        return Spec(shape, conditions=told)

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Random stretches."""
        found = _played(self.env, self.episodes, self.skills, generator)
        row, step = found.alive.nonzero(as_tuple=True)
        some = torch.randint(len(row), (n,), generator=generator)
        row, step = row[some], step[some]
        last = found.observations.shape[1] - 1
        steps = (step[:, None] + torch.arange(self.horizon)).clamp(max=last)
        x = found.observations[row[:, None], steps]
        to_come = found.rewards.flip(1).cumsum(1).flip(1)[row, step]
        now = torch.zeros(n, self.horizon, dtype=torch.bool)
        now[:, 0] = True
        values = torch.where(now[..., None], x, torch.zeros(()))
        cond = {"now": now, "now_values": values, "return": self.env.scaled(to_come)[:, None]}
        return Examples(x, cond)


def _played(env: Env, n: int, skills: Sequence[float], generator: torch.Generator) -> Episodes:
    """Episodes of scripted agents, or of some that act at random."""
    if skills:
        return shown(env, n, skills, generator)

    def act(state: Any, gained: Tensor, step: int) -> Tensor:
        return env.bounded(torch.randn(n, env.action, generator=generator))

    return carried_out(env, act, env.reset(n, generator), generator)


def _require(episodes: int, skills: Sequence[float]) -> None:
    if episodes < 1 or not all(0 <= q <= 1 for q in skills):
        raise DataError(f"episodes count from 1 and skills lie in [0, 1], got {episodes} and {list(skills)}")
