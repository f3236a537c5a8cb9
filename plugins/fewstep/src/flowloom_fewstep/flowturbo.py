"""FlowTurbo's solver: steps of Heun, of a corrector that remembers, and of a refiner."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch

from flowloom.clashes import Clash, Parts
from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.fields.base import time_tensor
from flowloom.layout import Layout
from flowloom.solvers.base import FixedGrid
from flowloom.solvers.stepping import move
from flowloom.solvers.walk import Call, Hook, Solution, Walk
from flowloom.state import Cond, State
from flowloom_fewstep.velocity_refiner import RefinedVelocity, VelocityRefiner

__all__ = ["FlowTurbo"]


class FlowTurbo(FixedGrid):
    r"""Steps of Heun, of a corrector that remembers, and of the refiner, in this order (2409.18128).

    Every step is :math:`x \mathrel{+}= \tfrac h2 (d + d')`. *Heun* asks for d at the state and d' ahead;
    *pseudo* takes for d the d' of the step before, so that it asks once (its first step, twice); *refine*
    takes both from the refiner, :math:`d = d_- + R(x, d_-, t)` and :math:`d' = d + R(x + h d, d, t + h)`,
    and asks the flow for nothing. Velocities change little late in time, which is where it stands.
    ``evaluations`` of a sample are those of the flow; what the refiner costs is told by the score
    sampling-operations.

    Args:
        heun: steps of Heun.
        pseudo: steps of the pseudo-corrector.
        refine: steps of the refiner.
        refined: False leaves R out: the velocity is used again as it was.

    Raises:
        ValueError: there is no step, or none that asks the flow.
    """

    order = 1

    def __init__(self, heun: int = 1, pseudo: int = 5, refine: int = 3, refined: bool = True) -> None:
        if min(heun, pseudo, refine) < 0 or heun + pseudo < 1:
            raise ValueError(
                f"heun, pseudo and refine count from 0, and one of the first two from 1; got {heun}, {pseudo}"
                f" and {refine}"
            )
        super().__init__(heun + pseudo + refine)
        self.heun, self.pseudo, self.refine, self.uses_refiner = heun, pseudo, refine, refined

    def with_steps(self, steps: int) -> FlowTurbo:
        """As many steps of which the first one is Heun's and the last third, at most, the refiner's."""
        refine = min(self.refine, steps // 3)
        heun = min(self.heun, steps - refine)
        return FlowTurbo(heun, steps - refine - heun, refine, self.uses_refiner)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Objectives that train no refiner, where there are steps for one; guidance of the whole."""
        yield from super().clashes(parts)
        if not (self.refine and self.uses_refiner):
            return
        if parts.get("objective") is not None and not isinstance(parts["objective"], VelocityRefiner):
            yield Clash(
                "solver", "objective", "flowturbo refines velocities; use objective: velocity-refiner"
            )
        if parts.get("guidance") is not None:
            yield Clash("solver", "guidance", "a refiner knows its teacher's guidance; give guidance to that")

    def prepare(self, field: Field) -> Field:
        """The velocity, which has a refiner where one is needed.

        Raises:
            IncompatibleError: it has none.
        """
        if self.refine and self.uses_refiner and not isinstance(field, RefinedVelocity):
            raise IncompatibleError(
                "flowturbo asks the refiner of a flow that objective velocity-refiner made"
            )
        return super().prepare(field)

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One step of Heun."""
        return self._stepped(call, x, t, t_next, call(x, t), "heun")[0]

    def solve(
        self,
        field: Field,
        x0: State,
        *,
        cond: Cond | None = None,
        span: tuple[float, float] | None = None,
        generator: torch.Generator | None = None,
        keep: int = 0,
        on_step: Hook | None = None,
        layout: Layout | None = None,
    ) -> Solution:
        """Walk the blocks; see `Solver.solve`."""
        call = Call(self.prepare(field), cond, generator, layout)
        times = self.walked(field, span or field.span)
        count = len(times) - 1
        walk = Walk(call, x0, times[0], keep=keep, on_step=on_step, steps=count)
        heun = min(self.heun, count)
        refine = min(self.refine, count - heun)
        blocks = ["heun"] * heun + ["pseudo"] * (count - heun - refine) + ["refine"] * refine
        known: State | None = None
        ahead: State | None = None
        for block, (t, t_next) in zip(blocks, pairwise(times), strict=True):
            x = walk.x
            if block == "refine" and known is not None:
                first = self._refined(call, x, known, t)
            else:
                first = ahead if block == "pseudo" and ahead is not None else call(x, t)
            x, second = self._stepped(call, x, t, t_next, first, block)
            walk.arrive(x, t_next)
            known = first if block != "pseudo" else second
            ahead = second if block == "pseudo" else None
        return walk.solution()

    def _stepped(
        self, call: Call, x: State, t: float, t_next: float, first: State, block: str
    ) -> tuple[State, State]:
        """The state after a step of Heun, and the velocity ahead that it took."""
        h, geometry = t_next - t, call.field.geometry
        there = move(geometry, x, h, [1.0], [first])
        second = self._refined(call, there, first, t_next) if block == "refine" else call(there, t_next)
        return move(geometry, x, h, [0.5, 0.5], [first, second]), second

    def _refined(self, call: Call, x: State, velocity: State, t: float) -> State:
        field = call.field
        if not self.uses_refiner:
            return velocity
        assert isinstance(field, RefinedVelocity)
        x = x if call.layout is None else call.layout.hold(x)
        answer = field.refined(x, velocity, time_tensor(t, x), call.cond)
        return answer if call.layout is None else call.layout.still(answer)
