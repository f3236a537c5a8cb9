"""Worlds that are acted in: the contract of the kind ``env``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError

if TYPE_CHECKING:
    from flowloom_trajectories.data.mazes import Maze

__all__ = ["Act", "Env", "Episodes", "carried_out"]


class Env(ABC):
    """A world in which ``n`` agents act side by side, each in an episode of its own.

    A state says all that there is to say of the ``n`` episodes: a tensor with a row each, unless a world
    overrides `chosen` and `renew`. `step` leaves its argument as it was.

    Attributes:
        observation: numbers that an agent sees.
        action: numbers that it decides.
        steps: of an episode, at most.
        returns: the worst and the best that an episode may bring, for the scale of a wanted return.
        maze: walls to draw behind ways; None where there are none.
    """

    observation: int
    action: int
    steps: int
    returns: tuple[float, float]
    maze: Maze | None = None

    @abstractmethod
    def reset(self, n: int, generator: torch.Generator) -> Any:
        """States of ``n`` new episodes, on the device of the generator."""

    @abstractmethod
    def observe(self, state: Any) -> Tensor:
        """What the agents see, ``(n, observation)``."""

    @abstractmethod
    def step(self, state: Any, action: Tensor, generator: torch.Generator) -> Any:
        """The states after actions ``(n, action)``, of any size: a world bounds what it cannot do."""

    @abstractmethod
    def reward(self, state: Any, action: Tensor, after: Any) -> Tensor:
        """What a step brought, ``(n,)``."""

    @abstractmethod
    def over(self, state: Any) -> Tensor:
        """Which episodes have ended by themselves, and not for lack of time: boolean ``(n,)``."""

    @abstractmethod
    def reached(self, state: Any) -> Tensor:
        """Which agents have what they came for: boolean ``(n,)``."""

    def chosen(self, rows: Tensor, one: Any, other: Any) -> Any:
        """States of ``one`` in the rows that are marked, of ``other`` in the rest."""
        return torch.where(rows.reshape(-1, *[1] * (one.ndim - 1)), one, other)

    def renew(self, state: Any, rows: Tensor, generator: torch.Generator) -> Any:
        """The same states, with new episodes in the rows that are marked."""
        return self.chosen(rows, self.reset(len(rows), generator), state)

    def scaled(self, value: Tensor) -> Tensor:
        """Returns on the scale on which the worst is 0 and the best 1."""
        low, high = self.returns
        return (value - low) / (high - low)

    def goal(self, state: Any) -> Tensor | None:
        """Where agents are to arrive, ``(n, d)``, in the first d numbers they see; None for nowhere."""
        return None

    def placed(self, start: Tensor, goal: Tensor) -> Any:
        """States of episodes from ``start`` to ``goal``, each ``(n, d)``.

        Raises:
            IncompatibleError: nobody can be put anywhere in this world.
        """
        raise IncompatibleError(f"nobody can be put at a place of {type(self).__name__}; try env: maze")

    def bounded(self, action: Tensor) -> Tensor:
        """Actions as the world takes them; any of them where it bounds none."""
        return action

    def toward(self, observation: Tensor, wanted: Tensor) -> Tensor:
        """The action that leads from an observation to the next one that is wanted, ``(n, action)``.

        Raises:
            IncompatibleError: it is not known; an inverse dynamics has to be learned.
        """
        raise IncompatibleError(
            f"{type(self).__name__} does not tell which action leads somewhere; give the flow a role inverse"
        )

    def guide(self, state: Any) -> Tensor:
        """What one who knows the world would do, ``(n, action)``: for demonstrations.

        Raises:
            IncompatibleError: nobody does.
        """
        raise IncompatibleError(f"nobody knows how to act in {type(self).__name__}; try env: maze")


Act = Callable[[Any, Tensor, int], Tensor]
"""Actions ``(n, action)`` from states, the returns so far ``(n,)`` and the number of the step."""


@dataclass(frozen=True)
class Episodes:
    """What became of ``n`` agents in T steps; an episode that is over stays where it is and brings nothing.

    Args:
        observations: ``(n, T + 1, observation)``.
        actions: ``(n, T, action)``.
        rewards: ``(n, T)``.
        alive: whether the step was taken before the episode was over, ``(n, T)``.
        reached: at the end, ``(n,)``.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    alive: Tensor
    reached: Tensor

    @property
    def returns(self) -> Tensor:
        """Sums of rewards, ``(n,)``."""
        return self.rewards.sum(1)


@torch.no_grad()
def carried_out(env: Env, act: Act, state: Any, generator: torch.Generator) -> Episodes:
    """Let agents act until their time is up.

    Args:
        env: where.
        act: says what they do.
        state: where they start.
        generator: of what the world draws.
    """
    seen = [env.observe(state)]
    actions, rewards, alive = [], [], []
    gained = torch.zeros(len(seen[0]), device=seen[0].device)
    for k in range(env.steps):
        over = env.over(state)
        action = act(state, gained, k)
        after = env.step(state, action, generator)
        reward = torch.where(over, 0.0, env.reward(state, action, after))
        state = env.chosen(over, state, after)
        gained = gained + reward
        seen.append(env.observe(state))
        actions.append(action)
        rewards.append(reward)
        alive.append(~over)
        if bool(env.over(state).all()):
            break
    return Episodes(
        torch.stack(seen, 1),
        torch.stack(actions, 1),
        torch.stack(rewards, 1),
        torch.stack(alive, 1),
        env.reached(state),
    )
