"""Reflected flow matching: steps that end outside a convex set are mirrored back into it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from flowloom.clashes import Clash, Parts
from flowloom.errors import SolverError
from flowloom.fields import Field, Wrapped
from flowloom.geometry import Box, Geometry
from flowloom.solvers import Euler, Heun
from flowloom.solvers.explicit import ExplicitRungeKutta
from flowloom.solvers.walk import Call
from flowloom.state import Cond, State


def reflect(space: Geometry, y: Tensor, bounces: int = 10_000) -> Tensor:
    r"""Mirror points outside a convex set at its boundary, until they are inside.

    .. math:: y \leftarrow 2 P(y) - y

    with P the nearest point of the set. At a flat wall :math:`a \cdot x \le b` that is
    :math:`y - 2 (a \cdot y - b)_+ a / |a|^2`, and in a box the folding of every coordinate, which is taken in
    one step at any distance. Elsewhere each time brings a point nearer to all points inside, so that one of
    k widths outside takes some k of them. Beyond a slanted corner it is the reflection at the nearest
    point rather than the path of a ray, which hits the walls one by one: equal as steps shrink.

    Args:
        space: a convex geometry.
        y: points ``(batch, *power, *point)``. What is not finite stays so.
        bounces: at most so many, where the set is no box.

    Raises:
        SolverError: a point is still outside after them.
    """
    if isinstance(space, Box):
        return _folded(space, y)
    found = y
    rows = y.reshape(-1, *y.shape[y.ndim - space.point_ndim :])
    left = _outside(space, rows)
    for _ in range(bounces):
        if not len(left):
            return found
        # What is inside is not asked again: one point far away costs no more than itself.
        at = rows[left]
        rows = rows.index_copy(0, left, 2 * space.project(at) - at)
        found, left = rows.reshape(y.shape), left[_outside(space, rows[left])]
    if len(left):
        far = float(space.violation(y.reshape(rows.shape)[left]).max())
        raise SolverError(
            f"a step ended {far:.3g} outside {space}, and {bounces:,} reflections did not bring it back; "
            "take more steps, or a weaker guidance"
        )
    return found


def _outside(space: Geometry, rows: Tensor) -> Tensor:
    """Numbers of the points that the set would move."""
    rows = rows.detach()
    moved = (space.project(rows) != rows) & rows.isfinite()
    return moved.reshape(len(rows), -1).any(1).nonzero()[:, 0]


def _folded(box: Box, y: Tensor) -> Tensor:
    """Every coordinate as if the box were mirrored to both sides for ever; points inside bit for bit."""
    low, high = box.limits(y)
    width = high - low
    folded = box.project(low + (width - (torch.remainder(y - low, 2 * width) - width).abs()))
    return torch.where((y >= low) & (y <= high), y, folded)


class Inside(Wrapped):
    """A field that is asked at the nearest point of its space: stages of a step may leave it."""

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """What the field says there."""
        return self.ask(self.field.geometry.project(x), t, cond, generator)


class _Reflected(ExplicitRungeKutta):
    """A Runge-Kutta method whose steps are reflected."""

    def prepare(self, field: Field) -> Field:
        """The velocity, asked inside."""
        return Inside(super().prepare(field)) if field.geometry.convex else super().prepare(field)

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """A step, mirrored back where it has left a convex space."""
        x = super().step(call, x, t, t_next, last=last)
        space = call.field.geometry
        return reflect(space, x) if space.convex and isinstance(x, Tensor) else x

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Spaces without walls."""
        yield from super().clashes(parts)
        space = parts.get("geometry")
        if isinstance(space, Geometry) and not space.convex:
            yield Clash(
                "solver", "geometry", f"{space} has no walls to reflect at; use geometry: box or polytope"
            )


class ReflectedEuler(_Reflected, Euler):
    r"""Euler's method for the reflected equation :math:`d\phi = v(\phi, t)\,dt + dL_t` (2405.16577).

    L acts at the boundary only, along its inward normal. Training needs nothing of it: between two points
    of a convex set the straight path stays inside, so plain ``flow-matching`` is exact where the source
    lies in the set (``uniform``, ``truncated-gaussian``). No sample leaves the set, however coarse the
    steps or large the guidance, and none sticks to its walls, as clipped samples do. Reflected ways have
    no inverse: a likelihood (an ODE solver's) speaks of the ways that meet no wall.

    Args:
        steps: see `flowloom.solvers.Euler`.
        grid: see `flowloom.solvers.Euler`.
        retraction: see `flowloom.solvers.Euler`.
    """


class ReflectedHeun(_Reflected, Heun):
    """`ReflectedEuler` of two evaluations a step; the second is taken at the nearest point inside.

    Args:
        steps: see `flowloom.solvers.Heun`.
        grid: see `flowloom.solvers.Heun`.
        retraction: see `flowloom.solvers.Heun`.
    """
