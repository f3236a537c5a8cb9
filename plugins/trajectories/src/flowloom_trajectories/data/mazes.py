"""Mazes, and the ways through them."""

from __future__ import annotations

from collections import deque
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from flowloom.data import Drawn, Examples
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec

__all__ = ["MEDIUM", "Maze", "MazePlans"]

MEDIUM = (
    "########",
    "#..##..#",
    "#..#...#",
    "##...###",
    "#..#...#",
    "#.#..#.#",
    "#...#..#",
    "########",
)
"""The layout called maze2d-medium in D4RL (2004.07219)."""


class Maze:
    """Square cells of 1 m, walls or free; the middle of row r and column c is at ``(c + 0.5, r + 0.5)``.

    Args:
        rows: one word a row, ``#`` for a wall and anything else for free.

    Raises:
        DataError: rows differ in length, or nothing is free.
    """

    def __init__(self, rows: tuple[str, ...] = MEDIUM) -> None:
        if not rows or len({len(row) for row in rows}) != 1:
            raise DataError("a maze has rows of one length")
        self.rows = tuple(rows)
        self.wall = torch.tensor([[cell == "#" for cell in row] for row in rows])
        self.cells = (~self.wall).nonzero()
        # Python's own, for the search: a tensor asked cell by cell is slow.
        self._free = {(r, c) for r, c in self.cells.tolist()}
        if len(self.cells) < 2:
            raise DataError("a maze has at least two free cells")

    def hits(self, xy: Tensor) -> Tensor:
        """Whether points ``(..., 2)`` are in a wall or outside."""
        column, row = xy.nan_to_num(-1.0).floor().clamp(-1, 1e6).long().unbind(-1)
        height, width = self.wall.shape
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        wall = self.wall.to(xy.device)
        return ~inside | wall[row.clamp(0, height - 1), column.clamp(0, width - 1)]

    def freed(self, xy: Tensor, margin: float = 0.05) -> Tensor:
        """Points ``(..., 2)`` that are free as they are, and the nearest free ones of those that are not.

        Args:
            xy: points.
            margin: metres that those which are moved keep from the sides of their cell.
        """
        low = self.cells.flip(-1).to(xy)
        near = xy.unsqueeze(-2).clamp(low + margin, low + 1 - margin)
        best = (near - xy.unsqueeze(-2)).square().sum(-1).argmin(-1)
        moved = near.gather(-2, best[..., None, None].expand(*best.shape, 1, 2)).squeeze(-2)
        return torch.where(self.hits(xy)[..., None], moved, xy)

    def crosses(self, xy: Tensor, between: int = 8) -> Tensor:
        """Whether a polyline ``(..., steps, 2)`` meets a wall, looked at ``between`` points a segment."""
        share = torch.linspace(0, 1, between, dtype=xy.dtype, device=xy.device)[:, None]
        a, b = xy[..., :-1, None, :], xy[..., 1:, None, :]
        return self.hits(a + share * (b - a)).flatten(-2).any(-1)

    def way(self, start: tuple[int, int], goal: tuple[int, int], rank: np.ndarray) -> list[tuple[int, int]]:
        """A shortest way of cells; among several, that which meets cells of small ``rank`` first."""
        before: dict[tuple[int, int], tuple[int, int]] = {goal: goal}
        queue = deque([goal])
        while queue and start not in before:
            r, c = queue.popleft()
            around = [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
            for cell in sorted((at for at in around if at in self._free), key=lambda at: rank[at]):
                if cell not in before:
                    before[cell] = (r, c)
                    queue.append(cell)
        if start not in before:
            raise DataError(f"there is no way from {start} to {goal}")
        found = [start]
        while found[-1] != goal:
            found.append(before[found[-1]])
        return found


class MazePlans(Drawn):
    """Ways through a maze between two random places, with both ends given.

    Shortest ways through cells, chosen at random where there are several, with rounded corners and walked
    at even speed. States are positions ``(horizon, 2)`` in metres; the first and the last are given, so that
    a flow plans from where one is to where one wants to be.

    Args:
        n: examples in every split.
        seed: of the draws.
        horizon: steps of a plan.
        maze: rows of the maze, ``#`` for walls.
    """

    def __init__(
        self, n: int = 10_000, seed: int = 0, horizon: int = 32, maze: tuple[str, ...] = MEDIUM
    ) -> None:
        if horizon < 3:
            raise DataError(f"horizon is at least 3, got {horizon}")
        super().__init__(n, seed)
        self.horizon, self.rows = horizon, tuple(maze)

    @cached_property
    def maze(self) -> Maze:
        """The maze itself."""
        return Maze(self.rows)

    @property
    def spec(self) -> Spec:
        """Plans of which both ends are given."""
        shape = (self.horizon, 2)
        told = {
            "ends": Condition(shape=(self.horizon,), role="given"),
            "ends_values": Condition(shape=shape, role="values"),
        }
        return Spec(shape, conditions=told)

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Plans."""
        cells = self.maze.cells
        ends = torch.randint(len(cells), (n, 2), generator=generator)
        apart = 1 + torch.randint(len(cells) - 1, (n,), generator=generator)
        ends[:, 1] = (ends[:, 0] + apart) % len(cells)
        ranks = torch.rand(n, *self.maze.wall.shape, generator=generator).numpy()
        jitter = 0.3 * (torch.rand(n, 2, 2, generator=generator) - 0.5)
        plans = torch.stack([self._plan(cells[e], ranks[i], jitter[i]) for i, e in enumerate(ends)])
        given = torch.zeros(n, self.horizon, dtype=torch.bool)
        given[:, 0] = given[:, -1] = True
        values = torch.where(given[..., None], plans, torch.zeros(()))
        return Examples(plans, {"ends": given, "ends_values": values})

    def _plan(self, ends: Tensor, rank: np.ndarray, jitter: Tensor) -> Tensor:
        start, goal = (tuple(int(v) for v in end) for end in ends)
        cells = np.array(self.maze.way(start, goal, rank), dtype=np.float64)  # type: ignore[arg-type]
        points = cells[:, ::-1] + 0.5
        points[0] += jitter[0].numpy()
        points[-1] += jitter[1].numpy()
        corners = _rounded(points)
        length = np.concatenate([[0], np.linalg.norm(np.diff(corners, axis=0), axis=1).cumsum()])
        even = np.linspace(0, length[-1], self.horizon)
        xy = [np.interp(even, length, corners[:, i]) for i in (0, 1)]
        return torch.from_numpy(np.stack(xy, -1)).float()


def _rounded(points: np.ndarray) -> np.ndarray:
    """A polyline whose inner corners are cut once, at a quarter of each side (Chaikin 1974)."""
    if len(points) < 3:
        return points
    a, b = points[:-1], points[1:]
    cut = np.stack([0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b], 1).reshape(-1, 2)
    return np.concatenate([points[:1], cut[1:-1], points[-1:]])
