"""A small network that says how a trained velocity changed since it was last asked (FlowTurbo)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from flowloom.clashes import Clash, Parts
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, read_as
from flowloom.fields.wrapped import Wrapped
from flowloom.layout import Layout
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source
from flowloom.spec import Condition, Spec
from flowloom.state import Cond, State, Time, batch_size, map_state
from flowloom.trained import Trained
from flowloom_fewstep.tangents import scaled
from flowloom_fewstep.teachers import mistaught
from flowloom_fewstep.unit_time import require_unit_time

__all__ = ["RefinedVelocity", "VelocityRefiner"]

PREVIOUS = "previous"
"""The condition by which a refiner is told the velocity that it refines."""


class RefinedVelocity(Wrapped):
    """A teacher's velocity, and a small network that says how it changed since it was last asked.

    Args:
        field: the teacher's, a velocity.
        refiner: called as ``refiner(x, t, previous=v, **cond)``.
    """

    def __init__(self, field: Field, refiner: nn.Module) -> None:
        super().__init__(field)
        self.refiner = refiner

    def refined(self, x: State, velocity: State, t: Time, cond: Cond) -> State:
        """``v + R(x, v, t)``, tangent at ``x``; ``velocity`` is one of a point near it."""
        here = self.geometry.to_tangent(x, velocity)
        change = self.geometry.to_tangent(x, self.refiner(x, t, **{**cond, PREVIOUS: here}))
        return map_state(torch.add, here, change)


class VelocityRefiner(Objective):
    r"""A small network learns by how much a teacher's velocity changes over a short step of it.

    Zhao et al. 2409.18128. With :math:`v = v_T(x_t, t)`, :math:`h \sim U(0, H)` and :math:`x' = x_t + h v`,

    .. math:: L = E\,\|v + R_\theta(x', v, t + h) - v_T(x', t + h)\|^2 ,

    the teacher frozen. R learns what the teacher is under its own guidance, so that the small network is
    never asked twice. On curved spaces v is projected where it is used. The flow that is trained is the
    teacher with its refiner: any solver of velocities asks the teacher alone, `flowturbo` both.

    Args:
        spec: of the states; injected from the recipe.
        teacher: v_T.
        path: where states come from.
        longest: H.

    Raises:
        IncompatibleError: states are tokens or have parts.
        ValueError: H is no share of the time.
    """

    tells = (PREVIOUS,)

    def __init__(self, spec: Spec, teacher: Trained, path: Path | None = None, longest: float = 0.12) -> None:
        super().__init__()
        self.path = path or AffinePath()
        if spec.parts or not self.path.geometry.continuous:
            raise IncompatibleError("velocity-refiner refines one tensor of velocities, and there is none")
        require_unit_time("velocity-refiner", self.path)
        if not 0 < longest < 1:
            raise ValueError(f"longest must lie in (0, 1), got {longest}")
        self.event, self.teacher, self.longest = spec.shape, teacher, longest

    @property
    def kind(self) -> str:
        """A velocity."""
        return "velocity"

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A teacher of another flow."""
        yield from mistaught(self.teacher, parts, self.path)

    def conditions(self) -> Mapping[str, Condition]:
        """The velocity that is refined, which only refiners are told."""
        return {PREVIOUS: Condition(shape=self.event)}

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The teacher's velocity, with the network as its refiner."""
        found = RefinedVelocity(read_as(self.teacher.field(), "velocity"), model)
        found.path, found.source = self.path, source
        return found

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Two calls of the teacher and one of the refiner."""
        n, draw, geometry = batch_size(batch.x1), Draw.like(batch.x1, step.generator), self.path.geometry
        t, h = draw.uniform((n,)), draw.uniform(()) * self.longest
        then = (t + h).clamp(max=1.0)
        x = batch.point(self.path, t, step.generator).x_t
        field = self.field(model)
        assert isinstance(field, RefinedVelocity)
        with torch.no_grad():
            before = self._quiet(field.ask(x, t, batch.cond, step.generator), batch.layout)
            there = geometry.exp(x, scaled(before, then - t))
            wanted = self._quiet(field.ask(there, then, batch.cond, step.generator), batch.layout)
        found = self._quiet(field.refined(there, before, then, batch.cond), batch.layout)
        error = map_state(torch.sub, found, wanted)
        return Loss(geometry.inner(there, error, error).mean())

    @staticmethod
    def _quiet(velocity: State, layout: Layout | None) -> State:
        quiet: State = velocity if layout is None else layout.still(velocity)
        return quiet
