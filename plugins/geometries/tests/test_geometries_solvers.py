"""Solvers keep their order on every curved space, whichever way steps return to it."""

import functools
import itertools
import math

import pytest
import torch

from flowloom.draw import Draw
from flowloom.fields import Field
from flowloom.solvers import RK4, Dopri5, Heun, Midpoint
from flowloom.state import expand
from flowloom_geometries.spaces import SE3, SO3, SPD, LogEuclideanSPD, Lorentz, PoincareBall, Simplex

SPACES = {
    "so3": (SO3(), (3, 3)),
    "se3": (SE3(), {"rotation": (3, 3), "translation": (3,)}),
    "poincare-ball": (PoincareBall(2, 0.7), (2,)),
    "lorentz": (Lorentz(2, 0.7), (3,)),
    "simplex": (Simplex(4), (4,)),
    "spd": (SPD(2), (2, 2)),
    "log-euclidean-spd": (LogEuclideanSPD(2), (2, 2)),
}


class Pull(Field):
    """Towards one point, and more and more towards another: smooth and tangent on any space."""

    kind = "velocity"

    def __init__(self, geometry, first, second):
        self.geometry, self.first, self.second = geometry, first, second

    def __call__(self, x, t, cond):
        now = self.geometry.log(x, self.first)
        later = self.geometry.log(x, self.second)
        if isinstance(x, dict):
            return {k: now[k] + expand(2 * t, x[k]) * later[k] for k in x}
        return now + expand(2 * t, x) * later


@functools.cache
def problem(name):
    """A field, where to start, and where one ends."""
    geometry, shape = SPACES[name]
    draws = torch.Generator().manual_seed(3)

    def points():
        full = {k: (8, *s) for k, s in shape.items()} if isinstance(shape, dict) else (8, *shape)
        return geometry.random(full, Draw(draws, dtype=torch.float64))

    start, t = points(), torch.full((8,), 0.4, dtype=torch.float64)
    first, second = (geometry.geodesic(start, points(), t)[0] for _ in range(2))
    field = Pull(geometry, first, second)
    return field, start, Dopri5(1e-10, 1e-11, retraction="project").solve(field, start).x


def error(solver, field, x0, exact):
    return float(field.geometry.distance(solver.solve(field, x0).x, exact).max())


@pytest.mark.parametrize("name", SPACES)
def test_orders(name):
    field, x0, exact = problem(name)
    for method, how in itertools.product((Midpoint, Heun, RK4), ("project", "exp")):
        coarse, fine = (error(method(n, retraction=how), field, x0, exact) for n in (8, 16))
        assert math.log2(coarse / fine) > method.order - 0.3, (method, how)


@pytest.mark.parametrize("name", SPACES)
def test_adaptive_steps_along_geodesics_keep_their_tolerance(name):
    field, x0, exact = problem(name)
    assert error(Dopri5(1e-7, 1e-7, retraction="exp"), field, x0, exact) < 1e-5
