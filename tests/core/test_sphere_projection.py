"""Projections onto a sphere: right for vectors of every length, and cheap for ordinary ones."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from flowloom.fields import NetworkField
from flowloom.geometry import Sphere
from flowloom.paths import GeodesicPath
from flowloom.solvers import Midpoint

SPHERE = Sphere(2)


def lengths(dtype):
    """Rows from the shortest numbers to the longest, with ordinary ones between."""
    limits = torch.finfo(dtype)
    sizes = [
        limits.tiny,
        limits.tiny**0.7,
        limits.tiny**0.45,
        1e-3,
        1.0,
        50.0,
        limits.max**0.55,
        limits.max / 4,
    ]
    return torch.tensor([[3 * s, 0.0, -4 * s] for s in sizes], dtype=torch.float64).div(5).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_every_length_has_its_direction(dtype):
    got = SPHERE.project(lengths(dtype))
    want = torch.tensor([0.6, 0.0, -0.8], dtype=torch.float64)
    assert got.dtype == dtype
    # Numbers next to the shortest have few digits themselves, so the first row is what its own digits say.
    own = lengths(dtype).double() / lengths(dtype).double().abs().amax(1, keepdim=True)
    want = own / own.norm(dim=1, keepdim=True)
    assert torch.allclose(got.double(), want, atol=8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_one_extreme_row_changes_no_other_and_the_origin_stays(dtype):
    ordinary = torch.randn(40, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
    mixed = torch.cat([ordinary, lengths(dtype), torch.zeros(2, 3, dtype=dtype)])
    got = SPHERE.project(mixed)
    assert torch.allclose(got[:40], SPHERE.project(ordinary), atol=4 * torch.finfo(dtype).eps)
    assert got[-2:].eq(0).all()
    assert got.isfinite().all()


def test_what_is_not_finite_stays_so_and_nothing_is_nothing():
    assert SPHERE.project(torch.tensor([[torch.nan, 0.0, 1.0], [1.0, 0.0, 0.0]]))[0].isnan().any()
    assert SPHERE.project(torch.zeros(0, 3)).shape == (0, 3)


def test_projections_are_mapped_differentiated_and_compiled():
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    want = SPHERE.project(x)
    assert torch.allclose(torch.func.vmap(SPHERE.project)(x), want, atol=1e-6)
    assert torch.func.jacfwd(SPHERE.project)(x).isfinite().all()
    compiled = torch.compile(SPHERE.project, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x), want, atol=1e-6)


class Counted(TorchDispatchMode):
    """Counts the operations of torch."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


class Turning(torch.nn.Module):
    """A field of one operation."""

    def forward(self, x, t):
        return x.roll(1, -1)


def test_a_step_on_the_sphere_costs_no_more_operations_than_it_needs():
    """Time, field, tangent (3), sum of the step, and a projection of norm, look and quotient."""
    field = NetworkField(Turning(), "velocity", GeodesicPath(SPHERE))
    x = SPHERE.project(torch.randn(16, 3, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad(), Counted() as few:
        Midpoint(8).solve(field, x)
    with torch.no_grad(), Counted() as many:
        Midpoint(16).solve(field, x)
    each = (len(many.names) - len(few.names)) / 16
    assert each <= 12, sorted(set(many.names))
