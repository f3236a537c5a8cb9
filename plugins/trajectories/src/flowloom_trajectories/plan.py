"""Plans that are carried out: plan, act a little, look where one is, plan anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.metrics import Metric
from flowloom.seeds import generator
from flowloom.solvers import Euler, Solver
from flowloom.state import map_state
from flowloom.tasks import Task
from flowloom.tasks.base import row_given, some_rows
from flowloom_trajectories.control.agents import Planner
from flowloom_trajectories.control.env import Env, carried_out
from flowloom_trajectories.control.maze import MazeEnv

__all__ = ["Plan", "Reached"]

_TIMED = 7
"""Plans of which the median of the seconds is told."""


class Plan(Task):
    """Acts in a world by the plans of a flow, which is asked anew on the way (`Planner`).

    Every few steps the flow plans from where the agents now are, for all of them in one solve. Answers are
    the ways that were gone, in as many points as a plan has; what they brought stands beside them
    (``episode_return``, ``success``). A flow of plans whose both ends are given goes from the starts of
    held-out rows to their goals; one that is told a return starts where the world begins.

    On the command line nothing needs to be said (or the number of a held-out row, whose start and goal are
    taken): the world begins episodes, the flow plans with the solver of its run and by Euler's method with
    as many steps as ``evaluations`` says, and success, return and the seconds of one plan are told of each.

    Args:
        env: where; where None, a maze of the usual form, for as many steps as a plan has.
        every: steps between two plans; the first plan is carried out to its end where it is the horizon.
        target: return that is wanted, for flows that are told one; the best of the world where None.
        evaluations: of the network in a plan, that a command line asks about.
        clear: keep the points of plans out of walls while the flow solves, see `Planner`.
        solver: in place of the flow's own.
        metrics: judges of the ways; in a recipe, the recipe's own where none are named.
        draws: walks of every question; as many as the metrics want where None.
        name: what it is called in tables and files.
    """

    unasked: ClassVar[int] = 100
    viewed: ClassVar[bool] = True

    def __init__(
        self,
        env: Env | None = None,
        every: int = 4,
        target: float | None = None,
        evaluations: Sequence[int] = (1, 4, 16),
        clear: bool = False,
        solver: Solver | None = None,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        if every < 1 or min(evaluations, default=1) < 1:
            raise ValueError(f"every and evaluations count from 1, got {every} and {list(evaluations)}")
        super().__init__(metrics, draws, name)
        self.env = env
        self.every, self.target, self.solver = every, target, solver
        self.evaluations, self.clear = tuple(evaluations), clear

    def pose(self, data: Dataset, n: int, generator: torch.Generator) -> tuple[Examples, Examples]:
        """What is told of held-out rows beside empty plans, and the rows, no point of which counts as given.

        Raises:
            IncompatibleError: data are no plans of which some points are given.
        """
        spec = data.spec
        if spec.parts or len(spec.shape) != 2 or len(spec.named("given")) != 1:
            raise IncompatibleError(
                "plan asks for plans (horizon, numbers) of which what is now is given, as in maze-plans "
                "and demonstrations"
            )
        if len(spec.named("values")) != 1:
            raise IncompatibleError("plan reads what is given from one condition of role values")
        rows = some_rows(data, n, generator)
        marks = Layout(given=torch.zeros(len(rows), spec.shape[0], dtype=torch.bool))
        empty = map_state(torch.zeros_like, rows.x)
        return Examples(empty, rows.cond, marks), Examples(rows.x, rows.cond, marks)

    def read(self, given: str, data: Dataset, n: int) -> Examples:
        """``n`` episodes that the world begins, or that go from the start of a held-out row to its goal.

        Raises:
            IncompatibleError: there is no such row.
        """
        marks = torch.tensor([0, *self.evaluations]).expand(n, -1)
        if not given:
            return Examples(torch.zeros(n, *data.spec.shape), {"evaluations": marks})
        row = row_given(given, data, n, "plan takes nothing, or")
        return Examples(map_state(torch.zeros_like, row.x), {**row.cond, "evaluations": marks})

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """The ways that were gone, with their returns.

        Raises:
            IncompatibleError: the flow draws no plans, or none of what the world shows.
        """
        first = self._gone(flow, asked, self.solver, seed)
        if "evaluations" not in asked.cond:
            return first
        columns = [(first, self._seconds(flow, self.solver, seed))]
        for count in self.evaluations:
            solver = Euler(count)
            columns.append((self._gone(flow, asked, solver, seed), self._seconds(flow, solver, seed)))
        told = {
            name: torch.stack([one.cond[name] for one, _ in columns], 1)
            for name in ("episode_return", "success")
        }
        told["seconds"] = torch.tensor([s for _, s in columns]).expand(len(asked), -1)
        return replace(first, cond={**first.cond, **told})

    def show(self, answers: Examples, data: Dataset) -> list[str]:
        """A table: how far plans of different numbers of evaluations lead, and how long one takes."""
        cond = answers.cond
        if "seconds" not in cond:
            return []
        lines = [f"{'evaluations':>14} {'success':>8} {'return':>9} {'seconds a plan':>15}"]
        for k, count in enumerate(cond["evaluations"][0].tolist()):
            word = str(count) if count else "as trained"
            share, gain = (cond[name][:, k].double().mean() for name in ("success", "episode_return"))
            lines.append(f"{word:>14} {share:8.2f} {gain:9.2f} {float(cond['seconds'][0, k]):15.4f}")
        return lines

    def _planner(self, flow: Flow, solver: Solver | None, seed: int) -> Planner:
        env = self.env
        if env is None:
            spec = flow.spec if flow.codec is None else flow.codec.data_spec
            env = MazeEnv(steps=max(1, spec.shape[0] - 1))
        return Planner(flow, env, self.every, self.target, solver, seed, self.clear)

    def _gone(self, flow: Flow, asked: Examples, solver: Solver | None, seed: int) -> Examples:
        """Episodes; where the answers are to be compared with plans, in as many points as these have."""
        planner = self._planner(flow, solver, seed)
        draws = generator(seed, "slip")
        found = carried_out(planner.env, planner, self._begin(planner, asked, draws), draws)
        way = found.observations[..., : planner.size]
        if "evaluations" not in asked.cond:
            # Evenly in time where a way is longer than a plan; standing still at its end where it is shorter.
            last = way.shape[1] - 1
            longest = max(last, planner.horizon - 1)
            place = (torch.linspace(0, 1, planner.horizon) * longest).round().long()
            way = way[:, place.clamp_max(last)]
        told = {"episode_return": found.returns, "success": found.reached}
        return Examples(way, {**asked.cond, **told}, asked.layout)

    def _begin(self, planner: Planner, asked: Examples, draws: torch.Generator) -> Any:
        ends = asked.cond.get(planner.values)
        if planner.told or ends is None:
            return planner.env.reset(len(asked), draws)
        return planner.env.placed(ends[:, 0], ends[:, -1])

    def _seconds(self, flow: Flow, solver: Solver | None, seed: int) -> float:
        """Of one plan of one agent: the median of several, after one to warm up."""
        planner = self._planner(flow, solver, seed)
        state = planner.env.reset(1, generator(seed, "seconds"))
        for k in range(_TIMED + 1):
            planner(state, torch.zeros(1), k * self.every)
        return median(planner.seconds[1:])


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
