"""How a state moves along tangent vectors: the one place where solvers meet geometries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from flowloom.geometry import Geometry, Product
from flowloom.state import State, axpy, map_state

Retraction = Literal["project", "exp"]


def move(
    geometry: Geometry,
    x: State,
    dt: float,
    coefficients: Sequence[float],
    slopes: Sequence[State],
    how: Retraction = "project",
) -> State:
    """``x`` moved by ``dt * sum(c * k)``.

    Args:
        geometry: where ``x`` lives.
        x: the state.
        dt: step.
        coefficients: one per slope; zeros are skipped.
        slopes: velocities at the stages; for ``exp``, carried to ``x`` by `slope_at_start`.
        how: on curved spaces, add in the ambient space and project back (which keeps the order of a
            Runge-Kutta method applied to the extended field), or follow the geodesic of the combined
            tangent vector.
    """
    # Where steps are sums, fuse them; an exponential would cost one pass more.
    if geometry.straight or (how == "project" and not geometry.flat):
        for c, k in zip(coefficients, slopes, strict=True):
            if c:
                x = axpy(x, dt * c, k)
        return x if geometry.straight else geometry.project(x)
    direction: Any = None
    for c, k in zip(coefficients, slopes, strict=True):
        if not c:
            continue
        scaled = map_state(lambda b, s=dt * c: b * s, k)
        direction = scaled if direction is None else map_state(torch.add, direction, scaled)
    if direction is None:
        return x
    if not geometry.flat:
        direction = geometry.to_tangent(x, direction)
    return geometry.exp(x, direction)


def slope_at_start(geometry: Geometry, x: State, stage: State, slope: State, how: Retraction) -> State:
    r"""The velocity ``slope`` at ``stage`` as `move` adds it to a step from ``x``.

    Under ``exp`` a step happens in normal coordinates :math:`u = \log_x(y)`, where the equation reads
    :math:`\dot u = D\log_x(y)[v(y)]`; any Runge-Kutta method keeps its order there. Vectors of different
    points, added as they are, would leave order one wherever coordinates are curved.

    Args:
        geometry: where ``x`` lives.
        x: where the step begins.
        stage: where the field was evaluated.
        slope: the field's value, tangent at ``stage``.
        how: see `move`.
    """
    if how == "project" or geometry.flat:
        return slope
    if isinstance(geometry, Product):
        assert isinstance(x, dict) and isinstance(stage, dict) and isinstance(slope, dict)
        return {k: slope_at_start(g, x[k], stage[k], slope[k], how) for k, g in geometry.parts.items()}
    _, carried, *_ = torch.func.jvp(lambda y: geometry.log(x, y), (stage,), (slope,))
    return carried
