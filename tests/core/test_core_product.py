"""A product state (Euclidean, torus, sphere, tokens) through every room."""

from __future__ import annotations

import pytest
import torch

import flowloom as fl
from flowloom.couplings import OptimalTransport
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.geometry import Discrete, Euclidean, FlatTorus, Product, Sphere
from flowloom.guidance import ClassifierFree
from flowloom.models import MLP
from flowloom.objectives import Batch, FlowMatching, PosteriorMatching, ProductObjective, Step
from flowloom.paths import AffinePath, GeodesicPath, MixturePath, ProductPath
from flowloom.schedules import Cosine
from flowloom.solvers import CTMCEuler, Euler, EulerMaruyama, Heun, Mixed
from flowloom.sources import Gaussian, Mask, Uniform
from flowloom.sources import Product as ProductSource
from flowloom.spec import Condition, Spec
from flowloom.state import shape_of

TOKENS = Discrete(4, mask=True)
SPEC = Spec(
    parts={
        "pos": Spec((5, 3)),
        "angle": Spec((5, 2)),
        "heading": Spec((5, 3)),
        "type": Spec((5,), vocab=4),
    },
    conditions={"label": Condition(3)},
)
SPACE = Product({"pos": Euclidean(), "angle": FlatTorus(), "heading": Sphere(2), "type": TOKENS})


def source():
    return ProductSource(
        {
            "pos": Gaussian(),
            "angle": Uniform(FlatTorus()),
            "heading": Uniform(Sphere(2)),
            "type": Mask(TOKENS),
        }
    )


def objective(**settings):
    return ProductObjective(
        {
            "pos": FlowMatching(AffinePath(Cosine()), predict="data"),
            "angle": FlowMatching(GeodesicPath(FlatTorus())),
            "heading": FlowMatching(GeodesicPath(Sphere(2))),
            "type": PosteriorMatching(MixturePath(TOKENS, source=Mask(TOKENS))),
        },
        **settings,
    )


def solver(steps=6):
    parts = {"pos": Euler(), "angle": Euler(), "heading": Euler(retraction="exp"), "type": CTMCEuler()}
    return Mixed(parts, steps)


def states(n=8, seed=0):
    draws = torch.Generator().manual_seed(seed)
    x = SPACE.random(fl.state.with_batch(SPEC.event_shape(), n), Draw(draws))
    return x, torch.randint(3, (n,), generator=draws)


def flow(**settings):
    torch.manual_seed(0)
    return fl.Flow(
        MLP(SPEC, width=32, depth=2),
        geometry=SPACE,
        source=source(),
        objective=objective(condition_dropout=0.2),
        coupling=OptimalTransport(SPACE),
        solver=solver(),
        **settings,
    )


def test_draws_lie_on_the_product():
    x0 = source().sample(fl.state.with_batch(SPEC.event_shape(), 8), Draw(torch.Generator().manual_seed(0)))
    SPACE.require(x0)
    assert shape_of(x0) == {"pos": (8, 5, 3), "angle": (8, 5, 2), "heading": (8, 5, 3), "type": (8, 5)}


def test_points_of_every_part_go_by_the_same_or_their_own_time():
    path = objective().path
    x1, _ = states()
    x0 = source().sample(shape_of(x1), Draw(torch.Generator().manual_seed(1)))
    ends = {"pos": torch.zeros(8), "angle": torch.ones(8), "heading": torch.zeros(8), "type": torch.ones(8)}
    point = path.sample(x0, x1, ends)
    assert torch.allclose(point.x_t["pos"], x0["pos"], atol=1e-6)
    assert float(FlatTorus().distance(point.x_t["angle"], x1["angle"]).max()) < 1e-3
    assert torch.allclose(point.x_t["heading"], x0["heading"], atol=1e-5)
    assert torch.equal(point.x_t["type"], x1["type"])
    assert point.velocity["type"] is None


def test_loss_is_the_weighted_sum_of_its_parts():
    x1, label = states()
    x0 = source().sample(shape_of(x1), Draw(torch.Generator().manual_seed(1)))
    torch.manual_seed(0)
    model = MLP(SPEC, width=32, depth=2)
    batch = Batch(x0, x1, {"label": label})

    def loss(weights):
        return (
            objective(weights=weights)
            .loss(model, batch, Step(generator=torch.Generator().manual_seed(2)))
            .total
        )

    names = list(SPEC.parts)
    alone = {n: loss({m: float(m == n) for m in names}) for n in names}
    weights = {"pos": 0.5, "type": 2.0}
    wanted = 0.5 * alone["pos"] + alone["angle"] + alone["heading"] + 2 * alone["type"]
    assert torch.allclose(loss(weights), wanted, rtol=1e-5)


def test_train_and_sample():
    x, label = states(64)
    f = flow()
    history = f.fit(fl.data.Tensors(x, {"label": label}, spec=SPEC), steps=30, batch=16, lr=3e-3, ema=0.0)
    assert history[-1]["loss"] < history[0]["loss"]
    solution = f.solve(6, seed=0, cond={"label": 1}, keep=3)
    SPACE.require(solution.x)
    assert bool((solution.x["type"] < 4).all())
    assert solution.nfe == 6
    assert len(solution.trajectory) == 3
    again = f.solve(6, seed=0, cond={"label": 1})
    assert all(torch.equal(solution.x[k], again.x[k]) for k in SPEC.parts)


def test_guidance_doubles_the_cost_and_keeps_the_spaces():
    f = flow()
    plain = f.solve(4, seed=0, cond={"label": 1})
    one = f.solve(4, seed=0, cond={"label": 1}, guidance=ClassifierFree(1.0))
    guided = f.solve(4, seed=0, cond={"label": 1}, guidance=ClassifierFree(3.0))
    SPACE.require(guided.x)
    assert (plain.nfe, one.nfe, guided.nfe) == (6, 6, 12)
    assert all(torch.equal(one.x[k], plain.x[k]) for k in SPEC.parts)
    assert not torch.equal(guided.x["pos"], plain.x["pos"])


def test_optimal_transport_on_products_shortens_every_kind_of_way():
    x1, _ = states(64)
    x0 = SPACE.random(shape_of(x1), Draw(torch.Generator().manual_seed(1)))
    rows = OptimalTransport(SPACE).rows(x0, x1, {})
    paired = SPACE.distance(fl.state.take(x0, rows), x1).square().mean()
    assert float(paired) < float(SPACE.distance(x0, x1).square().mean())


def test_likelihood_of_the_continuous_parts():
    smooth = Product({"pos": Euclidean(), "angle": FlatTorus(), "heading": Sphere(2)})
    spec = Spec(parts={"pos": Spec((2,)), "angle": Spec((2,)), "heading": Spec((3,))})
    torch.manual_seed(0)
    f = fl.Flow(
        MLP(spec, width=16, depth=1),
        geometry=smooth,
        path=GeodesicPath(smooth),
        source=ProductSource(
            {"pos": Gaussian(), "angle": Uniform(FlatTorus()), "heading": Uniform(Sphere(2))}
        ),
        solver=Heun(20),
    )
    x = smooth.random(fl.state.with_batch(spec.event_shape(), 5), Draw(torch.Generator().manual_seed(0)))
    density = f.log_prob(x)
    assert density.shape == (5,)
    assert bool(density.isfinite().all())


@pytest.mark.parametrize("name", ["type", "float", "half", "to"])
def test_parts_and_conditions_may_be_called_anything(name):
    spec = Spec(parts={name: Spec((2,))}, conditions={name: Condition(3)})
    scored = ProductObjective({name: FlowMatching()})
    x = {name: torch.zeros(4, 2)}
    model = MLP(spec, width=8, depth=1)
    loss = scored.loss(
        model, Batch(x, x, {name: torch.tensor([0, 1, 2, 0])}), Step(generator=torch.Generator())
    )
    assert bool(loss.total.isfinite())
    assert list(scored.parts) == [name]


def test_mistakes_are_named():
    x1, _ = states()
    with pytest.raises(ShapeError, match="parts"):
        SPACE.project({"pos": x1["pos"]})
    with pytest.raises(ShapeError, match="parts"):
        objective().path.sample(x1["pos"], x1["pos"], torch.zeros(8))
    with pytest.raises(ShapeError, match="parts"):
        source().sample((8, 3))
    with pytest.raises(IncompatibleError, match="weights name"):
        objective(weights={"nothing": 1.0})
    with pytest.raises(IncompatibleError, match="more than once"):
        Mixed({"pos": Heun()})
    f = flow()
    with pytest.raises(IncompatibleError, match="parts"):
        f.solve(2, solver=Mixed({"pos": Euler()}), cond={"label": 0})
    with pytest.raises(IncompatibleError):
        f.solve(2, solver=Euler(3), cond={"label": 0})


def test_stochastic_part_beside_tokens():
    """Positions by the SDE of their Gaussian source, types by jumps."""
    spec = Spec(parts={"pos": Spec((2,)), "type": Spec((2,), vocab=4)})
    torch.manual_seed(0)
    f = fl.Flow(
        MLP(spec, width=16, depth=1),
        source=ProductSource({"pos": Gaussian(), "type": Mask(TOKENS)}),
        objective=ProductObjective({"pos": FlowMatching(), "type": PosteriorMatching(MixturePath(TOKENS))}),
        solver=Mixed({"pos": EulerMaruyama(), "type": CTMCEuler()}, 5),
    )
    assert f.solve(4, seed=0).x["pos"].shape == (4, 2)


def test_product_path_of_one_schedule_is_affine():
    assert ProductPath({"a": AffinePath(), "b": AffinePath()}).affine
    assert not ProductPath({"a": AffinePath(), "b": AffinePath(Cosine())}).affine


def test_a_field_of_several_kinds_under_one_solver_says_what_would_fit():
    path = fl.paths.ProductPath({"pos": fl.paths.AffinePath(), "types": fl.paths.AffinePath()})
    said = path.gap({"pos": "velocity", "types": "posterior"}, "velocity")
    assert said.endswith("on ProductPath; use solver: mixed, with a solver for every part")


def test_parts_are_fitted_to_rows_of_all_of_sorted_data():
    """Ten thousand rows at 1 and as many at 100: the first of them are not their mean."""

    class Measures(Gaussian):
        def fit(self, data, flow=None, generator=None):
            self.seen = data.all().x

    part = Measures()
    values = torch.ones(20_000, 1)
    values[10_000:] = 100
    ProductSource({"a": part, "b": Gaussian()}).fit(fl.data.Tensors({"a": values, "b": values}))
    assert float(part.seen.mean()) == pytest.approx(50.5)
