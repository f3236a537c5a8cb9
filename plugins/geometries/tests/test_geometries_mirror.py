"""The mirror map against its potential, its inverse, its determinant and its tails."""

import pytest
import torch

from flowloom.data import Examples
from flowloom.draw import Draw
from flowloom.errors import DataError, IncompatibleError
from flowloom.sources import Gaussian
from flowloom.spec import Spec
from flowloom_foundations.poisson import PoissonKernel
from flowloom_geometries.bounded import MirrorMap, MirrorTail
from flowloom_geometries.spaces import Polytope

SQUARE = Polytope([[1, 0], [-1, 0], [0, 1], [0, -1]], [1, 1, 1, 1])
TRIANGLE = Polytope([[-1, 0], [0, -1], [1, 1]], [0, 0, 1])


def points(domain, n=300):
    return domain.random((n, 2), Draw(torch.Generator().manual_seed(0), dtype=torch.float64))


@pytest.mark.parametrize("domain", [SQUARE, TRIANGLE])
@pytest.mark.parametrize(("kappa", "ridge"), [(0.3, 1.0), (0.6, 0.5), (1.0, 0.0)])
def test_it_is_the_gradient_of_its_barrier_and_has_an_inverse(domain, kappa, ridge):
    codec, x = MirrorMap(Spec((2,)), domain, kappa, ridge), points(domain)

    def barrier(x):
        margin = domain.margin(x)
        walls = -margin.log() if kappa == 1 else -margin.pow(1 - kappa) / (1 - kappa)
        return walls.sum(-1) + ridge * x.square().sum(-1) / 2

    with torch.enable_grad():
        wanted = torch.autograd.functional.jacobian(lambda z: barrier(z).sum(), x)
    y = codec.encode_state(x)
    assert torch.allclose(y, wanted, rtol=1e-9)
    assert torch.allclose(codec.decode_state(y), x, atol=1e-8)
    hessian = torch.func.vmap(torch.func.hessian(lambda z: barrier(z[None])[0]))(x)
    assert torch.allclose(codec.log_det(Examples(x)), hessian.det().log(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("low", "high"), [((-1000, -1000), (1000, 1000)), ((-1000, -1), (1000, 1)), ((1000, 0), (1001, 1))]
)
def test_wide_and_far_sets_have_the_inverse_too(low, high, draws):
    domain = Polytope([[1, 0], [0, 1], [-1, 0], [0, -1]], [*high, *(-v for v in low)])
    codec, x = MirrorMap(Spec((2,)), domain), points(domain)
    assert torch.allclose(codec.decode_state(codec.encode_state(x)), x, atol=1e-6)
    far = torch.cat([10.0**k * torch.randn(50, 2, generator=draws).double() for k in range(6)])
    found = codec.decode_state(far)
    assert found.isfinite().all()
    assert (domain.margin(found) > 0).all()


PRECISIONS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("size", [1e-2, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("far", [0.0, 1.0, 1e3])
def test_every_state_is_a_point_inside_in_every_precision(draws, size, far, dtype):
    """At any size, and ``far`` sizes from the origin."""
    for domain in (SQUARE, TRIANGLE):
        shift = size * far * torch.tensor([1.0, -0.5], dtype=torch.float64)
        offsets = size * domain.offsets + domain.normals @ shift
        domain = Polytope(domain.normals.tolist(), offsets.tolist())
        codec = MirrorMap(Spec((2,)), domain)
        # In float16 numbers end at 65,504.
        y = codec.ridge * codec.centre + torch.cat(
            [10.0**k * torch.randn(20, 2, generator=draws).double() for k in range(-1, 5)]
        )
        y = y.clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max).to(dtype)
        inner, limits = float(domain.margin(codec.centre).amin()), torch.finfo(dtype)
        if limits.eps * (1 + far) * size > inner / 8 or size > limits.max:
            with pytest.raises(IncompatibleError, match=r"holds no point strictly inside .*take float"):
                codec.decode_state(y)
            continue
        x = codec.decode_state(y)
        assert x.dtype == dtype
        assert (domain.margin(x.double()) > 0).all()
        if dtype in (torch.float32, torch.float64):
            assert (domain.margin(x) > 0).all(), "and is found inside in its own precision"
        # Walls as data have them: rounded to what the precision holds.
        walls = domain.project(10 * size * torch.randn(50, 2, generator=draws).double() + shift).to(dtype)
        assert codec.encode_state(walls).isfinite().all()


def test_single_precision_has_the_inverse_of_double():
    codec = MirrorMap(Spec((2,)), TRIANGLE)
    y = 5 * torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(codec.encode_state(codec.decode_state(y)), y, rtol=1e-2, atol=1e-3)


def test_tails_have_the_index_one_over_kappa():
    """A density that does not vanish at the wall: P(|y| > r) ~ r^(-1 / kappa)."""
    x = points(SQUARE, 400_000)
    for kappa in (0.3, 0.6, 1.0):
        far = MirrorMap(Spec((2,)), SQUARE, kappa, 0.0)._gradient(x).norm(dim=1)
        low, high = far.quantile(torch.tensor([0.99, 0.999]).double())
        index = torch.tensor(10.0).log() / (high / low).log()
        assert abs(float(index) * kappa - 1) < 0.12


def test_the_student_t_source_has_heavier_tails_than_a_gaussian():
    draws = Draw(torch.Generator().manual_seed(0))
    heavy = PoissonKernel(3.33, 1.0).noise((50_000, 1), draws).abs().quantile(0.999)
    from scipy.stats import t

    assert abs(float(heavy) / t(3.33).ppf(0.9995) - 1) < 0.1
    assert float(heavy) > 2 * float(Gaussian().noise((50_000, 1), draws).abs().quantile(0.999))


def test_tail_metric_and_refusals():
    x = points(SQUARE, 4000).float()
    tail = MirrorTail(SQUARE)
    assert tail(Examples(x), Examples(x))["mirror_tail"] == 0
    assert tail(Examples(0.9 * x), Examples(x))["mirror_tail"] > 0.3
    with pytest.raises(DataError, match="outside"):
        MirrorMap(Spec((2,)), SQUARE).encode_state(torch.tensor([[1.1, 0.0]]))
    with pytest.raises(IncompatibleError, match="takes points"):
        MirrorMap(Spec((3,)), SQUARE)
    with pytest.raises(ValueError, match="kappa"):
        MirrorMap(Spec((2,)), SQUARE, kappa=1.5)
