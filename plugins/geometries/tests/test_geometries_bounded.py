"""Bounded pieces of flat space: exact projections, and densities that know the walls."""

import math

import pytest
import torch

from flowloom import likelihood
from flowloom.draw import Draw
from flowloom.fields import Field
from flowloom.geometry import Box, Product, Sphere
from flowloom.solvers import Dopri5
from flowloom.sources import Uniform
from flowloom_geometries.spaces import Polytope, Simplex


def wedge(degrees):
    angle = math.radians(degrees)
    return Polytope([[0, -1], [-math.sin(angle), math.cos(angle)], [1, 0]], [0, 0, 1])


@pytest.mark.parametrize("degrees", [1, 5, 60])
def test_projections_onto_narrow_polytopes_are_nearest_points(degrees, draws):
    space = wedge(degrees)
    x = 2 * torch.randn(200, 2, generator=draws, dtype=torch.float64)
    nearest = space.project(x)
    assert float(space.violation(nearest).max()) < 1e-12
    # Nearest point of a convex set: <x - p, q - p> <= 0 for every corner q.
    corners = space._corners.reshape(-1, 2)
    assert float(((x - nearest) @ corners.T - ((x - nearest) * nearest).sum(1, keepdim=True)).max()) < 1e-9
    inside = space.random((50, 2), Draw(draws, dtype=torch.float64))
    assert torch.equal(space.project(inside), inside)
    single = space.project(x.float())
    assert float(space.violation(single).max()) < 1e-5
    assert space.project(x.reshape(50, 4, 2)).equal(nearest.reshape(50, 4, 2))


def test_projections_onto_polytopes_are_differentiable(draws):
    space = wedge(40)
    x = (2 * torch.randn(40, 2, generator=draws, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(space.project, (x,))


def test_valid_probabilities_are_not_moved(draws):
    space = Simplex(3)
    x = torch.tensor([[1 - 3e-7, 2e-7, 1e-7], [0.5, 0.5, 0.0]])
    assert torch.equal(space.project(x), x)
    drawn = space.random((50_000, 3), Draw(draws))
    assert float(space.distance(space.project(drawn), drawn).max()) < 1e-6
    off = torch.tensor([[0.7, 0.5, -0.1]])
    torch.testing.assert_close(space.project(off), torch.tensor([[0.6, 0.4, 0.0]]))


class Shrink(Field):
    """``v = -2 (x - 0.5)``: all mass ends in the middle exp(-2) of the interval."""

    kind = "velocity"

    def __init__(self, geometry):
        self.geometry = geometry

    def __call__(self, x, t, cond):
        return -2 * (x - 0.5)


@pytest.mark.parametrize("space", [Box([0.0], [1.0]), Polytope([[1], [-1]], [1, 0])])
def test_densities_on_bounded_spaces_integrate_to_one(space):
    x = (torch.arange(4000, dtype=torch.float64)[:, None] + 0.5) / 4000
    found = likelihood.log_prob(Shrink(space), Uniform(space), x, solver=Dopri5(1e-8, 1e-8)).log_prob
    assert float(found.exp().mean()) == pytest.approx(1, abs=5e-3)
    assert float(found[0]) == -math.inf
    assert float(found[2000]) == pytest.approx(2, abs=1e-6)


def test_walls_are_seen_in_products():
    space = Product({"a": Box([0.0], [1.0]), "b": Sphere(2)})
    pole = torch.tensor([[0.0, 0.0, 1.0]])
    law = Uniform(space)
    assert float(law.log_prob({"a": torch.tensor([[0.5]]), "b": pole})) == pytest.approx(
        -math.log(4 * math.pi)
    )
    assert float(law.log_prob({"a": torch.tensor([[1.5]]), "b": pole})) == -math.inf
