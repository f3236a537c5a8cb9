"""The likelihood score against closed forms, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.data import Examples
from flowloom.draw import GLOBAL, Draw
from flowloom.errors import DataError, IncompatibleError, ShapeError
from flowloom.scores import Likelihood
from flowloom.solvers import CTMCEuler, Dopri5, Euler, EulerMaruyama
from flowloom.spec import Condition, Spec

MEAN, STD = 1.0, 0.5


class GaussianFlow(nn.Module):
    """The exact velocity from N(0, 1) to N(MEAN, STD^2) in every coordinate."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x, t):
        t = t.reshape(-1, *(1,) * (x.ndim - 1))
        pull = (t * STD**2 - (1 - t)) / (t.square() * STD**2 + (1 - t).square())
        return MEAN + pull * (x - t * MEAN) + self.weight


def flow_and_examples(n=300, dims=3):
    x = MEAN + STD * torch.randn(n, dims, generator=torch.Generator().manual_seed(0))
    return fl.Flow(GaussianFlow(), spec=Spec(shape=(dims,))), Examples(x)


def truth(x):
    law = torch.distributions.Normal(MEAN, STD)
    return -float(law.log_prob(x.double()).sum(1).mean())


def test_nll_is_that_of_the_law():
    flow, examples = flow_and_examples()
    values = Likelihood()(flow, examples)
    assert values["nll"] == pytest.approx(truth(examples.x), abs=2e-4)
    assert values["nats_per_dim"] == pytest.approx(values["nll"] / 3)


def test_batches_and_n_of_them():
    flow, examples = flow_and_examples()
    assert Likelihood(batch=7)(flow, examples)["nll"] == pytest.approx(
        Likelihood()(flow, examples)["nll"], abs=1e-4
    )
    spread = examples.x[examples.evenly(20)]  # rows may be sorted
    assert Likelihood(n=20)(flow, examples)["nll"] == pytest.approx(truth(spread), abs=2e-4)


def test_hutchinson_is_exact_where_the_jacobian_is_diagonal():
    flow, examples = flow_and_examples()
    found = Likelihood(divergence="hutchinson")(flow, examples, seed=5)
    assert found["nll"] == pytest.approx(truth(examples.x), abs=2e-4)


def test_dimensions_of_a_curved_space_are_intrinsic():
    class Still(nn.Module):
        def forward(self, x, t):
            return torch.zeros_like(x)

    flow = fl.Flow(Still(), spec=Spec(shape=(3,)), geometry=fl.geometry.Sphere(2))
    x = flow.geometry.random((10, 3), Draw(torch.Generator().manual_seed(0)))
    values = Likelihood(Dopri5(1e-3, 1e-3))(flow, Examples(x))
    assert values["nll"] == pytest.approx(math.log(4 * math.pi), abs=1e-5)
    assert values["nats_per_dim"] == pytest.approx(math.log(4 * math.pi) / 2, abs=1e-5)


def test_what_it_refuses():
    flow, examples = flow_and_examples()
    with pytest.raises(IncompatibleError, match="needs an ODE solver, not EulerMaruyama"):
        Likelihood(EulerMaruyama(5)).require(flow)
    with pytest.raises(IncompatibleError, match="needs an ODE solver, not CTMCEuler"):
        Likelihood(CTMCEuler(5))(flow, examples)
    with pytest.raises(ShapeError, match="no example"):
        Likelihood()(flow, examples.take(torch.arange(0)))
    silent = fl.Flow(
        GaussianFlow(), spec=Spec(shape=(2,)), source=fl.sources.FromDataset(fl.data.EightGaussians(10))
    )
    with pytest.raises(IncompatibleError, match="source FromDataset has no density"):
        Likelihood().require(silent)
    parts = fl.sources.Product({"a": fl.sources.Gaussian(), "b": fl.sources.Paired()})
    with pytest.raises(IncompatibleError, match="source Paired has no density"):
        Likelihood().require(fl.Flow(GaussianFlow(), spec=Spec(shape=(2,)), source=parts))
    with pytest.raises(ValueError, match="at least 1"):
        Likelihood(n=0)


class Cylinder(fl.geometry.Geometry):
    """An angle and a height, without a volume."""

    dim, flat = 2, True

    def project(self, x):
        return torch.stack([torch.remainder(x[..., 0], 2 * math.pi), x[..., 1]], -1)

    def to_tangent(self, x, v):
        return v

    def exp(self, x, v):
        return self.project(x + v)

    def log(self, x, y):
        return y - x

    def inner_point(self, x, u, v):
        return (u * v).sum(-1)

    def random(self, shape, draw=GLOBAL):
        return self.project(draw.normal(shape))


class Endless(Cylinder):
    def log_volume(self):
        return math.inf


class ByShape(Cylinder):
    def log_uniform(self, shape):
        return -3.0


KNOWN = fl.geometry.Sphere(1)
GAP = (
    "source Uniform has no density on {}, whose volume is infinite or not known; give the geometry log_volume"
)


@pytest.mark.parametrize(
    ("geometry", "gap"),
    [
        (Cylinder(), GAP.format("Cylinder()")),
        (Endless(), GAP.format("Endless()")),
        (
            fl.geometry.Product({"a": KNOWN, "b": fl.geometry.Product({"c": Cylinder()})}),
            GAP.format("Cylinder()"),
        ),
        (
            fl.geometry.Product({"a": KNOWN, "b": fl.geometry.Euclidean()}),
            "use source: product, with gaussian",
        ),
        (fl.geometry.Product({"a": KNOWN, "b": fl.geometry.Discrete(3)}), ""),
        (fl.geometry.FlatTorus(), ""),
        (fl.geometry.Discrete(3), ""),
        (ByShape(), ""),
    ],
)
def test_a_uniform_law_has_a_density_where_the_volume_is_known(geometry, gap):
    source = fl.sources.Uniform(geometry)
    within = fl.sources.Product({"first": fl.sources.Gaussian(), "second": source})
    for one in (source, within):
        assert gap in one.density_gap
        assert bool(one.density_gap) == bool(gap)


def test_a_space_without_a_volume_is_refused_before_anything_is_integrated():
    def never(x, t):
        raise AssertionError("the network was asked")

    class Never(nn.Module):
        forward = staticmethod(never)

    flow = fl.Flow(Never(), spec=Spec(shape=(2,)), geometry=Cylinder())
    x = Cylinder().random((5, 2))
    said = GAP.format(r"Cylinder\(\)")
    with pytest.raises(IncompatibleError, match=f"score likelihood: {said}"):
        Likelihood().require(flow)
    with pytest.raises(IncompatibleError, match=said):
        flow.log_prob(x)
    with pytest.raises(IncompatibleError, match=said):
        flow.source.log_prob(x)
    still = fl.Flow(GaussianFlow(), spec=Spec(shape=(2,)), geometry=ByShape())
    assert still.source.log_prob(x).tolist() == [-3.0] * 5


def test_nats_per_dim_of_examples_of_different_size_count_what_is_real():
    spec = Spec((4,), conditions={"mask": Condition(shape=(4,), role="real")})
    mask = torch.arange(4) < torch.tensor([[1], [3], [2], [2]])
    space = fl.geometry.FlatTorus()
    flow = fl.Flow(fl.models.MLP(spec, width=8, depth=1), spec=spec, geometry=space, solver=Euler(2))
    torch.nn.init.zeros_(flow.model.out.weight)
    torch.nn.init.zeros_(flow.model.out.bias)
    values = Likelihood(solver=Euler(2))(flow, Examples(torch.rand(4, 4), {"mask": mask}))
    # A field that stands still keeps the uniform law, of which every angle has log 2 pi nats.
    assert values["nll"] == pytest.approx(2 * math.log(2 * math.pi), rel=1e-5)
    assert values["nats_per_dim"] == pytest.approx(math.log(2 * math.pi), rel=1e-5)


def test_some_examples_are_spread_over_all():
    rows = Examples(torch.zeros(10, 1))
    assert rows.evenly(4).tolist() == [0, 2, 5, 7]
    assert rows.evenly(20).tolist() == list(range(10))
    assert rows.exactly(4).tolist() == [0, 2, 5, 7]
    assert rows.exactly(12).tolist() == [*range(10), 0, 1], "where there are fewer they go round"
    assert Examples(torch.zeros(0, 1)).evenly(3).tolist() == []
    with pytest.raises(DataError, match="count from 1, got 0"):
        rows.evenly(0)
