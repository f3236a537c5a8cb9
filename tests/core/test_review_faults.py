"""Faults of paths, fields, solvers and guidance that a review found."""

from __future__ import annotations

import math

import pytest
import torch

import flowloom as fl
from flowloom.clashes import problems
from flowloom.fields import Field
from flowloom.geometry import Discrete, Euclidean, Sphere
from flowloom.guidance import Guidance
from flowloom.objectives import FlowMatching
from flowloom.paths import AffinePath, GeodesicPath, MixturePath, ProductPath

NAN = float("nan")


class Scaled(Guidance):
    """Guidance by a reward: it has a scale, and withholds nothing."""

    scale = 2.0

    def __call__(self, field):
        return field


def test_guidance_that_withholds_nothing_needs_no_dropout():
    assert problems({"guidance": Scaled(), "objective": FlowMatching()}) == []


def test_data_may_be_predicted_on_geodesic_paths():
    FlowMatching(GeodesicPath(Sphere(2)), predict="data")


class Decaying(Field):
    kind, path, geometry = "velocity", AffinePath(), Euclidean()

    def __call__(self, x, t, cond):
        return -x


@pytest.mark.parametrize("span", [(0.0, 1e-13), (0.5, 0.5 + 1e-12), (1.0, 1.0 - 1e-12)])
def test_adaptive_solvers_carry_a_field_over_a_very_short_span(span):
    x = torch.ones(1, 2, dtype=torch.float64)
    got = float(fl.solvers.Dopri5().solve(Decaying(), x, span=span).x[0, 0])
    assert got == pytest.approx(math.exp(span[0] - span[1]), abs=1e-9)


def test_a_schedule_that_is_steep_at_zero_does_not_jump_at_once():
    space = Discrete(4)
    path = MixturePath(space, schedule=fl.schedules.Polynomial(0.5), source=fl.sources.Mask(space))
    jump = float(fl.solvers.CTMCEuler(8).jump_probability(path, 0.0, 0.125))
    assert jump == pytest.approx(0.125**0.5, abs=0.15)


class Costly(fl.fields.FlowMap):
    """A flow map that asks the network twice, as a guided one does."""

    path, geometry = AffinePath(), Euclidean()

    def jump(self, x, s, t, cond):
        return x

    def velocity(self, x, t, cond):
        return x

    def calls(self, t, cond):
        return 2


def test_the_velocity_of_a_flow_map_costs_what_the_map_does():
    assert fl.fields.read_as(Costly(), "velocity").calls(0.5, {}) == 2


class Unbound(AffinePath):
    """A path that says of itself that it does not arrive."""

    arrives = False
    pathwise = False


def test_a_product_arrives_where_its_parts_do():
    path = ProductPath({"a": Unbound()})
    assert (path.arrives, path.pathwise) == (False, False)


@pytest.mark.parametrize(
    "make",
    [
        lambda: fl.solvers.Dopri5(rtol=NAN),
        lambda: fl.solvers.Euler(grid=[0.0, NAN, 1.0]),
        lambda: fl.solvers.CTMCEuler(4, stochasticity=NAN),
        lambda: fl.guidance.ClassifierFree(NAN),
        lambda: fl.sources.Gaussian(NAN),
        lambda: fl.sources.Gaussian(math.inf),
    ],
)
def test_numbers_that_are_none_are_refused(make):
    with pytest.raises(ValueError, match=r"nan|inf|finite"):
        make()
