"""Whether plans go through walls."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom_trajectories.data.mazes import MEDIUM, Maze

__all__ = ["Walls"]


class Walls(Metric):
    """Plans in a maze: the share that meets a wall, and how even their steps are.

    * ``wall_rate``: share of plans of which any segment is in a wall, looked at every eighth of it;
    * ``longest_step``: mean over plans of the longest step over the mean step; 1 is an even walk.

    Args:
        maze: rows of the maze, ``#`` for walls.
    """

    better: ClassVar = {"wall_rate": "lower"}

    def __init__(self, maze: tuple[str, ...] = MEDIUM) -> None:
        self.maze = Maze(tuple(maze))

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Look at plans; real ones are asked nothing."""
        self.require_rows(samples, real)
        x = samples.x
        if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[-1] != 2 or x.shape[1] < 2:
            raise IncompatibleError("walls judge plans (steps, 2)")
        steps = torch.diff(x.double(), dim=1).norm(dim=-1)
        uneven = steps.amax(1) / steps.mean(1).clamp_min(1e-9)
        return {
            "wall_rate": float(self.maze.crosses(x.double()).double().mean()),
            "longest_step": float(uneven.mean()),
        }
