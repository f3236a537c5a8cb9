"""Matrix functions and the polar factor: derivatives of derivatives, repeated eigenvalues, lost digits."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import flowloom as fl
from flowloom.divergence import exact_divergence
from flowloom.draw import Draw
from flowloom.solvers import RK4
from flowloom.sources import Gaussian
from flowloom.spec import Spec
from flowloom_geometries.spaces import SO3, SPD, LogEuclideanSPD
from flowloom_geometries.spaces.polar import polar_factor
from flowloom_geometries.spaces.spectral_function import divided_differences, symmetric_function

mp = pytest.importorskip("mpmath")

DOUBLE = torch.float64
NAMES = ["exp", "log", "sqrt", "rsqrt"]
EIGENVALUES = [[0.3, 1.0, 2.5], [1.0, 1.0, 1.0], [0.7, 0.7, 2.0]]


def turned(values, draws):
    """A symmetric matrix with these eigenvalues, in a batch of one."""
    q = SO3().random((1, 3, 3), Draw(draws, dtype=DOUBLE))
    x = (q * torch.tensor(values, dtype=DOUBLE)) @ q.mT
    return 0.5 * (x + x.mT)


def reverse_over_forward(fn, d):
    """The derivative along multiples of d side by side, as `exact_divergence` takes it in forward mode."""
    factors = torch.tensor([1.0, -0.5], dtype=d.dtype)
    return lambda z: torch.func.vmap(lambda s: torch.func.jvp(fn, (z,), (s * d,))[1])(factors)


def reverse_over_reverse(fn, d):
    """The same in reverse mode."""
    factors = torch.tensor([1.0, -0.5], dtype=d.dtype)

    def pulled(z):
        _, pull = torch.func.vjp(fn, z)
        return torch.func.vmap(lambda s: pull(s * d)[0])(factors)

    return pulled


def check_two_derivatives(fn, x, draws):
    x = x.clone().requires_grad_()
    d = torch.randn(fn(x).shape, generator=draws, dtype=DOUBLE)
    assert gradcheck(
        fn, (x,), check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True
    )
    assert gradgradcheck(fn, (x,), check_fwd_over_rev=True, check_rev_over_rev=True, check_batched_grad=True)
    assert gradcheck(reverse_over_forward(fn, d), (x,))
    assert gradcheck(reverse_over_reverse(fn, d), (x,))


@pytest.mark.parametrize("values", EIGENVALUES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_matrix_functions_have_two_derivatives_in_every_mode(name, values, draws):
    check_two_derivatives(lambda z: symmetric_function(z, name), turned(values, draws), draws)


@pytest.mark.slow
def test_polar_factors_have_two_derivatives_on_the_manifold_and_off_it(draws):
    rotations = SO3().random((2, 3, 3), Draw(draws, dtype=DOUBLE))
    square, tall = (torch.randn(2, *s, generator=draws, dtype=DOUBLE) for s in ((3, 3), (4, 2)))
    frames = torch.linalg.qr(tall)[0]
    for x in (rotations, square):
        check_two_derivatives(lambda z: polar_factor(z, special=True), x, draws)
    for x in (square, tall, frames):
        check_two_derivatives(polar_factor, x, draws)


@pytest.mark.parametrize(
    "values",
    [pytest.param(v, marks=() if len(set(v)) == 2 else pytest.mark.slow) for v in EIGENVALUES],
    ids=str,
)
@pytest.mark.parametrize("space", [SPD(3), LogEuclideanSPD(3)], ids=str)
def test_operations_have_two_derivatives_at_repeated_eigenvalues(space, values, draws):
    x = turned(values, draws).requires_grad_()
    y = space.random((1, 3, 3), Draw(draws, dtype=DOUBLE)).requires_grad_()
    u = (y.detach() - 1).requires_grad_()
    t = torch.full((1,), 0.3, dtype=DOUBLE)
    operations = [
        (space.log, y),
        (space.exp, u),
        (lambda a, b: space.geodesic(a, b, t)[0], y),
        (lambda a, b: space.geodesic(a, b, t)[1], y),
        (lambda a, b: space.distance(a, b).square(), y),
        (lambda a, b: space.inner(a, b, b), u),
        (lambda a, b: space.log_sqrt_det(a) + b.sum(), u),
    ]
    for fn, second in operations:
        assert gradcheck(fn, (x, second))
        assert gradgradcheck(fn, (x, second), atol=1e-4, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
@pytest.mark.parametrize("space", [SPD(3), LogEuclideanSPD(3)], ids=str)
def test_gradients_at_the_identity_are_finite(space, dtype, draws):
    eye = torch.eye(3, dtype=dtype)[None].requires_grad_()
    y = space.random((1, 3, 3), Draw(draws, dtype=dtype))
    half = torch.full((1,), 0.5, dtype=dtype)
    for other in (y, torch.eye(3, dtype=dtype)[None]):
        log = space.log(eye, other)
        for value in (
            log,
            space.exp(eye, log),
            *space.geodesic(eye, other, half),
            space.inner(eye, log, log),
        ):
            (slope,) = torch.autograd.grad(value.sum(), eye, retain_graph=True)
            assert bool(slope.isfinite().all())


@pytest.mark.parametrize("space", [SPD(3), LogEuclideanSPD(3)], ids=str)
def test_the_derivative_of_the_volume_density_can_be_differentiated(space, draws):
    x = space.random((4, 3, 3), Draw(draws, dtype=DOUBLE))
    x[0] = torch.eye(3)
    v = torch.randn(4, 3, 3, generator=draws, dtype=DOUBLE)

    def slope(z):
        return torch.func.jvp(space.log_sqrt_det, (z,), (v,))[1]

    assert gradcheck(slope, (x.clone().requires_grad_(),))
    # Without gradients a cheaper formula takes over.
    wanted = torch.func.jvp(space.log_sqrt_det, (x,), (v,))
    with torch.no_grad():
        for a, b in zip(wanted, torch.func.jvp(space.log_sqrt_det, (x,), (v,)), strict=True):
            assert torch.allclose(a, b, atol=1e-12)


def test_the_divergence_on_rotations_has_its_derivative(draws):
    space = SO3()
    x = space.random((3, 3, 3), Draw(draws, dtype=DOUBLE))
    a, w = (
        torch.randn(9, 9, generator=draws, dtype=DOUBLE),
        torch.randn(3, 3, 3, generator=draws, dtype=DOUBLE),
    )
    w = space.to_tangent(x, w)

    def field(z):
        p = space.project(z)
        return space.to_tangent(p, torch.tanh(p.flatten(1) @ a).reshape(p.shape))

    for forward in (False, True):
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(exact_divergence(field, leaf, forward=forward)[1].sum(), leaf)
        h = 1e-5
        ends = [exact_divergence(field, space.exp(x, s * w), forward=forward)[1] for s in (h, -h)]
        assert torch.allclose((slope * w).sum((1, 2)), (ends[0] - ends[1]) / (2 * h), atol=1e-7)


class Net(torch.nn.Module):
    """A small field; on positive matrices between Cholesky factors, so that it is bounded in the metric."""

    def __init__(self, n, positive):
        super().__init__()
        self.positive = positive
        self.net = torch.nn.Sequential(torch.nn.Linear(n + 1, 8), torch.nn.Tanh(), torch.nn.Linear(8, n))

    def forward(self, x, t, **_):
        v = 1.5 * self.net(torch.cat([x.flatten(1), t[:, None]], 1)).reshape(x.shape)
        if not self.positive:
            return v
        root = torch.linalg.cholesky(x)
        return 0.25 * root @ (v + v.mT) @ root.mT


@pytest.mark.parametrize(
    ("space", "n", "source"),
    [(SO3(), 3, None), (SPD(2), 2, Gaussian()), (LogEuclideanSPD(2), 2, Gaussian())],
    ids=["so3", "spd", "log-euclidean-spd"],
)
def test_likelihoods_have_their_parameter_gradients(space, n, source, draws):
    torch.manual_seed(0)
    net = Net(n * n, not isinstance(space, SO3)).double()
    flow = fl.Flow(net, spec=Spec(shape=(n, n)), geometry=space, source=source)
    x = space.random((3, n, n), Draw(draws, dtype=DOUBLE))
    weights = list(net.parameters())
    step = [torch.randn(p.shape, generator=draws, dtype=DOUBLE) for p in weights]

    def total():
        return flow.log_prob(x, solver=RK4(3)).sum()

    slope = sum((g * d).sum() for g, d in zip(torch.autograd.grad(total(), weights), step, strict=True))
    h, ends = 1e-5, []
    with torch.no_grad():
        for move in (h, -2 * h):
            for p, d in zip(weights, step, strict=True):
                p += move * d
            ends.append(total())
    assert float(slope) == pytest.approx(float(ends[0] - ends[1]) / (2 * h), rel=1e-5)


@pytest.mark.parametrize(
    "values",
    [
        *([0.37, 0.37 + gap / 3, 0.37 + gap] for gap in (0.0, 1e-12, 1e-6, 0.009, 0.019, 0.21, 0.4, 3.0)),
        [1e-10, 2e-10, 1.0],
        [1e-10, 0.5, 0.5],
    ],
    ids=str,
)
@pytest.mark.parametrize("name", NAMES)
def test_divided_differences_do_not_cancel(name, values):
    """One to three differences against plain ones with 120 digits, of points moved by 1e-25."""
    points, zero = torch.tensor(values, dtype=DOUBLE), torch.zeros(1, dtype=DOUBLE)
    with mp.workdps(120):
        scalar = {"exp": mp.exp, "log": mp.log, "sqrt": mp.sqrt, "rsqrt": lambda v: 1 / mp.sqrt(v)}[name]

        def difference(at):
            if len(at) == 1:
                return scalar(at[0])
            return (difference(at[1:]) - difference(at[:-1])) / (at[-1] - at[0])

        for order, limit in ((1, 2e-15), (2, 3e-14), (3, 1e-12)):
            found = divided_differences(points, zero, name, order)
            for indices in ((0, 1, 2, 0), (2, 1, 1, 0), (0, 0, 0, 0), (1, 2, 2, 2)):
                places = indices[: order + 1]
                moved = [mp.mpf(values[i]) * (1 + k * mp.mpf(10) ** -25) for k, i in enumerate(places)]
                wanted = difference(sorted(moved))
                assert float(abs(mp.mpf(float(found[places])) / wanted - 1)) < limit


@pytest.mark.parametrize("small", [1e-6, 1e-8, 1e-10])
def test_log_euclidean_holds_at_large_condition_numbers(small):
    space = LogEuclideanSPD(2)
    x = torch.tensor([1.0, small], dtype=DOUBLE).diag()[None]
    v = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]], dtype=DOUBLE)
    with mp.workdps(40):
        slope = -mp.log(mp.mpf(small)) / (1 - mp.mpf(small))
        norm, density = float(mp.sqrt(2) * slope), float(mp.log(slope) - mp.log(mp.mpf(small)))
    assert float(space.norm(x, v)) == pytest.approx(norm, rel=1e-14)
    assert float(space.log_sqrt_det(x)) == pytest.approx(density, rel=1e-14)
    y = torch.tensor([[[2.0, 0.1], [0.1, 0.5]]], dtype=DOUBLE)
    assert float(space.distance(space.exp(x, space.log(x, y)), y)) < 1e-15 / small


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
@pytest.mark.parametrize("length", [1e-6, 1e-4, 1e-2, 3.0])
def test_near_points_keep_their_digits(length, dtype, draws):
    """The truth is that of the very same rounded points, with 50 digits."""
    x = turned([1.0, 0.5, 0.1], draws).to(dtype)
    u = torch.randn(1, 3, 3, generator=draws, dtype=DOUBLE)
    u = (u + u.mT) / (u + u.mT).norm()
    whole = x.double()
    root = torch.linalg.cholesky(whole)
    y = SPD(3).exp(whole, length * root @ u @ root.mT).to(dtype)
    x, y = 0.5 * (x + x.mT), 0.5 * (y + y.mT)
    with mp.workdps(50):
        a, b = (mp.matrix(m[0].double().tolist()) for m in (x, y))

        def apply(m, f):
            e, q = mp.eigsy(m)
            return q * mp.diag([f(w) for w in e]) * q.T

        inverse, root = apply(a, lambda w: 1 / mp.sqrt(w)), apply(a, mp.sqrt)
        rate = apply(inverse * b * inverse, mp.log)
        flat = apply(b, mp.log) - apply(a, mp.log)
        log = torch.tensor((root * rate * root).tolist(), dtype=DOUBLE)
        distance, between = float(mp.norm(rate, 2)), float(mp.norm(flat, 2))
    # Rounding of the change of scale x^(-1/2), times the condition number.
    eps = 80 * torch.finfo(dtype).eps
    assert float(SPD(3).distance(x, y)) == pytest.approx(distance, rel=eps)
    assert float((SPD(3).log(x, y)[0].double() - log).norm() / log.norm()) < 4 * eps
    # Flat distances change over from a difference of logs to a slope, of error (6 eps)^(2/3) / 6 there.
    allowed = eps + torch.finfo(dtype).eps ** (2 / 3)
    assert float(LogEuclideanSPD(3).distance(x, y)) == pytest.approx(between, rel=allowed)
