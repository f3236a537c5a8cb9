"""Every room asks the layout: cases from use, and properties over random layouts."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.baselines import draw_baseline
from flowloom.codecs import Standardize, StateCodec
from flowloom.couplings import OptimalTransport, Sinkhorn, squared_distances
from flowloom.data import Examples, Tensors
from flowloom.draw import Draw
from flowloom.errors import DataError, IncompatibleError, OffManifoldError, ShapeError
from flowloom.fields import Field
from flowloom.geometry import Discrete, Euclidean, FlatTorus, Product, Sphere
from flowloom.layout import Layout, moments
from flowloom.metrics import straightness, transport_cost
from flowloom.models import MLP
from flowloom.objectives import Batch, FlowMatching, PosteriorMatching, Step
from flowloom.paths import GeodesicPath, MixturePath
from flowloom.solvers import RK4, AdaptiveCTMC, CTMCEuler, Dopri5, Euler, EulerMaruyama
from flowloom.sources import Gaussian, Uniform
from flowloom.spec import Condition, Spec
from flowloom.state import map_state

RAGGED = Spec((4, 3), conditions={"mask": Condition(shape=(4,), role="real")})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def lengths(n):
    return torch.arange(4) < torch.tensor([4, 2])[torch.arange(n) % 2][:, None]


# -- cases from use -----------------------------------------------------------------------------------


def test_scoring_forgets_what_stands_in_padding():
    torch.manual_seed(0)
    x, mask = torch.randn(40, 4, 3), lengths(40)
    gaps = torch.where(mask[..., None], x, math.nan)
    flow = fl.Flow(MLP(RAGGED, width=16))
    flow.fit(Tensors(gaps, {"mask": mask}, spec=RAGGED), steps=3, batch=8)
    with torch.no_grad():
        for divergence in ("exact", "hutchinson"):
            settings = {"mask": mask[:4], "solver": RK4(4), "divergence": divergence}
            want = flow.log_prob(torch.where(mask[..., None], x, 0.0)[:4], **settings)
            assert torch.allclose(flow.log_prob(gaps[:4], **settings), want, atol=1e-4)


def test_padding_is_no_point_of_a_curved_space():
    sphere, mask = Sphere(2), lengths(40)
    x = sphere.random((40, 4, 3), Draw(generator()))
    zeros = torch.where(mask[..., None], x, 0.0)
    torch.manual_seed(0)
    flow = fl.Flow(MLP(RAGGED, width=16), geometry=sphere)
    flow.fit(Tensors(zeros, {"mask": mask}, spec=RAGGED), steps=3, batch=8)
    with torch.no_grad():
        assert flow.log_prob(zeros[:4], mask=mask[:4], solver=Euler(2)).isfinite().all()
    with pytest.raises(OffManifoldError):
        flow.fit(Tensors(2 * zeros, {"mask": mask}, spec=RAGGED), steps=1, batch=8)


def test_a_row_that_is_not_finite_is_named_before_training():
    x = torch.randn(100, 2)
    x[3, 0] = math.nan
    for coupling in (None, OptimalTransport(), Sinkhorn(), fl.couplings.StableMatching()):
        with pytest.raises(DataError, match=r"data: row 3 is not finite"):
            fl.Flow(MLP(Spec((2,)), width=8), coupling=coupling).fit(x, steps=3, batch=64)


def test_standardize_takes_nan_padding():
    x = 2 * torch.randn(4000, 4, generator=generator()) + 5
    mask = torch.arange(4) < torch.randint(1, 5, (4000, 1), generator=generator(1))
    spec = Spec((4,), conditions={"mask": Condition(shape=(4,), role="real")})
    data = Tensors(torch.where(mask, x, math.nan), {"mask": mask}, spec=spec)
    for per_entry in (True, False):
        codec = Standardize(spec, per_entry=per_entry)
        codec.fit(data)
        assert torch.allclose(codec.mean, torch.tensor(5.0), atol=0.4)
        assert torch.allclose(codec.std, torch.tensor(2.0), atol=0.4)
        density = codec.log_det(data.take(torch.arange(8)))
        assert torch.allclose(density, -(codec.std.log() * mask[:8]).sum(1))


def test_one_outlier_does_not_make_all_other_pairs_random():
    draws = generator()
    x0, x1 = torch.randn(64, 2, generator=draws), torch.randn(64, 2, generator=draws)
    x1[0] = 1e4

    def cost(rows):
        return float((x0[rows][1:] - x1[1:]).square().sum())

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        entropic = cost(Sinkhorn().rows(x0, x1, {}, generator=generator()))
    assert entropic < 0.2 * cost(torch.arange(64))


def test_a_plan_that_is_none_is_told():
    draws = generator()
    x0, x1 = torch.randn(64, 2, generator=draws), 3 * torch.randn(64, 2, generator=draws) + 4
    with pytest.warns(UserWarning, match="sinkhorn stopped after 200 iterations with marginals off"):
        Sinkhorn(epsilon=1e-3).log_plan(squared_distances(x0, x1, Euclidean()))


@pytest.mark.parametrize("name", ["scene", "scene_mask", "x", "t", "prompt", "x0"])
def test_a_condition_is_used_whatever_its_name(name):
    torch.manual_seed(0)
    side = (torch.rand(2000, 1, generator=generator()) > 0.5).float()
    data = Tensors(4 * side - 2 + 0.1 * torch.randn(2000, 1), {name: side})
    flow = fl.Flow(MLP(data.spec, width=32))
    flow.fit(data, steps=200, batch=256, lr=5e-3)
    drawn = flow.solve(300, seed=0, cond={name: torch.ones(300, 1)}).x
    assert float(drawn.mean()) == pytest.approx(2, abs=0.3)


def test_names_that_differ_are_two_embeddings():
    data = Tensors(torch.randn(100, 2), {"a.b": torch.arange(100) % 3, "a_b": torch.arange(100) % 5})
    flow = fl.Flow(MLP(data.spec, width=8))
    assert sorted(v.num_embeddings for v in flow.model.condition.embed.values()) == [3, 5]
    flow.fit(data, steps=2, batch=32)


@pytest.mark.parametrize("name", ["null", "null_label", "self"])
def test_names_that_are_taken_are_refused(name):
    with pytest.raises(ShapeError, match=f"a condition cannot be called '{name}'"):
        Spec((2,), conditions={name: Condition()})


def test_a_condition_that_does_not_fit_its_part_is_refused_by_the_spec():
    parts = {"cell": Spec((6,)), "where": Spec((6, 3))}
    for condition, says in (
        (
            Condition(shape=(6,), role="real"),
            r"speaks of the whole state; the parts are cell, where; name them",
        ),
        (Condition(shape=(6,), role="given", of="bonds"), r"speaks of 'bonds'; the parts are cell, where"),
        (Condition(shape=(5,), role="real", of="where"), r"has shape \(5,\).* 'where', which is \(6, 3\)"),
        (Condition(shape=(6,), role="values", of="where"), r"has shape \(6,\).* 'where', which is \(6, 3\)"),
    ):
        with pytest.raises(ShapeError, match=says):
            Spec(parts=parts, conditions={"m": condition})
    fine = Condition(shape=(6,), role="real", of="cell, where")
    assert Spec(parts=parts, conditions={"m": fine}).ragged


def test_where_a_path_starts_is_not_told_to_the_network():
    x0 = torch.randn(60, 2, generator=generator())
    flows = []
    for roles in ({"x0": "start"}, {}):
        data = Tensors(x0 + 1, {"x0": x0}, roles=roles)
        flows.append((fl.Flow(MLP(data.spec, width=8), source=fl.sources.Paired()), data))
    flow, data = flows[0]
    flow.fit(data, steps=2, batch=8)
    assert not flow.model.condition.embed
    assert flow.sample(60, x0=x0).shape == (60, 2)
    with pytest.raises(IncompatibleError, match=r"'x0', whose role is inform: the network would be told"):
        flows[1][0].fit(flows[1][1], steps=2, batch=8)


def test_tensors_take_roles():
    mask = torch.ones(5, 4, dtype=torch.bool)
    spec = Tensors(torch.randn(5, 4, 3), {"mask": mask}, roles={"mask": "real"}).spec
    assert spec.conditions == RAGGED.conditions
    parts = {"a": torch.randn(5, 4, 3), "b": torch.randn(5, 2)}
    marks = Condition(role="real", of="a")
    assert Tensors(parts, {"mask": mask}, roles={"mask": marks}).spec.ragged
    with pytest.raises(DataError, match="roles name lengths; the conditions are mask"):
        Tensors(parts, {"mask": mask}, roles={"lengths": "real"})


# -- what a layout says -------------------------------------------------------------------------------


def test_marks_of_one_part_join_over_other_dimensions():
    spec = Spec(
        (2, 3),
        conditions={
            "rows": Condition(shape=(2,), role="real"),
            "seen": Condition(shape=(2, 3), role="real"),
            "known": Condition(shape=(2, 3), role="given"),
            "whole": Condition(role="given"),
        },
    )
    cond = {
        "rows": torch.tensor([[True, False]] * 2),
        "seen": torch.tensor([[[True, True, False], [True] * 3]] * 2),
        "known": torch.tensor([[[True, False, False], [False] * 3]] * 2),
        "whole": torch.tensor([False, True]),
    }
    layout = Layout.of(spec, cond)
    assert torch.equal(layout.still(torch.ones(2, 2, 3)).sum((1, 2)), torch.tensor([1.0, 0.0]))


def test_values_without_places_are_told():
    spec = Spec(
        (2,), conditions={"v": Condition(shape=(2,), role="values"), "g": Condition(shape=(2,), role="given")}
    )
    with pytest.raises(ShapeError, match=r"'v' holds .* nothing says where they are \('g'\)"):
        Layout.of(spec, {"v": torch.zeros(3, 2)})


def test_a_batch_of_padding_alone_is_harmless():
    layout = Layout(torch.zeros(3, 4, dtype=torch.bool))
    assert (layout.fill(torch.full((3, 4, 2), math.nan)) == 0).all()
    assert (layout.fill(torch.full((3, 4), -1)) == 0).all()
    assert torch.equal(layout.mean(torch.full((3, 4), math.nan)), torch.zeros(3))


def test_weights_of_tokens_meet_their_own_losses():
    """Averaged apart, weights of tokens with times of their own would all be alike in a long row."""

    class PerToken(fl.times.Uniform):
        def sample(self, n, draw=None):
            return torch.tensor([[0.0, 0.9, 0.9, 0.0]]).expand(n, 4)

    class Late(fl.weights.Weight):
        def __call__(self, t):
            return (t > 0.5).to(t.dtype)

    objective = FlowMatching(times=PerToken(), weight=Late())
    x1 = torch.randn(4, 4, 2, generator=generator(7))
    layout = Layout(torch.arange(4) < torch.tensor([[1], [2], [3], [4]]))

    def network(x, t, **cond):
        return torch.zeros_like(x)

    found = objective.loss(network, Batch(torch.zeros_like(x1), x1, {}, layout), Step()).total
    kept = x1.square().mean(2) * torch.tensor([0.0, 1.0, 1.0, 0.0])
    assert torch.allclose(found, layout.mean(kept).mean())
    with pytest.raises(ShapeError, match=r"times of shape \(4, 4\) do not fit"):
        wide = torch.randn(4, 5, 2)
        FlowMatching(times=PerToken(), weight=Late()).rows(wide.square(), PerToken().sample(4), None)


# -- given entries ------------------------------------------------------------------------------------


class Restless(Field):
    """Answers that would move everything."""

    def __init__(self, kind="velocity", path=None, parts=()):
        self.kind = dict.fromkeys(parts, kind) if parts else kind
        self.path, self.geometry = path, path.geometry if path is not None else Euclidean()
        if parts:
            self.geometry = Product({k: Euclidean() for k in parts})
        self.source, self.seen = Gaussian(), []

    def __call__(self, x, t, cond):
        self.seen.append(x)
        if self.kind == "posterior":
            return torch.randn((*x.shape, self.path.vocab), generator=generator(len(self.seen)))
        return map_state(lambda v: torch.cos(v) + 3.0, x)


GIVEN = torch.tensor([[True, False, True, False]]).expand(5, -1)


@pytest.mark.parametrize(
    "solver",
    [
        CTMCEuler(8),
        CTMCEuler(8, stochasticity=2.0),
        CTMCEuler(8, corrector_steps=2),
        AdaptiveCTMC(0.2),
    ],
)
@pytest.mark.parametrize("source", ["mask", "uniform"])
def test_given_tokens_stay_and_the_network_never_sees_them_moved(solver, source):
    space = Discrete(5, mask=source == "mask")
    law = fl.sources.Mask(space) if source == "mask" else Uniform(space)
    field = Restless("posterior", MixturePath(space, source=law))
    values = torch.randint(5, (5, 4), generator=generator(1))
    start = law.sample((5, 4), Draw(generator(2)))
    layout = Layout(given=GIVEN, values=values)
    x = solver.solve(field, start, generator=generator(3), layout=layout).x
    assert torch.equal(x[GIVEN], values[GIVEN])
    assert all(torch.equal(seen[GIVEN], values[GIVEN]) for seen in field.seen)
    assert not torch.equal(x[~GIVEN], start[~GIVEN])


@pytest.mark.parametrize("solver", [Euler(4), RK4(4), Dopri5(1e-3, 1e-3), EulerMaruyama(4)])
def test_where_no_values_are_said_given_entries_stay_as_they_start(solver):
    path = fl.paths.AffinePath()
    field, start = Restless(path=path), torch.randn(5, 4, 2, generator=generator(1))
    x = solver.solve(field, start, generator=generator(2), layout=Layout(given=GIVEN)).x
    assert torch.equal(x[GIVEN], start[GIVEN])
    assert (x[~GIVEN] != start[~GIVEN]).all()
    assert all(torch.equal(seen[GIVEN], start[GIVEN]) for seen in field.seen)


def test_parts_of_one_velocity_field_are_held_part_by_part():
    field = Restless(parts=("a", "b"))
    start = {k: torch.randn(5, 4, generator=generator(i)) for i, k in enumerate("ab")}
    x = RK4(4).solve(field, start, layout=Layout(given={"a": GIVEN})).x
    assert torch.equal(x["a"][GIVEN], start["a"][GIVEN])
    assert all(torch.equal(seen["a"][GIVEN], start["a"][GIVEN]) for seen in field.seen)
    assert (x["b"] != start["b"]).all()


def test_likelihoods_are_of_what_is_free_given_the_rest():
    class Linear(Field):
        kind = "velocity"

        def __call__(self, x, t, cond):
            return -x + 0 * x.flip(1)

    x = torch.randn(5, 4, generator=generator(1), dtype=torch.float64)
    layout = Layout(given=GIVEN)
    for divergence in ("exact", "hutchinson"):
        found = fl.likelihood.log_prob(
            Linear(), fl.sources.Gaussian(), x, solver=RK4(64), layout=layout, divergence=divergence
        )
        assert torch.equal(found.x[GIVEN], x[GIVEN])
        free = (math.e * x[~GIVEN]).reshape(5, 2)
        wanted = (-0.5 * free.square() - 0.5 * math.log(2 * math.pi)).sum(1) + 2
        assert torch.allclose(found.log_prob, wanted, atol=1e-5)
        if divergence == "exact":
            div = fl.likelihood.divergence_of(Linear(), x, torch.zeros(5, dtype=torch.float64), layout=layout)
            assert torch.allclose(div, torch.full((5,), -2.0, dtype=torch.float64))


def test_a_network_is_told_what_is_given():
    spec = Spec((4,), conditions={"known": Condition(shape=(4,), role="given")})
    torch.manual_seed(0)
    model, x, t = MLP(spec, width=8), torch.randn(5, 4), torch.full((5,), 0.5)
    assert not torch.equal(model(x, t, known=GIVEN), model(x, t))
    assert torch.equal(model(x, t, known=torch.zeros_like(GIVEN)), model(x, t))


def test_values_are_data_which_the_codec_encodes():
    spec = Spec(
        (4,),
        conditions={
            "known": Condition(shape=(4,), role="given"),
            "value": Condition(shape=(4,), role="values"),
        },
    )
    x = 10 + 2 * torch.randn(200, 4, generator=generator())
    data = Tensors(x, {"known": GIVEN[:1].expand(200, -1), "value": x}, spec=spec)
    flow = fl.Flow(MLP(spec, width=8), codec=Standardize(spec), solver=Euler(3))
    flow.fit(data, steps=2, batch=16)
    wanted = torch.where(GIVEN, x[:5], math.nan)
    drawn = flow.sample(5, seed=0, known=GIVEN, value=wanted)
    assert torch.allclose(drawn[GIVEN], x[:5][GIVEN], atol=1e-4)


def test_padding_reaches_no_codec():
    class Picky(StateCodec):
        def encode_state(self, x):
            assert x.isfinite().all()
            return x

        decode_state = encode_state

    x, mask = torch.randn(40, 4, 3), lengths(40)
    flow = fl.Flow(MLP(RAGGED, width=8), codec=Picky(RAGGED))
    data = Tensors(torch.where(mask[..., None], x, math.nan), {"mask": mask}, spec=RAGGED)
    flow.fit(data, steps=2, batch=8)


# -- metrics ------------------------------------------------------------------------------------------


def test_straightness_and_cost_are_of_what_moves():
    class Turn(Field):
        kind = "velocity"

        def __call__(self, x, t, cond):
            return torch.stack([x[:, 1], -x[:, 0], 9 * torch.ones_like(x[:, 0])], 1)

    start = torch.randn(8, 3, generator=generator())
    layout = Layout(torch.tensor([[True, True, False]]).expand(8, -1))
    spoiled = torch.where(layout.real, start, math.nan)
    for figure in (straightness, transport_cost):
        value = figure(Turn(), spoiled, layout=layout)
        still = torch.where(layout.real, start, 0.0)
        assert math.isfinite(value)
        assert value == pytest.approx(figure(Turn(), still, layout=layout), abs=1e-6)
    assert transport_cost(Turn(), spoiled, layout=layout) < 0.1 * transport_cost(Turn(), still)


def test_the_baseline_takes_nan_padding():
    x, mask = torch.randn(40, 4, 3), lengths(40)
    train = Examples(torch.where(mask[..., None], x, math.nan), {"mask": mask}).laid_out(RAGGED)
    (drawn,) = draw_baseline(RAGGED, train, train)
    assert drawn.x.isfinite().all()


# -- properties over random layouts -------------------------------------------------------------------


def random_case(seed):
    """A product of a lattice, points and tokens under a random layout, clean and with rubbish in padding."""
    g = generator(seed)
    n, size = 6, 4
    space = Product({"cell": Euclidean(), "where": FlatTorus(1.0), "edge": Euclidean(), "kind": Discrete(3)})
    shape = {"cell": (n, size), "where": (n, size, 2), "edge": (n, size, size), "kind": (n, size)}
    ends = []
    for _ in "ab":
        ends.append(
            {
                "cell": torch.randn(shape["cell"], generator=g),
                "where": torch.rand(shape["where"], generator=g),
                "edge": torch.randn(shape["edge"], generator=g),
                "kind": torch.randint(3, shape["kind"], generator=g),
            }
        )
    nodes = torch.rand(n, size, generator=g) < 0.6
    edges = nodes[:, :, None] & nodes[:, None, :]
    real = {"where": nodes, "edge": edges, "kind": nodes}
    given = {"where": torch.rand(n, size, generator=g) < 0.3, "cell": torch.rand(n, generator=g) < 0.2}
    layout = Layout(real, given)

    def spoiled(x):
        bad = map_state(lambda v: torch.full_like(v, math.nan if v.is_floating_point() else -1), x)
        return Layout(given={k: ~v for k, v in real.items()}, values=bad).hold(x)

    return space, ends, layout, spoiled


@pytest.mark.parametrize("seed", range(12))
def test_rubbish_in_padding_pairs_alike(seed):
    space, (x0, x1), layout, spoiled = random_case(seed)
    cost = squared_distances(x0, x1, space, layout)
    assert torch.allclose(cost, squared_distances(x0, spoiled(x1), space, layout), atol=1e-5)
    for i, j in ((0, 1), (3, 2), (5, 5)):
        row = layout.take(torch.tensor([j]))
        a, b = (map_state(lambda v, k=k: v[k : k + 1], x) for x, k in ((x0, i), (x1, j)))
        assert float(row.distance(space, a, b)) ** 2 == pytest.approx(float(cost[i, j]), abs=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_rubbish_in_padding_changes_no_loss_and_no_gradient(seed):
    _, (x0, x1), layout, spoiled = random_case(seed)
    parts = {
        "cell": FlowMatching(),
        "where": FlowMatching(GeodesicPath(FlatTorus(1.0))),
        "edge": FlowMatching(),
        "kind": PosteriorMatching(MixturePath(Discrete(3))),
    }
    objective = fl.objectives.ProductObjective(parts)
    spec = Spec(
        parts={"cell": Spec((4,)), "where": Spec((4, 2)), "edge": Spec((4, 4)), "kind": Spec((4,), vocab=3)},
        conditions={
            "nodes": Condition(shape=(4,), role="real", of="where, kind"),
            "edges": Condition(shape=(4, 4), role="real", of="edge"),
        },
    )
    torch.manual_seed(seed)
    model = MLP(spec, width=8, depth=1)
    cond = {"nodes": layout.real["where"], "edges": layout.real["edge"]}
    found = []
    for ends in ((x0, x1), (spoiled(x0), spoiled(x1))):
        model.zero_grad()
        loss = objective.loss(model, Batch(*ends, cond, layout), Step(generator=generator(1))).total
        loss.backward()
        found.append((loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert found[0][1].isfinite().all()


class Sees(nn.Module):
    """Reads padding as zero and answers rubbish there."""

    def __init__(self, layout):
        super().__init__()
        self.layout = layout

    def forward(self, x, t, **cond):
        v = map_state(lambda a: torch.tanh(a) + t.reshape(-1, *(1,) * (a.ndim - 1)), self.layout.zero(x))
        rubbish = map_state(lambda a: a + 1e9, v)
        return Layout(given={k: ~m for k, m in self.layout.real.items()}, values=rubbish).hold(v)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("solver", [Euler(4), RK4(3), Dopri5(1e-3, 1e-3)])
def test_rubbish_in_padding_changes_no_sample_and_no_likelihood(seed, solver):
    _, (x0, _), layout, spoiled = random_case(seed)
    x0 = {k: v for k, v in x0.items() if k != "kind"}
    layout = Layout({k: v for k, v in layout.real.items() if k != "kind"}, layout.given)
    space = Product({"cell": Euclidean(), "where": FlatTorus(1.0), "edge": Euclidean()})
    field = FlowMatching(fl.paths.ProductPath({k: GeodesicPath(g) for k, g in space.parts.items()})).field(
        Sees(layout)
    )
    dirty = {k: v for k, v in spoiled({**x0, "kind": torch.zeros(6, 4).long()}).items() if k != "kind"}
    a, b = (solver.solve(field, x, layout=layout) for x in (x0, dirty))
    assert a.nfe == b.nfe
    for name, leaf in layout.zero(a.x).items():
        assert torch.equal(leaf, layout.zero(b.x)[name])
        assert leaf.isfinite().all()
    source = fl.sources.Product(
        {"cell": fl.sources.Gaussian(), "where": Uniform(FlatTorus(1.0)), "edge": fl.sources.Gaussian()}
    )
    first, second = (
        fl.likelihood.log_prob(field, source, x, solver=solver, layout=layout).log_prob for x in (x0, dirty)
    )
    assert torch.equal(first, second)
    assert first.isfinite().all()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("solver", [CTMCEuler(6), CTMCEuler(6, stochasticity=1.0), AdaptiveCTMC(0.2)])
def test_rubbish_in_padding_changes_no_jump(seed, solver):
    g = generator(seed)
    real = torch.rand(6, 4, generator=g) < 0.6
    space = Discrete(3)
    table = torch.randn(3, 3, generator=g)

    class Answers(Field):
        kind = "posterior"
        path = MixturePath(space, source=Uniform(space))
        geometry = space

        def __call__(self, x, t, cond):
            return torch.where(real[..., None], table[x], math.nan)

    x0 = torch.randint(3, (6, 4), generator=g)
    found = [
        solver.solve(Answers(), x, generator=generator(1), layout=Layout(real))
        for x in (x0, torch.where(real, x0, -1))
    ]
    assert found[0].nfe == found[1].nfe
    assert torch.equal(found[0].x[real], found[1].x[real])


def test_tokens_have_no_euclidean_distance():
    ids = {"a": torch.randn(4, 3), "k": torch.randint(5, (4, 2))}
    with pytest.raises(IncompatibleError, match="tokens"):
        OptimalTransport().rows(ids, ids, {})
    space = Product({"a": Euclidean(), "k": Discrete(5)})
    cost = squared_distances(ids, ids, space)
    hamming = (ids["k"][:, None] != ids["k"]).sum(2)
    assert torch.allclose(cost, torch.cdist(ids["a"], ids["a"]).square() + hamming, atol=1e-5)


def test_guidance_withholds_what_informs_whatever_it_is_called():
    spec = Spec(
        (4,),
        conditions={
            "semantic_mask": Condition(shape=(4,)),
            "label": Condition(shape=(4,), role="real"),
        },
    )
    flow = fl.Flow(MLP(spec, width=8), guidance=fl.guidance.ClassifierFree(2.0), solver=Euler(3))
    real = torch.ones(5, 4, dtype=torch.bool)
    assert flow.solve(5, cond={"semantic_mask": torch.randn(5, 4), "label": real}).nfe == 6
    assert flow.solve(5, cond={"label": real}).nfe == 3


def test_moments_are_of_what_is_real():
    x = torch.tensor([[1.0, 10.0], [3.0, math.nan], [math.nan, 14.0]])
    mean, std = moments(x, Layout(~x.isnan()), (0,))
    assert torch.equal(mean, torch.tensor([2.0, 12.0]).double())
    assert torch.allclose(std, torch.tensor([2.0, 8.0]).double().sqrt())
    mean, std = moments(x, Layout(~x.isnan()), (0, 1))
    assert mean == 7
    assert torch.allclose(std, torch.tensor([1.0, 10, 3, 14]).double().std())
    half = torch.full((70_000, 1), 2.0, dtype=torch.float16)  # their sum is above the largest half
    mean, std = moments(half, None, (0,))
    assert (mean.item(), std.item()) == (2.0, 0.0)
    assert moments(x[:1], None, (0,))[1].tolist() == [0, 0]
