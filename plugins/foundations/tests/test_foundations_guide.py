"""Another schedule for a trained network, as guidance."""

import pytest
import torch

import flowloom as fl
from flowloom.errors import IncompatibleError
from flowloom.fields import Rescheduled
from flowloom.geometry import Sphere
from flowloom.paths import GeodesicPath
from flowloom.schedules import Cosine
from flowloom.solvers import RK4
from flowloom.testing.oracles import MixtureField
from flowloom_foundations.guide import Reschedule


def test_it_is_cores_field_and_keeps_the_endpoint_map():
    field = MixtureField()
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0)).double()
    t = torch.full((64,), 0.4).double()
    guided = Reschedule(Cosine())(field)
    assert torch.equal(guided(x, t, {}), Rescheduled(field, Cosine())(x, t, {}))
    assert not torch.allclose(guided(x, t, {}), field(x, t, {}), atol=1e-2)
    plain, moved = (RK4(200).solve(f, x).x for f in (field, guided))
    assert torch.allclose(plain, moved, atol=2e-2)


def test_curved_spaces_are_refused():
    flow = fl.Flow(fl.models.MLP(fl.Spec((3,)), width=4), path=GeodesicPath(Sphere(2)), geometry=Sphere(2))
    with pytest.raises(IncompatibleError, match="affine path"):
        Reschedule()(flow.objective.field(flow.model))
