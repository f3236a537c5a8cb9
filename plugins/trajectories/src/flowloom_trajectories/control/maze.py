"""A maze as a world."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from flowloom.errors import DataError
from flowloom_trajectories.control.env import Env
from flowloom_trajectories.data.mazes import MEDIUM, Maze

__all__ = ["MazeEnv"]

Cell = tuple[int, int]


class MazeEnv(Env):
    """Agents of no size in a maze; an action is a displacement in metres, of at most ``reach``.

    What would lead through a wall is made along it (``slide``) or not at all (``stop``). Each step brings -1
    until the goal is nearer than ``within``, where the episode is over. Agents see where they are, and where
    the goal is if that differs from episode to episode. States are ``(n, 4)``: place and goal.

    Args:
        maze: rows of the maze, ``#`` for walls.
        start: row and column of the cell to start in; any where None.
        goal: that of the goal; any other than the start where None.
        reach: metres a step.
        slip: standard deviation of what is added to every displacement, in metres.
        walls: what becomes of a step into one.
        within: metres from the goal that count as there.
        steps: of an episode.
    """

    action = 2

    def __init__(
        self,
        maze: tuple[str, ...] = MEDIUM,
        start: Cell | None = None,
        goal: Cell | None = None,
        reach: float = 1.0,
        slip: float = 0.05,
        walls: Literal["slide", "stop"] = "slide",
        within: float = 0.5,
        steps: int = 64,
    ) -> None:
        if reach <= 0 or slip < 0 or within <= 0 or steps < 1:
            raise ValueError(
                "reach and within are positive, slip is not negative and steps count from 1; got "
                f"{reach}, {within}, {slip} and {steps}"
            )
        self.maze: Maze = Maze(tuple(maze))
        for name, cell in (("start", start), ("goal", goal)):
            if cell is not None and tuple(cell) not in self._number:
                raise DataError(f"{name} {list(cell)} is no free cell of the maze; say row and column")
        if start is not None and goal is not None and tuple(start) == tuple(goal):
            raise DataError(f"start and goal are the same cell, {list(start)}")
        self._start = None if start is None else (start[0], start[1])
        self._goal = None if goal is None else (goal[0], goal[1])
        self.reach, self.slip, self.walls, self.within, self.steps = reach, slip, walls, within, steps
        self.observation = 4 if goal is None else 2
        self.returns = (-float(steps), 0.0)

    @cached_property
    def _number(self) -> dict[Cell, int]:
        return {(r, c): i for i, (r, c) in enumerate(self.maze.cells.tolist())}

    @cached_property
    def _next(self) -> Tensor:
        """The cell that follows each ``[goal, cell]`` on a shortest way, as numbers of cells."""
        rank = np.zeros(tuple(self.maze.wall.shape))
        table = torch.zeros(len(self._number), len(self._number), dtype=torch.int64)
        for goal, g in self._number.items():
            for cell, i in self._number.items():
                table[g, i] = self._number[self.maze.way(cell, goal, rank)[:2][-1]]
        return table

    def _cell(self, xy: Tensor) -> Tensor:
        """Numbers of the cells that points ``(n, 2)`` lie in."""
        wide = self.maze.wall.shape[1]
        lookup = torch.zeros(self.maze.wall.numel(), dtype=torch.int64)
        for (r, c), i in self._number.items():
            lookup[r * wide + c] = i
        at = xy.floor().long()
        return lookup.to(xy.device)[at[:, 1] * wide + at[:, 0]]

    def reset(self, n: int, generator: torch.Generator) -> Tensor:
        """Starts and goals about the middle of their cells."""
        count, where = len(self.maze.cells), generator.device
        goal = torch.randint(count, (n,), generator=generator, device=where)
        apart = 1 + torch.randint(count - 1, (n,), generator=generator, device=where)
        start = (goal + apart) % count
        if self._goal is not None:
            goal = torch.full_like(goal, self._number[self._goal])
            start = (goal + apart) % count
        if self._start is not None:
            start = torch.full_like(start, self._number[self._start])
            if self._goal is None:
                goal = (start + apart) % count
        off = 0.3 * (torch.rand(n, 2, 2, generator=generator, device=where) - 0.5)
        centres = self.maze.cells.to(where).flip(-1) + 0.5
        if self._goal is not None:
            off[:, 1] = 0
        return torch.cat([centres[start] + off[:, 0], centres[goal] + off[:, 1]], 1)

    def observe(self, state: Tensor) -> Tensor:
        """Places, and goals where they differ."""
        return state[:, : self.observation]

    def bounded(self, action: Tensor) -> Tensor:
        """Displacements of at most ``reach``."""
        return action * (self.reach / action.norm(dim=-1, keepdim=True).clamp_min(1e-9)).clamp_max(1.0)

    def step(self, state: Tensor, action: Tensor, generator: torch.Generator) -> Tensor:
        """Where displacements lead."""
        at = state[:, :2]
        noise = torch.randn(at.shape, generator=generator, device=generator.device, dtype=at.dtype)
        moved = self.bounded(action.nan_to_num(0.0)) + self.slip * noise.to(at.device)
        ways = [moved]
        if self.walls == "slide":
            ways += [moved * moved.new_tensor([1.0, 0.0]), moved * moved.new_tensor([0.0, 1.0])]
        there, done = at, torch.zeros(len(at), dtype=torch.bool, device=at.device)
        for way in ways:
            free = ~self.maze.crosses(torch.stack([at, at + way], 1)) & ~done
            there, done = torch.where(free[:, None], at + way, there), done | free
        return torch.cat([there, state[:, 2:]], 1)

    def reward(self, state: Tensor, action: Tensor, after: Tensor) -> Tensor:
        """-1."""
        return -torch.ones_like(state[:, 0])

    def over(self, state: Tensor) -> Tensor:
        """Those that are there."""
        return self.reached(state)

    def reached(self, state: Tensor) -> Tensor:
        """Nearer to the goal than ``within``."""
        return (state[:, :2] - state[:, 2:]).norm(dim=-1) < self.within

    def goal(self, state: Tensor) -> Tensor:
        """Where it is."""
        return state[:, 2:]

    def placed(self, start: Tensor, goal: Tensor) -> Tensor:
        """Agents at ``start`` on their way to ``goal``."""
        return torch.cat([start, goal], 1)

    def toward(self, observation: Tensor, wanted: Tensor) -> Tensor:
        """The difference of places."""
        return wanted[:, :2] - observation[:, :2]

    def guide(self, state: Tensor) -> Tensor:
        """On to the middle of the next cell of a shortest way; no wall is between neighbours."""
        cell, goal = self._cell(state[:, :2]), self._cell(state[:, 2:])
        following = self._next.to(state.device)[goal, cell]
        centres = self.maze.cells.to(state.device).flip(-1) + 0.5
        aim = torch.where((cell == goal)[:, None], state[:, 2:], centres[following])
        return self.bounded(aim - state[:, :2])
