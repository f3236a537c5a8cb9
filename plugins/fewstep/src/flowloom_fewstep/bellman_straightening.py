"""Straightening at the knots: a velocity that goes from each Bellman-optimal time to the next in one step."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import nn

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, read_as
from flowloom.fields.base import time_tensor
from flowloom.objectives import Batch, FlowMatching, Loss, Objective, Step
from flowloom.paths import Path, Point
from flowloom.solvers import Solver
from flowloom.sources import Source
from flowloom.state import State, map_state
from flowloom_fewstep.bellman import BellmanEuler, fine_euler
from flowloom_fewstep.tangents import fixed
from flowloom_fewstep.teachers import mistaught

__all__ = ["BellmanStraightening"]


class BellmanStraightening(Objective):
    r"""Fine-tune a velocity at the knots that few Euler steps visit, and nowhere else (BOSS, 2312.16414).

    With knots :math:`\tau_0 < \dots < \tau_K` of ``solver: bellman-euler`` and x the fine Euler trajectory of
    its teacher from the batch's noise,

    .. math:: L = \frac{1}{K} \sum_k E\,\|v_\theta(x_{\tau_k}, \tau_k) - u_k\|^2, \qquad
              u_k = \frac{\log_{x_{\tau_k}} x_{\tau_{k+1}}}{\tau_{k+1} - \tau_k}

    The grid is the solver's own, so that training and sampling cannot differ. Of data there are only the
    conditions, and what stands at given entries. The authors' code stores 10,000 trajectories and draws rows
    of (trajectory, k); here every batch has trajectories of its own, with all of their knots, as the roll-out
    is what costs: ``fine`` calls of the teacher, and K of the network. The network begins with the teacher's
    weights, ``model: {run: flow, frozen: false}``, or an addition of low rank to them, ``model: low-rank``.

    Args:
        solver: whose knots and teacher they are; that of the recipe.
        path: of the teacher; the teacher's own where null.

    Raises:
        IncompatibleError: the solver has no such knots, or states are tokens.
    """

    condition_dropout = 0.0  # the network is told all that the teacher is

    def __init__(self, solver: Solver, path: Path | None = None) -> None:
        super().__init__()
        if not isinstance(solver, BellmanEuler):
            raise IncompatibleError(
                "bellman-straightening trains at the knots of solver: bellman-euler, and the solver is "
                f"{type(solver).__name__}"
            )
        self.solver, self.path = solver, path or solver.teacher.flow.path
        if not self.path.geometry.continuous:
            raise IncompatibleError("bellman-straightening fits velocities, and discrete states have none")
        self.regression = FlowMatching(self.path)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A teacher of another flow; sampling on another grid than the one of training."""
        yield from mistaught(self.solver.teacher, parts, self.path, section="solver")
        if parts.get("solver", self.solver) is not self.solver:
            message = "it trains at the knots of another solver than the one that samples"
            yield Clash(
                "objective", "solver", f"{message}; leave objective.solver out, to train at its knots"
            )

    @property
    def kind(self) -> str:
        """A velocity."""
        return "velocity"

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The network."""
        return self.regression.field(model, source)

    def at_knots(self, batch: Batch, generator: torch.Generator | None = None) -> list[State]:
        """Where the teacher's fine trajectories are at the knots, K + 1 states without gradient.

        Args:
            batch: where they begin, under which conditions.
            generator: for a teacher that draws.
        """
        knots = set(self.solver.knots)
        teacher = read_as(self.solver.teacher.field(), "velocity")
        layout = None if batch.layout is None else batch.layout.holding(batch.x1)
        steps = fine_euler(teacher, fixed(batch.x0), batch.cond, self.solver.fine, generator, layout)
        met = list[State]()
        for i, (x, _, after) in enumerate(steps):
            if i in knots:
                met.append(x)
            if i + 1 == self.solver.fine:
                met.append(after)
        return met

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """A roll-out of the teacher, and one network call at every knot but the last."""
        layout, geometry = batch.layout, self.path.geometry
        states = self.at_knots(batch, step.generator)
        losses = []
        for (x, y), (t, t_next) in zip(
            pairwise(states), pairwise(self.solver.times(self.path.span)), strict=True
        ):
            chord = map_state(lambda v, h=t_next - t: v / h, geometry.log(x, y))
            chord = chord if layout is None else layout.still(chord)
            point = Point(x, time_tensor(t, x), chord, states[0], states[-1])
            found = model(x, point.t, **batch.cond)
            found = found if layout is None else self.regression.quieted(found, point, layout)
            errors = self.regression.compare(found, point, batch.cond)
            losses.append(self.regression.rows(errors, point.t, layout).mean())
        parts = {f"knot_{k}": loss.detach() for k, loss in enumerate(losses)}
        return Loss(torch.stack(losses).mean(), parts)
