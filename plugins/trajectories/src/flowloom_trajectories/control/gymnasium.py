"""Worlds of gymnasium (https://gymnasium.farama.org), an optional dependency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from flowloom.errors import DataError, IncompatibleError, MissingDependencyError
from flowloom_trajectories.control.env import Env

__all__ = ["Gymnasium"]


@dataclass(frozen=True)
class Running:
    """Episodes that gymnasium itself holds: only the latest of a world's states can be stepped.

    Args:
        worlds: one an agent.
        observation: ``(n, observation)``.
        reward: of the last step, ``(n,)``.
        over: ``(n,)``.
        reached: ``(n,)``.
    """

    worlds: tuple[Any, ...]
    observation: Tensor
    reward: Tensor
    over: Tensor
    reached: Tensor


class Gymnasium(Env):
    """An environment of gymnasium with real-valued actions, one copy an agent, stepped one after another.

    Actions in [-1, 1] are spread over the limits of the action space where it has any. An agent reached what
    it came for where the environment says so (``info["success"]`` or ``"is_success"``). A run that is
    continued starts new episodes, as gymnasium's states cannot be saved.

    Args:
        id: name of the environment.
        returns: the worst and the best return to be expected.
        steps: of an episode.
        observation: numbers seen; asked of gymnasium where None. A recipe that says both sizes is planned
            without gymnasium.
        action: numbers decided.
        arguments: further ones of ``gymnasium.make``.

    Raises:
        MissingDependencyError: gymnasium is not installed.
        IncompatibleError: what is seen or decided is no vector of numbers.
        DataError: gymnasium knows no such environment.
    """

    def __init__(
        self,
        id: str,
        returns: tuple[float, float] = (0.0, 1.0),
        steps: int = 1000,
        observation: int | None = None,
        action: int | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        if ":" in id:
            raise ValueError(f"id {id!r} would import a module; name a world that gymnasium knows")
        if returns[0] >= returns[1] or steps < 1:
            raise ValueError(f"returns go up and steps count from 1, got {list(returns)} and {steps}")
        self.id, self.returns, self.steps = id, (returns[0], returns[1]), steps
        self.arguments = dict(arguments or {})
        if observation is None or action is None:
            one = self._made()
            observation, action = _size(one.observation_space, id), _size(one.action_space, id)
            one.close()
        self.observation, self.action = observation, action

    def _made(self) -> Any:
        try:
            import gymnasium
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"env gymnasium runs {self.id} with gymnasium, which is not here: pip install gymnasium"
            ) from error
        try:
            return gymnasium.make(self.id, **self.arguments)
        except (gymnasium.error.Error, ImportError) as error:
            raise DataError(f"gymnasium cannot make {self.id!r}: {str(error).splitlines()[0]}") from error

    def reset(self, n: int, generator: torch.Generator) -> Running:
        """New worlds."""
        seeds = torch.randint(2**31, (n,), generator=generator, device=generator.device).tolist()
        worlds = tuple(self._made() for _ in range(n))
        seen = torch.stack([_row(w.reset(seed=s)[0]) for w, s in zip(worlds, seeds, strict=True)])
        none = torch.zeros(n, dtype=torch.bool)
        return Running(worlds, seen, torch.zeros(n), none, none)

    def observe(self, state: Running) -> Tensor:
        """What gymnasium said last."""
        return state.observation

    def step(self, state: Running, action: Tensor, generator: torch.Generator) -> Running:
        """Step every world that is not over."""
        seen, over, reached = state.observation.clone(), state.over.clone(), state.reached.clone()
        reward = torch.zeros_like(state.reward)
        for i, world in enumerate(state.worlds):
            if over[i]:
                continue
            found, gain, ended, _, info = world.step(_spread(action[i], world.action_space))
            seen[i], reward[i], over[i] = _row(found), float(gain), bool(ended)
            reached[i] = reached[i] | bool(info.get("success", info.get("is_success", False)))
        return replace(state, observation=seen, reward=reward, over=over, reached=reached)

    def reward(self, state: Running, action: Tensor, after: Running) -> Tensor:
        """Of the last step."""
        return after.reward

    def over(self, state: Running) -> Tensor:
        """Those that gymnasium terminated."""
        return state.over

    def reached(self, state: Running) -> Tensor:
        """Those of which gymnasium said so."""
        return state.reached

    def chosen(self, rows: Tensor, one: Running, other: Running) -> Running:
        """The latest states: a world that is over was not stepped."""
        return other

    def renew(self, state: Running, rows: Tensor, generator: torch.Generator) -> Running:
        """New episodes in the rows that are marked."""
        seen, marks = state.observation.clone(), ~rows
        for i in rows.nonzero()[:, 0].tolist():
            seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
            seen[i] = _row(state.worlds[i].reset(seed=seed)[0])
        return replace(state, observation=seen, over=state.over & marks, reached=state.reached & marks)


def _size(space: Any, id: str) -> int:
    """Numbers of a point of a space of real vectors."""
    shape = getattr(space, "shape", None)
    if shape is None or type(space).__name__ != "Box":
        raise IncompatibleError(
            f"env gymnasium takes real vectors, and {id} has {type(space).__name__}; an environment with "
            "continuous actions does, such as Pendulum-v1"
        )
    return int(torch.tensor(shape).prod())


def _row(found: Any) -> Tensor:
    return torch.as_tensor(found, dtype=torch.float32).flatten()


def _spread(action: Tensor, space: Any) -> Any:
    """An action of [-1, 1] over the limits of a space."""
    low, high = torch.as_tensor(space.low), torch.as_tensor(space.high)
    bounded = action.detach().cpu().clamp(-1, 1).reshape(low.shape)
    limited = (low.isfinite() & high.isfinite()).all()
    return ((low + (bounded + 1) / 2 * (high - low)) if limited else bounded).numpy().astype(space.dtype)
