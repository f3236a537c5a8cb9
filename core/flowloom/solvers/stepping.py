"""How a state moves along tangent vectors: the one place where solvers meet geometries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from flowloom.geometry import Geometry
from flowloom.state import State, map_state

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
        slopes: velocities at the stages.
        how: on curved spaces, add in the ambient space and project back (which keeps the order of a
            Runge-Kutta method applied to the extended field), or follow the geodesic of the combined
            tangent vector.
    """
    terms = [(c, k) for c, k in zip(coefficients, slopes, strict=True) if c]
    # Where steps are sums, fuse them; an exponential would cost one pass more.
    if geometry.straight or (how == "project" and not geometry.flat):
        for c, k in terms:
            x = map_state(lambda a, b, s=dt * c: torch.add(a, b, alpha=s), x, k)
        return x if geometry.straight else geometry.project(x)
    direction: Any = None
    for c, k in terms:
        scaled = map_state(lambda b, s=dt * c: b * s, k)
        direction = scaled if direction is None else map_state(torch.add, direction, scaled)
    if direction is None:
        return x
    if not geometry.flat:
        direction = geometry.to_tangent(x, direction)
    return geometry.exp(x, direction)
