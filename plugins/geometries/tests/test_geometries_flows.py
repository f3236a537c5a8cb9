"""Flows on manifolds: densities that integrate to one and agree with the truth, networks."""

import math

import pytest
import torch

import flowloom as fl
from flowloom.data.base import Tensors
from flowloom.draw import Draw
from flowloom.geometry import FlatTorus, Sphere
from flowloom.solvers import Dopri5, Midpoint
from flowloom.spec import Condition, Spec
from flowloom.testing import check
from flowloom.training import Cosine
from flowloom_geometries.data import VonMisesFisherMixture, WrappedNormalMixture
from flowloom_geometries.models import GridMLP, PeriodicMLP
from flowloom_geometries.models.grid import HashGrid
from flowloom_geometries.sources import WrappedNormal
from flowloom_geometries.spaces import SE3, SO3, PoincareBall, Simplex
from flowloom_geometries.world_map import density_grid, integral

FINE, COARSE = Dopri5(1e-5, 1e-5), Dopri5(1e-4, 1e-4)


def torus_integral(log_prob, rows=120):
    step = 2 * math.pi / rows
    ticks = (torch.arange(rows) + 0.5) * step
    grid = torch.cartesian_prod(ticks, ticks)
    with torch.no_grad():
        return float(log_prob(grid).double().exp().sum()) * step**2


def test_known_densities_integrate_to_one_and_match_their_draws():
    clusters = VonMisesFisherMixture(n=20_000)
    assert integral(density_grid(clusters.log_prob, 180)) == pytest.approx(1, abs=1e-3)
    x = clusters.all().x
    Sphere(2).require(x)
    grid = density_grid(clusters.log_prob, 180).double()
    latitude = (torch.arange(180, dtype=torch.float64) + 0.5) * math.pi / 180 - math.pi / 2
    cell = (math.pi / 180) ** 2 * latitude.cos()[:, None]
    entropy = -float((grid.exp() * grid * cell).sum())
    assert -float(clusters.log_prob(x).mean()) == pytest.approx(entropy, abs=0.03)

    wrapped = WrappedNormalMixture(n=20_000)
    assert torus_integral(wrapped.log_prob) == pytest.approx(1, abs=1e-4)
    x = wrapped.all().x
    FlatTorus().require(x)
    histogram = torch.histogramdd(x, bins=[8, 8], range=[0, 2 * math.pi] * 2).hist / len(x)
    step = 2 * math.pi / 64
    ticks = (torch.arange(64) + 0.5) * step
    fine = (
        wrapped.log_prob(torch.cartesian_prod(ticks, ticks)).exp().reshape(8, 8, 8, 8).sum((1, 3)) * step**2
    )
    assert float((histogram - fine).abs().max()) < 0.01


@pytest.mark.parametrize("seed", [0, 1])
def test_an_untrained_flow_has_a_density(seed):
    """Honest likelihoods integrate to one whatever the weights are."""
    torch.manual_seed(seed)
    model = fl.models.MLP(Spec(shape=(3,)), width=32, depth=2)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.6)
    flow = fl.Flow(model, geometry=Sphere(2))
    with torch.no_grad():
        grid = density_grid(lambda x: flow.log_prob(x, solver=COARSE), 24)
    assert float(grid.max() - grid.min()) > 0.2
    assert integral(grid) == pytest.approx(1, abs=0.01)
    flow = fl.Flow(PeriodicMLP(Spec(shape=(2,)), width=32), geometry=FlatTorus())
    assert torus_integral(lambda x: flow.log_prob(x, solver=COARSE), 24) == pytest.approx(1, abs=0.01)
    flow = fl.Flow(fl.models.MLP(Spec(shape=(2,)), width=32))
    ticks = (torch.arange(50) + 0.5) * (14 / 50) - 7
    with torch.no_grad():
        density = flow.log_prob(torch.cartesian_prod(ticks, ticks), solver=COARSE).exp()
    assert float(density.sum()) * (14 / 50) ** 2 == pytest.approx(1, abs=0.01)


def test_density_on_the_simplex_and_the_ball_integrates_to_one():
    """The two charts whose volume density enters the divergence."""
    torch.manual_seed(0)

    class Bounded(torch.nn.Module):
        # Vanishes at the edge, so that no trajectory leaves.
        def __init__(self, dims):
            super().__init__()
            self.net = fl.models.MLP(Spec(shape=(dims,)), width=16, depth=2)

        def forward(self, x, t):
            edge = x.prod(-1, keepdim=True) * 20 if x.shape[1] == 3 else (1 - x.square().sum(1, keepdim=True))
            return edge * self.net(x, t)

    space = Simplex(3)
    flow = fl.Flow(Bounded(3), spec=Spec(shape=(3,)), geometry=space)
    n = 20
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n * math.pi / 2
    a, b = torch.meshgrid(u, u, indexing="ij")
    p1, p2 = a.sin().square(), a.cos().square() * b.sin().square()
    p = torch.stack([p1, p2, 1 - p1 - p2], -1).reshape(-1, 3)
    jacobian = (2 * a.sin() * a.cos() * a.cos().square() * 2 * b.sin() * b.cos()).flatten()
    area = math.sqrt(3) * jacobian * (math.pi / 2 / n) ** 2 * space.log_sqrt_det(p).exp()
    flow.model.double()
    with torch.no_grad():
        density = flow.log_prob(p, solver=COARSE).exp()
    assert float(density.max() / density.min()) > 1.1
    assert float((density * area).sum()) == pytest.approx(1, abs=0.01)

    ball = PoincareBall(2)
    flow = fl.Flow(Bounded(2), spec=Spec(shape=(2,)), geometry=ball, source=WrappedNormal(ball))
    flow.model.double()
    n = 30
    radius = (torch.arange(n, dtype=torch.float64) + 0.5) / n * 0.999
    angle = torch.arange(12, dtype=torch.float64) * 2 * math.pi / 12
    r, theta = torch.meshgrid(radius, angle, indexing="ij")
    x = torch.stack([r * theta.cos(), r * theta.sin()], -1).reshape(-1, 2)
    area = (0.999 / n) * (2 * math.pi / 12) * r.flatten() * ball.log_sqrt_det(x).exp()
    with torch.no_grad():
        density = flow.log_prob(x, solver=COARSE).exp()
    assert float((density * area).sum()) == pytest.approx(1, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["sphere", "torus", "plane"])
def test_the_density_approaches_the_truth_as_training_proceeds(case):
    if case == "sphere":
        data, space = VonMisesFisherMixture(concentration=20), Sphere(2)
        model = fl.models.MLP(data.spec, width=128, depth=3)
    elif case == "torus":
        data, space = WrappedNormalMixture(std=0.5), FlatTorus()
        model = PeriodicMLP(data.spec, width=128, depth=3)
    else:
        x = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0)) * 0.6 + 1.0
        data, space = Tensors(x), None
        model = fl.models.MLP(Spec(shape=(2,)), width=128, depth=3)
    flow = fl.Flow(model, geometry=space)
    gaps = []
    if case == "plane":

        def truth(x):
            return -0.5 * ((x - 1) / 0.6).square().sum(1) - math.log(2 * math.pi * 0.36)

        held = torch.randn(1000, 2, generator=torch.Generator().manual_seed(1)) * 0.6 + 1.0
    else:
        truth, held = data.log_prob, data.split("test").take(torch.arange(1000)).x
    for steps in (100, 1500):
        torch.manual_seed(0)
        flow.fit(data, steps=steps, batch=512, lr=2e-3, decay=Cosine(20), ema=0.99)
        with torch.no_grad():
            gaps.append(float((truth(held) - flow.log_prob(held, solver=FINE)).double().mean()))
    # The mean gap is the divergence from model to truth: positive, and falling.
    assert gaps[1] < 0.06, gaps
    assert gaps[1] < 0.5 * gaps[0], gaps
    if case == "sphere":
        with torch.no_grad():
            total = integral(density_grid(lambda x: flow.log_prob(x, solver=FINE), 60))
    elif case == "torus":
        total = torus_integral(lambda x: flow.log_prob(x, solver=FINE), 60)
    else:
        ticks = (torch.arange(80) + 0.5) * (8 / 80) - 3
        grid = torch.cartesian_prod(ticks, ticks)
        with torch.no_grad():
            total = float(flow.log_prob(grid, solver=FINE).exp().sum()) * (8 / 80) ** 2
    assert total == pytest.approx(1, abs=0.01)


def test_flows_train_and_sample_on_product_spaces(draws):
    for space, spec in (
        (SO3(), Spec(shape=(3, 3))),
        (SE3(), Spec(parts={"rotation": Spec(shape=(3, 3)), "translation": Spec(shape=(3,))})),
    ):
        x = space.random(
            {"rotation": (64, 3, 3), "translation": (64, 3)} if isinstance(space, SE3) else (64, 3, 3),
            Draw(draws),
        )
        source = None
        if isinstance(space, SE3):
            from flowloom.sources import Gaussian, Product, Uniform

            source = Product({"rotation": Uniform(space.parts["rotation"]), "translation": Gaussian()})
        flow = fl.Flow(fl.models.MLP(spec, width=32), spec=spec, geometry=space, source=source)
        flow.fit(Tensors(x, spec=spec), steps=5, batch=16)
        samples = flow.sample(4, seed=0)
        space.require(samples)
        with torch.no_grad():
            assert bool(flow.log_prob(samples, solver=Dopri5(1e-3, 1e-3)).isfinite().all())


def test_the_hash_grid_is_smooth_across_cells(draws):
    torch.manual_seed(0)
    grid = HashGrid(3, levels=3, coarsest=2, finest=8, table=8).double()
    x = torch.rand(50, 3, generator=draws, dtype=torch.float64) * 2 - 1
    # Right on a cell's boundary, values and slopes agree from both sides.
    boundary = x.clone()
    boundary[:, 0] = 2 * 3 / 8 - 1.01
    h = 1e-6
    step = torch.tensor([h, 0, 0], dtype=torch.float64)
    left = (grid(boundary - step) - grid(boundary - 2 * step)) / h
    right = (grid(boundary + 2 * step) - grid(boundary + step)) / h
    assert float((left - right).detach().abs().max()) < 1e-4
    assert torch.allclose(grid(boundary - step), grid(boundary + step), atol=1e-6)


def test_fine_levels_are_silent_early(draws):
    torch.manual_seed(0)
    model = GridMLP(Spec(shape=(3,)), width=16, levels=4, finest=64, table=8)
    x = Sphere(2).random((20, 3), Draw(draws))
    early, late = torch.zeros(20), torch.full((20,), 0.99)
    before = model(x, early), model(x, late)
    with torch.no_grad():
        model.grid.table[3 * model.grid.rows :] += 1.0
    assert torch.equal(model(x, early), before[0])
    assert not torch.allclose(model(x, late), before[1])


@pytest.mark.parametrize(
    ("model", "shape"), [(GridMLP, (3,)), (GridMLP, (2,)), (PeriodicMLP, (2,)), (PeriodicMLP, (4, 2))]
)
def test_networks_keep_the_contract(model, shape):
    spec = Spec(shape=shape)
    small = {"levels": 3, "finest": 16, "table": 8} if model is GridMLP else {}
    results = check(lambda: model(spec, width=16, **small), kind="model", spec=spec)
    assert [r for r in results if not r.ok] == []


def test_angles_of_padding_are_not_seen_and_given_ones_are_marked():
    conditions = {
        "atoms": Condition(shape=(4,), role="real"),
        "known": Condition(shape=(4,), role="given"),
        "label": Condition(3),
    }
    spec = Spec((4, 2), conditions=conditions)
    results = check(lambda: PeriodicMLP(spec, width=16), "model")
    assert all(r.ok for r in results), [r for r in results if not r.ok]
    assert {r.name: r.status for r in results}["check_layout"] == "passed"
    model, x, t = PeriodicMLP(spec, width=16), torch.randn(3, 4, 2), torch.rand(3)
    marks = torch.tensor([[True, False, True, False]]).expand(3, -1)
    assert not torch.equal(model(x, t, known=marks), model(x, t))


def test_angles_a_turn_apart_look_alike(draws):
    model = PeriodicMLP(Spec(shape=(2,)), width=16)
    x, t = torch.rand(8, 2, generator=draws), torch.rand(8, generator=draws)
    assert torch.allclose(model(x, t), model(x + 2 * math.pi, t), atol=1e-5)


def test_networks_say_what_they_cannot_read():
    with pytest.raises(ValueError, match="use model: mlp"):
        GridMLP(Spec(shape=(3, 3)))
    with pytest.raises(ValueError, match="one real tensor of angles"):
        PeriodicMLP(Spec(shape=(3,), vocab=5))


@pytest.mark.parametrize("case", ["sphere", "torus"])
def test_trajectories_stay_on_the_space_and_fields_in_its_tangents(case):
    """In float32, whatever the weights are: nothing has to be learned for it."""
    torch.manual_seed(0)
    if case == "sphere":
        data, space = VonMisesFisherMixture(n=64), Sphere(2)
        model = fl.models.MLP(data.spec, width=32, depth=2)
    else:
        data, space = WrappedNormalMixture(n=64), FlatTorus()
        model = PeriodicMLP(data.spec, width=32, depth=2)
    for parameter in model.parameters():  # fields of some size
        torch.nn.init.normal_(parameter, std=0.3)
    flow = fl.Flow(model, geometry=space, spec=data.spec)
    solution = flow.solve(200, seed=0, solver=Midpoint(50), keep=11)
    with torch.no_grad():
        for t, x in zip(solution.times, solution.trajectory, strict=True):
            assert float(space.violation(x).max()) <= 1e-5
            v = flow.field()(x, torch.full((len(x),), t), {})
            # Rounding of what the network said, of which the tangent part is a small one here.
            assert float((v - space.to_tangent(x, v)).abs().max()) <= 1e-5
            assert float(v.abs().max()) > 0.1
