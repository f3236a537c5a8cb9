"""Plans that are carried out: plan, walk a little, look where one is, plan anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.metrics import Metric
from flowloom.seeds import derive, generator
from flowloom.solvers import Solver
from flowloom.state import map_state
from flowloom.tasks import Task
from flowloom.tasks.base import some_rows
from flowloom_trajectories.data.mazes import MEDIUM, Maze

__all__ = ["Plan", "Reached"]


class Plan(Task):
    """Walks through a maze by the plans of a flow, which is asked anew on the way.

    Steps slip: each is moved by Gaussian noise, and one that would meet a wall is not made. Every few steps
    the flow plans from where the agent now is to the goal, for all questions in one solve; a new plan is
    followed in as many points as steps are left. Answers are the ways that were walked. The flow is one of
    plans ``(horizon, 2)`` whose first and last point are given.

    Args:
        maze: rows of the maze, ``#`` for walls.
        every: steps between two plans; the first plan is carried out to its end where it is the horizon.
        slip: standard deviation of a step's noise, in metres.
        solver: in place of the flow's own.
        metrics: judges of the ways; in a recipe, the recipe's own where none are named.
        draws: walks of every question; as many as the metrics want where None.
        name: what it is called in tables and files.
    """

    def __init__(
        self,
        maze: tuple[str, ...] = MEDIUM,
        every: int = 4,
        slip: float = 0.05,
        solver: Solver | None = None,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        if every < 1 or slip < 0:
            raise ValueError(f"every counts steps from 1 and slip is not negative, got {every} and {slip}")
        super().__init__(metrics, draws, name)
        self.maze, self.every, self.slip, self.solver = Maze(tuple(maze)), every, slip, solver

    def pose(self, data: Dataset, n: int, generator: torch.Generator) -> tuple[Examples, Examples]:
        """Starts and goals, and the plans of held-out rows, none of whose points counts as given.

        Raises:
            IncompatibleError: data are no plans in the plane of which some points are given.
        """
        spec = data.spec
        values = spec.named("values")
        if spec.parts or len(spec.shape) != 2 or spec.shape[-1] != 2 or len(spec.named("given")) != 1:
            raise IncompatibleError(
                "plan asks for ways (horizon, 2) of which both ends are given: maze-plans"
            )
        if len(values) != 1:
            raise IncompatibleError("plan reads starts and goals from one condition of role values")
        rows = some_rows(data, n, generator)
        marks = Layout(given=torch.zeros(len(rows), spec.shape[0], dtype=torch.bool))
        empty = map_state(torch.zeros_like, rows.x)
        return Examples(empty, rows.cond, marks), Examples(rows.x, rows.cond, marks)

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """The way that was walked, from every start."""
        known = flow.known_conditions()
        names = [name for name, one in known.items() if one.role == "values"]
        if len(names) != 1 or names[0] not in asked.cond:
            raise IncompatibleError(
                "plan asks a flow of plans whose ends are given; this one is told of none"
            )
        ends = asked.cond[names[0]]
        n, horizon = ends.shape[:2]
        at, way = ends[:, 0], [ends[:, 0]]
        draws = generator(seed, "slip")
        for step in range(1, horizon):
            since = (step - 1) % self.every
            if since == 0:
                now = torch.cat([at[:, None], ends[:, 1:]], 1)
                whole = self._planned(flow, asked, names[0], now, derive(seed, "plan", step))
                plan = _shortened(whole, horizon - step)
            wanted = plan[:, since] + self.slip * torch.randn(n, 2, generator=draws)
            at = torch.where(self.maze.crosses(torch.stack([at, wanted], 1))[:, None], at, wanted)
            way.append(at)
        return Examples(torch.stack(way, 1), asked.cond, asked.layout)

    def _planned(self, flow: Flow, asked: Examples, name: str, ends: Tensor, seed: int) -> Tensor:
        known = flow.known_conditions()
        cond = {key: value for key, value in asked.cond.items() if key in known} | {name: ends}
        solution = flow.solve(len(ends), solver=self.solver, cond=cond, seed=seed)
        with torch.no_grad(), flow.evaluating():
            x = flow.decode(Examples(solution.x, solution.cond)).x
        assert isinstance(x, Tensor)
        return x.cpu()


class Reached(Metric):
    """Share of ways that end within ``within`` of where the true way ends.

    Args:
        within: metres.
        draws: of each row.
    """

    better: ClassVar = {"reached": "higher"}
    paired: ClassVar[bool] = True

    def __init__(self, within: float = 0.5, draws: int = 1) -> None:
        if within <= 0 or draws < 1:
            raise ValueError(f"within must be positive and draws at least 1, got {within} and {draws}")
        self.within, self.draws = within, draws

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Compare last points."""
        self.require_rows(samples, real)
        ends, goals = _last(samples), _last(real)
        off = (ends.reshape(-1, *goals.shape) - goals).norm(dim=-1)
        return {"reached": float((off < self.within).double().mean())}


def _last(examples: Examples) -> Tensor:
    """The last real point of every way."""
    x = examples.x
    if not isinstance(x, Tensor) or x.ndim != 3:
        raise IncompatibleError("reached judges ways (steps, coordinates)")
    real = None if examples.layout is None else examples.layout.real
    if real is None:
        return x[:, -1].double()
    marks = real.flatten(2).all(-1) if real.ndim > 2 else real
    last = (marks * torch.arange(1, x.shape[1] + 1)).argmax(1)
    return x[torch.arange(len(x)), last].double()


def _shortened(plans: Tensor, points: int) -> Tensor:
    """The points that follow the first, as many as wanted, evenly along the index: ``(n, points, 2)``."""
    place = torch.linspace(0, plans.shape[1] - 1, points + 1)[1:]
    low = place.floor().long().clamp(max=plans.shape[1] - 2)
    share = (place - low)[:, None]
    return plans[:, low] * (1 - share) + plans[:, low + 1] * share
