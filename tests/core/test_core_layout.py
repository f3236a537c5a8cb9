"""Layouts: padding never counts, what is given never moves, part by part, and equal sizes mean nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.codecs import Standardize
from flowloom.couplings import OptimalTransport
from flowloom.data import Examples, Tensors
from flowloom.draw import Draw
from flowloom.errors import DataError, ShapeError
from flowloom.fields import Field
from flowloom.geometry import Discrete, Euclidean, FlatTorus, Product, Sphere
from flowloom.layout import Layout, squared_distance
from flowloom.models import MLP
from flowloom.objectives import Batch, FlowMatching, PosteriorMatching, ProductObjective, Step
from flowloom.paths import AffinePath, GeodesicPath, MixturePath
from flowloom.solvers import CTMCEuler, Dopri5, Euler, Heun, Mixed
from flowloom.sources import Gaussian, Mask, Uniform
from flowloom.spec import Condition, Spec
from flowloom.state import map_state

N = 6  # atom slots, as many as lattice numbers: equal sizes must mean nothing
CRYSTAL = Spec(
    parts={"lattice": Spec((6,)), "positions": Spec((N, 3)), "types": Spec((N,), vocab=4)},
    conditions={
        "atoms": Condition(shape=(N,), role="real", of="positions, types"),
        "known": Condition(shape=(N,), role="given", of="types"),
        "elements": Condition(shape=(N,), role="values", of="types"),
    },
)
SPACE = Product({"lattice": Euclidean(), "positions": FlatTorus(1.0), "types": Discrete(4)})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def crystals(n, seed=0, known=0.0):
    g = generator(seed)
    real = torch.arange(N) < torch.randint(1, N + 1, (n, 1), generator=g)
    types = torch.randint(4, (n, N), generator=g)
    x = {
        "lattice": 3 + torch.rand(n, 6, generator=g),
        "positions": torch.rand(n, N, 3, generator=g),
        "types": types,
    }
    given = (torch.rand(n, N, generator=g) < known) & real
    return Examples(x, {"atoms": real, "known": given, "elements": types})


def spoiled(examples):
    """The same examples with rubbish in every padded entry."""
    real = examples.cond["atoms"]
    x = dict(examples.x)
    x["positions"] = torch.where(real[..., None], x["positions"], math.nan)
    x["types"] = torch.where(real, x["types"], -1)
    return Examples(x, examples.cond)


def crystal_flow(seed=0):
    torch.manual_seed(seed)
    source = fl.sources.Product(
        {"lattice": Gaussian(), "positions": Uniform(FlatTorus(1.0)), "types": Mask(Discrete(4))}
    )
    objective = ProductObjective(
        {
            "lattice": FlowMatching(AffinePath()),
            "positions": FlowMatching(GeodesicPath(FlatTorus(1.0))),
            "types": PosteriorMatching(MixturePath(Discrete(4), source=Mask(Discrete(4)))),
        }
    )
    solver = Mixed({"lattice": Euler(), "positions": Euler(), "types": CTMCEuler()}, steps=8)
    return fl.Flow(
        MLP(CRYSTAL, width=32, depth=2), geometry=SPACE, source=source, objective=objective, solver=solver
    )


def loss_and_gradient(flow, examples):
    layout = Layout.of(CRYSTAL, examples.cond)
    x0 = flow.source.sample(fl.state.shape_of(crystals(len(examples)).x), Draw(generator(1)))
    batch = Batch(x0, examples.x, examples.cond, layout)
    flow.zero_grad()
    loss = flow.objective.loss(flow.model, batch, Step(generator=generator(2))).total
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in flow.parameters() if p.grad is not None])


# -- the toy crystal ----------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [0.0, 0.5])
def test_rubbish_in_padding_changes_neither_loss_nor_gradient(known):
    flow, clean = crystal_flow(), crystals(16, known=known)
    loss, gradient = loss_and_gradient(flow, clean)
    again, other = loss_and_gradient(flow, spoiled(clean))
    assert loss == again
    assert torch.equal(gradient, other)
    assert gradient.isfinite().all()


def test_the_lattice_is_not_masked_by_a_mask_of_its_size():
    flow, examples = crystal_flow(), crystals(16)
    seen = []

    class Spy(nn.Module):
        def forward(self, x, t, **cond):
            seen.append(x)
            return flow.model(x, t, **cond)

    x0 = flow.source.sample(fl.state.shape_of(examples.x), Draw(generator(1)))
    batch = Batch(x0, examples.x, examples.cond, Layout.of(CRYSTAL, examples.cond))
    flow.objective.loss(Spy(), batch, Step(generator=generator(2)))
    point = AffinePath().sample(x0["lattice"], examples.x["lattice"], torch.zeros(16))
    assert not torch.equal(seen[0]["lattice"][:, 5], seen[0]["lattice"][:, 0])
    assert point.velocity.shape == (16, 6)
    out = flow.model(examples.x, torch.full((16,), 0.5), **examples.cond)
    assert (out["lattice"] != 0).all()
    assert (out["positions"][~examples.cond["atoms"]] == 0).all()


def test_known_elements_stay_through_training_and_every_step():
    flow, examples = crystal_flow(), crystals(64, known=0.5)
    data = Tensors(examples.x, examples.cond, spec=CRYSTAL)
    flow.fit(data, steps=20, batch=32)
    given, steps = examples.cond["known"], []

    def watch(x, t):
        steps.append(torch.equal(x["types"][given], examples.x["types"][given]))

    solution = flow.solve(64, cond=examples.cond, seed=0, on_step=watch)
    assert steps == [True] * 8
    assert set(solution.cond) == {"atoms", "known", "elements"}
    free = examples.cond["atoms"] & ~given
    assert not torch.equal(solution.x["types"][free], examples.x["types"][free])
    batched = flow.solve(64, cond=examples.cond, seed=0, batch=20)
    assert torch.equal(batched.x["types"][given], examples.x["types"][given])


def test_padding_never_reaches_real_entries_of_samples():
    flow, examples = crystal_flow(), crystals(16)
    real = examples.cond["atoms"]
    x0 = flow.source.sample(fl.state.shape_of(examples.x), Draw(generator(3)))
    dirty = dict(x0)
    dirty["positions"] = torch.where(real[..., None], x0["positions"], math.nan)
    a, b = (flow.solve(x0=x, cond=examples.cond, seed=1).x for x in (x0, dirty))
    assert torch.equal(a["positions"][real], b["positions"][real])
    assert torch.equal(a["lattice"], b["lattice"])


# -- every operation, over any leading dimensions -----------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("lead", [(), (5,), (4, 4), (2, 3, 2)])
def test_padding_never_counts(lead, seed):
    g = generator(seed)
    real = torch.rand(7, *lead, generator=g) < 0.6
    x, other = (torch.randn(7, *lead, 3, generator=g) for _ in "ab")
    layout = Layout(real)
    wide = real[..., None]
    for rubbish in (math.nan, math.inf, 1e30):
        y = torch.where(wide, x, rubbish)
        assert torch.equal(layout.zero(y), layout.zero(x))
        assert torch.equal(layout.mean(y), layout.mean(x))
        assert torch.equal(layout.sum(y), layout.sum(x))
        assert torch.equal(layout.distance(Euclidean(), y, other), layout.distance(Euclidean(), x, other))
        if bool(real.any()):
            filled = layout.fill(y)
            assert filled.isfinite().all()
            assert torch.equal(filled[real], x[real])
            points = {tuple(p) for p in x[real].tolist()}
            assert {tuple(p) for p in filled.reshape(-1, 3).tolist()} <= points
    rows = real.reshape(7, -1)
    for i, mean in enumerate(layout.mean(x)):
        kept = x.reshape(7, -1, 3)[i][rows[i]]
        assert torch.allclose(mean, kept.mean() if len(kept) else torch.zeros(()), atol=1e-6)


def test_means_over_edges_leave_padded_columns_out():
    """Fault 7 of the review: (B, N, N) with padded rows and columns."""
    nodes = torch.tensor([[True, True, False]])
    edges = nodes[:, :, None] & nodes[:, None, :]
    values = torch.where(edges, 1.0, 100.0)
    assert Layout(edges).mean(values) == 1.0


def test_gradients_of_padding_are_zero_even_where_it_is_nan():
    x = torch.tensor([[1.0, math.nan], [2.0, 3.0]], requires_grad=True)
    Layout(torch.tensor([[True, False], [True, True]])).mean(x).sum().backward()
    assert torch.equal(x.grad, torch.tensor([[1.0, 0.0], [0.5, 0.5]]))


def test_given_entries_are_held_part_by_part():
    layout = Layout.of(CRYSTAL, crystals(4, known=1.0).cond)
    x = crystals(4, seed=1).x
    held = layout.hold(x)
    real = layout.real["types"]
    assert torch.equal(held["types"][real], layout.values["types"][real])
    assert torch.equal(held["lattice"], x["lattice"])
    velocity = map_state(lambda v: torch.ones_like(v, dtype=torch.float32), x)
    still = layout.still(velocity)
    assert (still["types"] == 0).all()
    assert (still["lattice"] == 1).all()


def test_what_a_layout_cannot_be_is_told():
    mask = {"m": torch.ones(2, 3, dtype=torch.bool)}
    for marks, says in (
        (Condition(shape=(3,), role="real"), r"speaks of the whole state; the parts are a; name them"),
        (Condition(shape=(3,), role="real", of="b"), r"'m' \(real\) speaks of 'b'; the parts are a"),
    ):
        with pytest.raises(ShapeError, match=says):
            Spec(parts={"a": Spec((3,))}, conditions={"m": marks})
    with pytest.raises(ShapeError, match=r"a layout of shape \(2, 3\) does not fit states of \(2, 4\)"):
        Layout(mask["m"]).zero(torch.ones(2, 4))
    with pytest.raises(ValueError, match="role of a condition is one of inform, setting"):
        Condition(role="mask")
    with pytest.raises(ValueError, match="speaks of no part"):
        Condition(role="inform", of="a")
    informs = Spec((3,), conditions={"semantic_mask": Condition(shape=(3,))})
    assert Layout.of(informs, {"semantic_mask": torch.ones(2, 3)}) is None


def test_integer_masks_are_taken_as_booleans():
    spec = Spec((3,), conditions={"m": Condition(shape=(3,), role="real")})
    layout = Layout.of(spec, {"m": torch.tensor([[1, 1, 0]])})
    assert layout.mean(torch.tensor([[1.0, 2.0, 9.0]])) == 1.5


# -- the rooms that ask -------------------------------------------------------------------------------

RAGGED = Spec((4, 2), conditions={"m": Condition(shape=(4,), role="real")})
LENGTHS = torch.arange(4) < torch.tensor([[1], [2], [3], [4]])


class Wild(Field):
    """A velocity whose padding says anything, and has a large divergence there."""

    kind = "velocity"

    def __call__(self, x, t, cond):
        real = cond["m"][..., None]
        return torch.where(real, -x, 50 * x)


def test_likelihoods_count_neither_padding_nor_its_divergence():
    x = torch.randn(4, 4, 2, generator=generator(1), dtype=torch.float64)
    layout = Layout(LENGTHS)
    for solver in (Heun(64), Dopri5(1e-7, 1e-7)):
        found = fl.likelihood.log_prob(
            Wild(), Gaussian(), x, solver=solver, cond={"m": LENGTHS}, layout=layout
        ).log_prob
        size = 2 * LENGTHS.sum(1)
        # dx/dt = -x: x0 = e x1, and the volume shrinks by e^-d.
        inside = torch.where(LENGTHS[..., None], math.e * x, 0.0).square().sum((1, 2))
        wanted = -0.5 * inside - 0.5 * size * math.log(2 * math.pi) + size
        assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-3)
        nan = torch.where(LENGTHS[..., None], x, math.nan)
        again = fl.likelihood.log_prob(
            Wild(), Gaussian(), nan, solver=solver, cond={"m": LENGTHS}, layout=layout
        ).log_prob
        assert torch.allclose(found, again)


def test_the_uniform_law_counts_real_points_only():
    space = Sphere(2)
    x = space.random((4, 4, 3), Draw(generator(1)))
    found = Uniform(space).log_prob(torch.where(LENGTHS[..., None], x, math.nan), layout=Layout(LENGTHS))
    assert torch.allclose(found, -LENGTHS.sum(1) * math.log(4 * math.pi))


@pytest.mark.parametrize("solver", [Euler(5), Heun(5), Dopri5(1e-4, 1e-4)])
def test_given_entries_stand_still_in_every_ode_solver(solver):
    class Linear(Field):
        kind = "velocity"

        def __init__(self):
            self.seen = []

        def __call__(self, x, t, cond):
            self.seen.append(x)
            return x.flip(1) + 1

    field, x0 = Linear(), torch.randn(4, 4, 2, generator=generator(2))
    values, given = torch.randn(4, 4, 2, generator=generator(3)), ~LENGTHS
    x = solver.solve(field, x0, layout=Layout(given=given, values=values)).x
    assert torch.equal(x[given], values[given])
    for seen in field.seen:
        assert torch.equal(seen[given], values[given]), "stages see what is given, too"


def test_transport_ignores_padding():
    g = generator(4)
    x0, x1 = torch.randn(6, 4, 2, generator=g), torch.randn(6, 4, 2, generator=g)
    real = torch.arange(4) < torch.randint(1, 5, (6, 1), generator=g)
    layout = Layout(real)
    for space in (Euclidean(), FlatTorus(2.0)):
        coupling = OptimalTransport(space)
        rows = coupling.rows(x0, x1, {}, layout)
        assert torch.equal(rows, coupling.rows(x0, torch.where(real[..., None], x1, math.nan), {}, layout))
        cost = torch.stack([squared_distance(space, a.expand_as(x1), x1, layout) for a in x0])
        found = fl.couplings.squared_distances(x0, x1, space, layout)
        assert torch.allclose(found, cost, atol=1e-4)
        assert sorted(coupling.pair(x0, x1, {}, layout).flatten().tolist()) == sorted(x0.flatten().tolist())


def test_transport_keeps_its_digits_far_from_the_origin():
    g = generator(5)
    x0, x1 = torch.randn(32, 2, generator=g), torch.randn(32, 2, generator=g)
    near = OptimalTransport().rows(x0, x1, {})
    far = OptimalTransport().rows(x0.double() + 1e6, x1.double() + 1e6, {})
    assert torch.equal(near, far)
    shifted = fl.couplings.squared_distances(x0 + 1e4, x1 + 1e4, Euclidean())
    assert torch.allclose(shifted, fl.couplings.squared_distances(x0, x1, Euclidean()), rtol=1e-2, atol=2e-2)


def test_transport_says_where_data_are_not_finite_and_that_ids_are_no_numbers():
    x = torch.randn(4, 2)
    bad = x.clone()
    bad[2, 1] = math.nan
    with pytest.raises(DataError, match="row 2 of a batch"):
        OptimalTransport().rows(x, bad, {})
    with pytest.raises(fl.errors.IncompatibleError, match="ids of tokens are no numbers"):
        OptimalTransport().rows(torch.zeros(3, 2, dtype=torch.long), torch.zeros(3, 2, dtype=torch.long), {})


def test_standardize_measures_real_entries_only():
    g = generator(6)
    x = 5 + 2 * torch.randn(500, 4, 2, generator=g)
    real = torch.arange(4) < torch.randint(1, 5, (500, 1), generator=g)
    data = Tensors(torch.where(real[..., None], x, -1000.0), {"m": real}, spec=RAGGED)
    for per_entry in (True, False):
        codec = Standardize(RAGGED, per_entry)
        codec.fit(data)
        assert torch.allclose(codec.mean, torch.full_like(codec.mean, 5.0), atol=0.6)
        assert torch.allclose(codec.std, torch.full_like(codec.std, 2.0), atol=0.5)


def test_a_weight_for_every_token_is_averaged_over_its_row():
    """Fault 15: as many rows as tokens must not be taken for one another."""

    class PerToken(fl.times.Uniform):
        def sample(self, n, draw=None):
            return torch.linspace(0, 0.9, n * 4).reshape(n, 4)

    class Ramp(fl.weights.Weight):
        def __call__(self, t):
            return 1 + t

    objective = FlowMatching(times=PerToken(), weight=Ramp())
    x1 = torch.randn(4, 4, 2, generator=generator(7))
    batch = Batch(torch.zeros_like(x1), x1, {}, Layout(LENGTHS))
    t = PerToken().sample(4)

    def network(x, t, **cond):
        return torch.zeros_like(x)

    rows = Layout(LENGTHS).mean(x1.square() * (1 + t)[..., None])
    assert torch.allclose(objective.loss(network, batch, Step()).total, rows.mean())


def test_metrics_leave_padding_out():
    g = generator(8)
    x = torch.randn(200, 4, 2, generator=g)
    real = torch.arange(4) < torch.randint(1, 5, (200, 1), generator=g)
    layout = Layout(real)
    metric = fl.metrics.EnergyDistance()
    clean, dirty = (Examples(torch.where(real[..., None], x, v), layout=layout) for v in (0.0, math.nan))
    other = Examples(torch.randn(200, 4, 2, generator=g), layout=layout)
    assert metric(clean, other) == metric(dirty, other)


def test_no_rows_are_filled_with_no_rows():
    layout = Layout(real=torch.ones(0, 3, dtype=torch.bool))
    assert layout.fill(torch.zeros(0, 3, 2)).shape == (0, 3, 2)
