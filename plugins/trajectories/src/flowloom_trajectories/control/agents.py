"""What a trained flow does in a world: by itself as a policy, or by plans that are made anew on the way."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.seeds import derive
from flowloom.solvers import Solver
from flowloom.solvers.walk import Hook
from flowloom.state import Cond, State
from flowloom.trained import Trained
from flowloom_trajectories.control.env import Act, Env

__all__ = ["Planner", "Policy", "agent_of", "shortened"]


class Policy:
    """Acts as the flow says under what is seen.

    Args:
        flow: of actions under the condition ``observation``.
        env: where.
        solver: in place of the flow's own.
        seed: of everything the flow draws.
    """

    def __init__(self, flow: Flow, env: Env, solver: Solver | None, seed: int) -> None:
        told = flow.known_conditions().get("observation")
        if told is None or tuple(told.shape) != (env.observation,):
            raise IncompatibleError(
                f"{type(env).__name__} shows {env.observation} numbers and is acted in by flows of "
                f"{env.action} under a condition 'observation' of that size, or by plans of what is seen"
            )
        self.flow, self.env, self.solver, self.seed = flow, env, solver, seed
        self.seconds: list[float] = []

    def __call__(self, state: Any, gained: Tensor, step: int) -> Tensor:
        """Actions; see `Act`."""
        began = time.perf_counter()
        cond = {"observation": self.env.observe(state)}
        x = _drawn(self.flow, len(gained), cond, self.solver, derive(self.seed, "act", step))
        self.seconds.append(time.perf_counter() - began)
        return x


class Planner:
    """Plans what is to be seen next, acts to see it, and plans anew every so many steps.

    A flow that is told a return plans from where one is; the return still wanted is ``target`` less what
    was gained. Any other plans from where one is to the goal, to arrive at the last step of its horizon, and
    is followed in as many points as are left of it, ``every`` at least. The action comes from the role
    ``inverse``, a flow of actions under ``observation`` and ``after``, else from the world (`Env.toward`).

    Args:
        flow: of plans ``(horizon, d)``, the first d numbers of observations, of which the first is given.
        env: where.
        every: steps between two plans.
        target: return that is wanted of an episode; the best that the world can give where None.
        solver: in place of the flow's own.
        seed: of everything the flow draws.
        clear: points of a plan that lie in a wall of the world's maze are moved to the nearest free place
            after every step of the solver, from the middle of its way on: a projection while it solves.

    Raises:
        IncompatibleError: the flow draws no plans of what the world shows, or there are no walls to clear.
    """

    def __init__(
        self,
        flow: Flow,
        env: Env,
        every: int,
        target: float | None,
        solver: Solver | None,
        seed: int,
        clear: bool = False,
    ) -> None:
        known, spec = flow.known_conditions(), flow.spec if flow.codec is None else flow.codec.data_spec
        given, values = ([k for k, c in known.items() if c.role == role] for role in ("given", "values"))
        if spec.parts or len(spec.shape) != 2 or len(given) != 1 or len(values) != 1:
            raise IncompatibleError(
                "plan asks for plans (horizon, numbers) of which what is now is given, as in maze-plans "
                "and demonstrations"
            )
        self.horizon, self.size = spec.shape
        if self.size > env.observation:
            raise IncompatibleError(
                f"plans have {self.size} numbers a step, and {type(env).__name__} shows {env.observation}"
            )
        self.given, self.values, self.told = given[0], values[0], "return" in known
        inverse = flow.roles["inverse"] if "inverse" in flow.roles else None  # noqa: SIM401  (no get)
        if inverse is not None and not isinstance(inverse, Trained):
            raise IncompatibleError("role inverse is a trained flow of actions: inverse: {run: NAME}")
        self.inverse = inverse
        self.flow, self.env, self.every, self.solver, self.seed = flow, env, every, solver, seed
        self.target = env.returns[1] if target is None else target
        if clear and (env.maze is None or self.size < 2):
            raise IncompatibleError(f"clear keeps plans out of walls, and {type(env).__name__} has none")
        self.clear = clear
        self.plans = torch.zeros(0)
        self.seconds: list[float] = []

    def __call__(self, state: Any, gained: Tensor, step: int) -> Tensor:
        """Actions; see `Act`."""
        seen = self.env.observe(state)
        since = step % self.every
        if since == 0:
            began = time.perf_counter()
            self.plans = self.plan(state, gained, derive(self.seed, "plan", step))
            self.seconds.append(time.perf_counter() - began)
            self.plans = (
                self.plans[:, 1:]
                if self.told
                else shortened(self.plans, max(self.every, self.horizon - 1 - step))
            )
        wanted = self.plans[:, min(since, self.plans.shape[1] - 1)]
        if self.inverse is None:
            return self.env.toward(seen, wanted)
        cond = {"observation": seen, "after": wanted}
        return _drawn(self.inverse.flow, len(seen), cond, None, derive(self.seed, "inverse", step))

    def plan(self, state: Any, gained: Tensor, seed: int) -> Tensor:
        """What is seen now and is to be seen next, ``(n, horizon, d)``."""
        seen = self.env.observe(state)[:, : self.size]
        marks = torch.zeros(len(seen), self.horizon, dtype=torch.bool, device=seen.device)
        values = seen.new_zeros(len(seen), self.horizon, self.size)
        marks[:, 0], values[:, 0] = True, seen
        cond = {self.given: marks, self.values: values}
        if self.told:
            cond["return"] = self.env.scaled(self.target - gained)[:, None]
        else:
            goal = self.env.goal(state)
            if goal is None or goal.shape[-1] != self.size:
                raise IncompatibleError(
                    f"this flow plans to a goal of {self.size} numbers, and {type(self.env).__name__} has "
                    "none; try env: maze"
                )
            marks[:, -1], values[:, -1] = True, goal
        hook = self._project if self.clear else None
        return _drawn(self.flow, len(seen), cond, self.solver, seed, hook)

    def _project(self, x: State, t: float) -> State:
        first, last = self.flow.field().span
        if (t - first) / (last - first) < 0.5:
            return x
        codec, maze = self.flow.codec, self.env.maze
        assert maze is not None
        data = x if codec is None else codec.decode(Examples(x)).x
        assert isinstance(data, Tensor)
        data = torch.cat([maze.freed(data[..., :2]), data[..., 2:]], -1)
        return data if codec is None else codec.encode(Examples(data)).x


def agent_of(
    flow: Flow, env: Env, every: int, target: float | None, solver: Solver | None, seed: int
) -> Policy | Planner:
    """A policy where the flow draws actions, a planner where it draws plans; both are an `Act`.

    Raises:
        IncompatibleError: it does neither in this world.
    """
    found: Act = (
        Policy(flow, env, solver, seed)
        if len(flow.spec.shape) == 1
        else Planner(flow, env, every, target, solver, seed)
    )
    assert isinstance(found, Policy | Planner)
    return found


def shortened(plans: Tensor, points: int) -> Tensor:
    """The points that follow the first, as many as wanted, evenly along the index: ``(n, points, d)``."""
    place = torch.linspace(0, plans.shape[1] - 1, points + 1)[1:]
    low = place.floor().long().clamp(max=plans.shape[1] - 2)
    share = (place - low)[:, None]
    return plans[:, low] * (1 - share) + plans[:, low + 1] * share


def _drawn(
    flow: Flow, n: int, cond: Cond, solver: Solver | None, seed: int, on_step: Hook | None = None
) -> Tensor:
    """Data of a flow under conditions, on the CPU."""
    solution = flow.solve(n, cond=cond, solver=solver, seed=seed, on_step=on_step)
    with torch.no_grad(), flow.evaluating():
        x = flow.decode(Examples(solution.x, solution.cond)).x
    assert isinstance(x, Tensor)
    return x.cpu()
