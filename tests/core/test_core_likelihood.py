"""Divergence and change of variables."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from flowloom import likelihood
from flowloom.divergence import exact_divergence, hutchinson_divergence
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, NetworkField
from flowloom.geometry import Discrete, Euclidean, FlatTorus, Product, Sphere
from flowloom.paths import AffinePath, MixturePath
from flowloom.solvers import RK4, CTMCEuler, Dopri5, EulerMaruyama
from flowloom.sources import Gaussian, Uniform
from flowloom.sources import Product as ProductSource
from flowloom.state import leaves
from flowloom.testing.oracles import LinearFlow, SphereSpiral, TorusPull


def coupled(shape, seed=0):
    """A smooth field in which every entry of a row depends on every other."""
    size = math.prod(shape)
    draws = torch.Generator().manual_seed(seed)
    w = torch.randn(size, size, generator=draws, dtype=torch.float64) / math.sqrt(size)

    def fn(x):
        return (
            torch.tanh(x.flatten(1) @ w.T)
            .mul(1 + x.flatten(1).square().mean(1, keepdim=True))
            .reshape(x.shape)
        )

    return fn


def jacobian_trace(fn, x):
    rows = []
    for row in x:
        j = torch.autograd.functional.jacobian(lambda z: fn(z[None])[0], row)
        rows.append(j.reshape(row.numel(), row.numel()).trace())
    return torch.stack(rows)


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("chunk", [5, 64])
def test_exact_divergence_of_images_is_the_trace_of_the_jacobian(forward, chunk, draws):
    """(B, 2, 3, 4): peers index channels here and fail."""
    x = torch.randn(3, 2, 3, 4, generator=draws, dtype=torch.float64)
    fn = coupled((2, 3, 4))
    value, divergence = exact_divergence(fn, x, forward=forward, chunk=chunk)
    assert torch.allclose(value, fn(x))
    assert torch.allclose(divergence, jacobian_trace(fn, x), atol=1e-10)


@pytest.mark.parametrize("forward", [True, False])
def test_exact_divergence_of_product_states(forward, draws):
    x = {
        "a": torch.randn(4, 2, 3, generator=draws, dtype=torch.float64),
        "b": {"c": torch.randn(4, 5, generator=draws, dtype=torch.float64)},
        "d": torch.randn(4, generator=draws, dtype=torch.float64),
    }
    inner = coupled((12,))

    def fn(s):
        out = inner(torch.cat([s["a"].flatten(1), s["b"]["c"], s["d"][:, None]], 1))
        return {"a": out[:, :6].reshape(4, 2, 3), "b": {"c": out[:, 6:11]}, "d": out[:, 11]}

    value, divergence = exact_divergence(fn, x, forward=forward)
    flat = torch.cat([leaf.reshape(4, -1) for _, leaf in leaves(x)], 1)
    assert torch.allclose(divergence, jacobian_trace(inner, flat), atol=1e-10)
    assert [name for name, _ in leaves(value)] == ["a", "b.c", "d"]


@pytest.mark.parametrize("forward", [True, False])
def test_hutchinson_is_unbiased(forward, draws):
    x = torch.randn(2, 2, 3, generator=draws, dtype=torch.float64)
    fn = coupled((2, 3))
    exact = exact_divergence(fn, x)[1]
    estimates = []
    for _ in range(1000):
        probe = torch.randint(2, x.shape, generator=draws).double() * 2 - 1
        estimates.append(hutchinson_divergence(fn, x, probe, forward=forward)[1])
    found = torch.stack(estimates)
    error = found.std(0) / math.sqrt(len(found))
    assert bool(((found.mean(0) - exact).abs() <= 5 * error + 1e-9).all())


def test_linear_flow_has_the_gain_of_its_trace():
    flow = LinearFlow()
    x1 = torch.randn(16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    solution = likelihood.log_prob(flow, Gaussian(), x1, solver=Dopri5(1e-9, 1e-9))
    x0 = flow.solution(x1, 1.0, 0.0)
    wanted = Gaussian().log_prob(x0) - flow.log_gain(0.0, 1.0)
    assert torch.allclose(solution.x, x0, atol=1e-7)
    assert torch.allclose(solution.log_prob, wanted, atol=1e-6)


@pytest.mark.parametrize("divergence", ["exact", "hutchinson"])
def test_forwards_and_backwards_agree(divergence):
    flow = LinearFlow()
    x0 = torch.randn(16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    solver = RK4(40)
    settings = {"solver": solver, "divergence": divergence}
    ahead = likelihood.sample_with_log_prob(
        flow, Gaussian(), x0, generator=torch.Generator().manual_seed(1), **settings
    )
    back = likelihood.log_prob(
        flow, Gaussian(), ahead.x, generator=torch.Generator().manual_seed(1), **settings
    )
    assert torch.allclose(ahead.log_prob, back.log_prob, atol=1e-5)
    assert torch.allclose(back.x, x0, atol=1e-5)


def sphere_grid(n):
    """Midpoints in z and azimuth: equal areas on S^2."""
    z = -1 + (torch.arange(n, dtype=torch.float64) + 0.5) * 2 / n
    phi = (torch.arange(n, dtype=torch.float64) + 0.5) * 2 * math.pi / n
    z, phi = torch.meshgrid(z, phi, indexing="ij")
    z, phi = z.flatten(), phi.flatten()
    r = (1 - z.square()).sqrt()
    return torch.stack([r * phi.cos(), r * phi.sin(), z], 1), 4 * math.pi / n**2


def test_density_on_the_sphere_is_exact_and_integrates_to_one():
    field, source = SphereSpiral(), Uniform(Sphere(2))
    x, area = sphere_grid(60)
    solution = likelihood.log_prob(field, source, x, solver=Dopri5(1e-8, 1e-8))
    assert float((solution.log_prob - field.log_density(x)).abs().max()) < 1e-5
    assert abs(float(solution.log_prob.exp().sum() * area) - 1) < 2e-3


def test_density_on_the_torus_is_exact_and_integrates_to_one():
    field, source = TorusPull(0.8), Uniform(FlatTorus())
    angle = (torch.arange(60, dtype=torch.float64) + 0.5) * 2 * math.pi / 60
    x = torch.cartesian_prod(angle, angle)
    solution = likelihood.log_prob(field, source, x, solver=Dopri5(1e-8, 1e-8))
    assert float((solution.log_prob - field.log_density(x)).abs().max()) < 1e-5
    assert abs(float(solution.log_prob.exp().sum()) * (2 * math.pi / 60) ** 2 - 1) < 2e-3


def test_density_of_a_product_is_the_product_of_densities():
    linear, pull, spiral = LinearFlow(), TorusPull(0.8), SphereSpiral()
    parts = {"pos": linear, "angle": pull, "heading": spiral}

    class All(Field):
        kind = "velocity"
        geometry = Product({"pos": Euclidean(), "angle": FlatTorus(), "heading": Sphere(2)})

        def __call__(self, x, t, cond):
            return {name: field(x[name], t, cond) for name, field in parts.items()}

    source = ProductSource({"pos": Gaussian(), "angle": Uniform(FlatTorus()), "heading": Uniform(Sphere(2))})
    shape = {"pos": (12, 2), "angle": (12, 3), "heading": (12, 3)}
    x = All.geometry.random(shape, Draw(torch.Generator().manual_seed(0), dtype=torch.float64))
    found = likelihood.log_prob(All(), source, x, solver=Dopri5(1e-8, 1e-8)).log_prob
    wanted = (
        Gaussian().log_prob(linear.solution(x["pos"], 1.0, 0.0))
        - linear.log_gain(0.0, 1.0)
        + pull.log_density(x["angle"])
        + spiral.log_density(x["heading"])
    )
    assert float((found - wanted).abs().max()) < 1e-4


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))

    def forward(self, x, t, **cond):
        return self.net(x) * (1 + t[:, None])


@pytest.mark.parametrize("divergence", ["exact", "hutchinson"])
def test_likelihood_has_gradients_for_the_parameters(divergence):
    model = Net()
    field = NetworkField(model, "velocity", AffinePath())
    draws = torch.Generator().manual_seed(0)
    solution = likelihood.log_prob(
        field, Gaussian(), torch.randn(4, 2), solver=RK4(4), divergence=divergence, generator=draws
    )
    solution.log_prob.sum().backward()
    # The last bias only shifts x0; every parameter still moves the density.
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in model.parameters())


class NoForwardMode(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.tanh()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * (1 - y.square())


class Reverse(nn.Module):
    """Has no forward-mode rule, and says so."""

    jvp_safe = False

    def forward(self, x, t, **cond):
        return NoForwardMode.apply(x)


@pytest.mark.parametrize("divergence", ["exact", "hutchinson"])
def test_networks_without_forward_mode_take_reverse_mode(divergence):
    field = NetworkField(Reverse(), "velocity", AffinePath())
    x = torch.linspace(-0.6, 0.6, 6, dtype=torch.float64).reshape(3, 2)
    solution = likelihood.log_prob(
        field, Gaussian(), x, solver=Dopri5(1e-8, 1e-8), divergence=divergence, generator=torch.Generator()
    )
    # dx/dt = tanh x: sinh x(t) = e^t sinh x(0), and the Jacobian is diagonal, so one probe is exact.
    x0 = torch.asinh(x.sinh() * math.exp(-1))
    gain = (x0.cosh() * math.e / x.cosh()).log().sum(1)
    assert torch.allclose(solution.log_prob, Gaussian().log_prob(x0) - gain, atol=1e-6)


def test_what_has_no_likelihood_is_refused_in_one_line():
    flow, x = LinearFlow(), torch.zeros(2, 2, dtype=torch.float64)
    for solver in (EulerMaruyama(5), CTMCEuler(5)):
        with pytest.raises(IncompatibleError, match="ODE solver"):
            likelihood.log_prob(flow, Gaussian(), x, solver=solver)
    from flowloom.testing.oracles import JointPosterior

    tokens = JointPosterior(path=MixturePath(Discrete(3)))
    with pytest.raises(IncompatibleError, match="discrete"):
        likelihood.log_prob(tokens, Gaussian(), torch.zeros(2, 2, dtype=torch.long), solver=RK4(2))
    flow.batch_independent = False
    with pytest.raises(IncompatibleError, match="see each other"):
        likelihood.log_prob(flow, Gaussian(), x, solver=RK4(2))
