"""Bellman-optimal step sizes: the few Euler steps that cost least on a teacher's own trajectories."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.data.base import Dataset
from flowloom.errors import SolverError
from flowloom.fields import Field, read_as
from flowloom.fields.base import evaluate, time_tensor
from flowloom.layout import Layout, squared_distance
from flowloom.solvers import Euler
from flowloom.state import Cond, State, map_state
from flowloom.trained import Trained
from flowloom_fewstep.teachers import mistaught

if TYPE_CHECKING:
    from flowloom.flow import Flow

__all__ = ["BellmanEuler", "euler_costs", "fine_euler", "optimal_knots"]


@torch.no_grad()
def fine_euler(
    field: Field,
    x: State,
    cond: Cond,
    fine: int,
    generator: torch.Generator | None,
    layout: Layout | None = None,
) -> Iterator[tuple[State, State, State]]:
    """The steps of a fine Euler trajectory: where each begins, the velocity there, and where it ends.

    Args:
        field: a velocity.
        x: states at the source.
        cond: their conditions.
        fine: equal steps; on manifolds they go by exponentials.
        generator: for fields that draw.
        layout: only what is real and free moves.
    """
    start, end = field.span
    if layout is not None:
        x, layout = layout.settled(x)
    times = [start + (end - start) * i / fine for i in range(fine + 1)]
    for t, t_next in pairwise(times):
        slope = evaluate(field, x, time_tensor(t, x), cond, generator)
        slope = slope if layout is None else layout.still(slope)
        after = field.geometry.exp(x, map_state(lambda v, h=t_next - t: v * h, slope))
        yield x, slope, after
        x = after


@torch.no_grad()
def euler_costs(
    field: Field,
    x: State,
    cond: Cond,
    fine: int,
    generator: torch.Generator,
    layout: Layout | None = None,
) -> Tensor:
    r"""Errors of single Euler steps between the points of a fine Euler trajectory, ``(fine + 1, fine + 1)``.

    .. math:: c_{ij} = E\; d\big(\exp_{x_i}((t_j - t_i)\, v(x_i, t_i)),\, x_j\big)^2, \qquad i < j

    Args:
        field: a velocity.
        x: states at the source.
        cond: their conditions.
        fine: steps of the trajectory.
        generator: for fields that draw.
        layout: only what is real and free moves, and counts.
    """
    (start, end), geometry = field.span, field.geometry
    times = [start + (end - start) * i / fine for i in range(fine + 1)]
    trajectory = list(fine_euler(field, x, cond, fine, generator, layout))
    costs = torch.full((fine + 1, fine + 1), math.inf, dtype=torch.float64)
    for i, (before, slope, _) in enumerate(trajectory):
        for j, (_, _, after) in enumerate(trajectory[i:], i + 1):
            span = times[j] - times[i]
            landed = geometry.exp(before, map_state(lambda v, h=span: v * h, slope))
            costs[i, j] = squared_distance(geometry, landed, after, layout).double().mean()
    return costs


def optimal_knots(costs: Tensor, steps: int) -> list[int]:
    """The cheapest way from first to last point in exactly ``steps`` edges: ``steps + 1`` indices.

    Args:
        costs: of an edge from i to j > i, ``(n, n)``.
        steps: edges.

    Raises:
        SolverError: there are fewer points than that.
    """
    n = len(costs)
    if steps > n - 1:
        raise SolverError(
            f"a grid of {n - 1} fine steps has no {steps} steps in it; set fine: {steps} or more"
        )
    best, came = torch.full((n,), math.inf, dtype=costs.dtype), list[Tensor]()
    best[0] = 0
    for _ in range(steps):
        least, where = (best[:, None] + costs.cpu()).min(0)
        best = least
        came.append(where)
    knots = [n - 1]
    for where in reversed(came):
        knots.append(int(where[knots[-1]]))
    return knots[::-1]


class BellmanEuler(nn.Module, Euler):
    r"""Euler on the grid that dynamic programming finds (BOSS, Nguyen et al. 2312.16414).

    The teacher is rolled out once with ``fine`` uniform steps; the grid of K steps minimises the sum of
    :math:`c_{ij}`, the local errors of single steps, by Bellman's recursion with exactly K edges. One matrix
    of costs, a buffer of the flow, serves every K. It is the sum of local errors that is least, not the error
    at the end: on straight paths of symmetric data there is little to gain. On manifolds steps go by
    exponentials.

    Args:
        teacher: whose trajectories they are: as a rule the flow itself, ``{run: ...}``.
        steps: K.
        fine: steps of the trajectories, the paper's 100.
        samples: trajectories, the paper's 100.

    Raises:
        ValueError: there are more steps than fine ones.
    """

    costs: Tensor

    def __init__(self, teacher: Trained, steps: int = 4, fine: int = 100, samples: int = 100) -> None:
        nn.Module.__init__(self)
        Euler.__init__(self, steps, retraction="exp")
        if not 1 <= steps <= fine or samples < 1:
            raise ValueError(f"steps lie in 1 to fine, and samples are some, got {steps}, {fine}, {samples}")
        self.teacher, self.fine, self.samples = teacher, fine, samples
        self.register_buffer("costs", torch.zeros(fine + 1, fine + 1, dtype=torch.float64))

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A teacher of another flow, whose times would mean something else."""
        yield from super().clashes(parts)
        yield from mistaught(self.teacher, parts, parts.get("path"), section="solver")

    def fit(self, data: Dataset, flow: Flow, generator: torch.Generator) -> None:
        """Measure the costs on trajectories under the conditions of random rows."""
        teacher = self.teacher.flow
        rows = torch.randint(len(data), (self.samples,), generator=generator)
        states = teacher.encode(data.take(rows), generator)
        x0 = teacher.start_for(states, generator)
        layout = teacher.layout(states.cond)
        layout = None if layout is None else layout.holding(states.x)
        field = read_as(self.teacher.field(), "velocity")
        self.costs.copy_(euler_costs(field, x0, states.cond, self.fine, generator, layout))

    @property
    def fitted(self) -> bool:
        """Whether costs have been measured; the grid is uniform before."""
        return bool(self.costs.any())

    @property
    def knots(self) -> list[int]:
        """The cheapest grid as numbers of fine times, both ends included: ``steps + 1`` of them.

        Raises:
            SolverError: nothing has been measured, so that the grid would change.
        """
        if not self.fitted:
            raise SolverError(
                "the knots of bellman-euler are not measured yet; give the flow this solver, and fit it "
                "(fit_parts) before it is trained"
            )
        return optimal_knots(self.costs, self.steps)

    def walked(self, field: Field, span: tuple[float, float]) -> list[float]:
        """The cheapest grid on ``span``: of a part of the field's, by the costs of that part.

        On the way back it is that of the way there, as costs were measured from the source on.
        """
        first, last = field.span
        if not self.fitted or tuple(span) == (first, last):
            return self.times(span)
        places = [round((t - first) / (last - first) * self.fine) for t in span]
        low, high = (min(max(place, 0), self.fine) for place in sorted(places))
        knots = optimal_knots(self.costs[low : high + 1, low : high + 1], self.steps)
        inner = [first + (last - first) * (low + k) / self.fine for k in knots[1:-1]]
        return [span[0], *(inner if places[0] <= places[1] else reversed(inner)), span[1]]

    def times(self, span: tuple[float, float]) -> list[float]:
        """The cheapest grid of the whole time, laid over ``span``."""
        if not self.fitted:
            return super().times(span)
        start, end = span
        return [*(start + (end - start) * k / self.fine for k in self.knots[:-1]), end]
