"""Couplings on cases whose optimum is known (multisample-fm)."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.couplings import OptimalTransport, Sinkhorn, StableMatching, squared_distances
from flowloom.data import Tensors
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.geometry import Discrete, Euclidean, FlatTorus, Product, Sphere
from flowloom.layout import Layout
from flowloom.state import take
from flowloom.training import Feeding, Rows
from flowloom.training.ahead import Batches

MIXED = Product({"pos": Euclidean(), "angle": FlatTorus(), "heading": Sphere(2), "type": Discrete(4)})
SHAPES = {"pos": (6, 2), "angle": (6, 3), "heading": (6, 3), "type": (6, 2)}
SPACES = {
    "plane": (Euclidean(), (6, 2)),
    "image": (Euclidean(), (6, 1, 3, 3)),
    "number": (Euclidean(), (6,)),
    "torus": (FlatTorus(), (6, 2)),
    "sphere": (Sphere(2), (6, 3)),
    "chain on a sphere": (Sphere(2), (6, 4, 3)),
    "product": (MIXED, SHAPES),
}


def pair(space, shape, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return tuple(space.random(shape, Draw(draws, dtype=torch.float64)) for _ in "ab")


@pytest.mark.parametrize("name", SPACES)
def test_squared_distances_are_those_of_the_geometry(name):
    space, shape = SPACES[name]
    x0, x1 = pair(space, shape)
    cost = squared_distances(x0, x1, space)
    for i in range(6):
        for j in range(6):
            d = space.distance(take(x0, torch.tensor([i])), take(x1, torch.tensor([j])))
            assert abs(float(cost[i, j]) - float(d) ** 2) < 1e-6


@pytest.mark.parametrize("name", SPACES)
def test_optimal_transport_is_the_best_of_all_permutations(name):
    space, shape = SPACES[name]
    for seed in range(3):
        x0, x1 = pair(space, shape, seed)
        cost = squared_distances(x0, x1, space)
        best = min(float(cost[list(p), range(6)].sum()) for p in permutations(range(6)))
        rows = OptimalTransport(space).rows(x0, x1, {})
        assert float(cost[rows, torch.arange(6)].sum()) == pytest.approx(best, abs=1e-9)


def test_sinkhorn_becomes_optimal_as_epsilon_falls():
    x0, x1 = pair(Euclidean(), (6, 2))
    wanted = OptimalTransport().rows(x0, x1, {})
    draws = torch.Generator().manual_seed(0)
    found = Sinkhorn(epsilon=1e-3, iterations=5000).rows(x0, x1, {}, generator=draws)
    assert torch.equal(found, wanted)


def test_sinkhorn_plan_has_its_marginals_and_the_gibbs_form():
    x0, x1 = pair(Euclidean(), (6, 2))
    cost = squared_distances(x0, x1, Euclidean())
    coupling = Sinkhorn(epsilon=0.1, iterations=2000)
    log = coupling.log_plan(cost)
    plan = log.exp()
    assert torch.allclose(plan.sum(0), torch.full((6,), 1 / 6, dtype=torch.float64), atol=2e-3)
    assert torch.allclose(plan.sum(1), torch.full((6,), 1 / 6, dtype=torch.float64), atol=2e-3)
    # log P + C / eps = a_i + b_j: mixed second differences vanish.
    rest = log + cost / (0.1 * cost.median())
    mixed = rest[1:, 1:] - rest[:-1, 1:] - rest[1:, :-1] + rest[:-1, :-1]
    assert float(mixed.abs().max()) < 1e-8


def test_draws_from_the_plan_follow_the_plan():
    x0, x1 = pair(Euclidean(), (4, 2), 1)
    cost = squared_distances(x0, x1, Euclidean())
    coupling = Sinkhorn(epsilon=0.5, draw="plan")
    columns = coupling.log_plan(cost).softmax(0)
    draws = torch.Generator().manual_seed(0)
    counts = torch.zeros(4, 4, dtype=torch.float64)
    n = 2000
    for _ in range(n):
        counts[coupling.solve(cost, draws), torch.arange(4)] += 1
    assert float((counts / n - columns).abs().max()) < 5 * 0.5 / n**0.5


def test_stable_matching_has_no_pair_that_would_rather_be_together():
    for seed in range(5):
        x0, x1 = pair(Euclidean(), (30, 2), seed)
        cost = squared_distances(x0, x1, Euclidean())
        rows = StableMatching().rows(x0, x1, {})
        own = cost[rows, torch.arange(30)]
        partner_of = torch.empty(30, dtype=torch.long)
        partner_of[rows] = torch.arange(30)
        for i in range(30):
            for j in range(30):
                mine = float(cost[i, partner_of[i]])
                assert not (float(cost[i, j]) < mine - 1e-12 and float(cost[i, j]) < float(own[j]) - 1e-12)


@pytest.mark.parametrize("make", [OptimalTransport, Sinkhorn, StableMatching])
def test_pairs_within_groups_are_those_of_every_group_alone(make):
    x0, x1 = pair(Euclidean(), (12, 2))
    label = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 5])
    rows = make(within="label").rows(x0, x1, {"label": label}, generator=torch.Generator().manual_seed(0))
    assert sorted(rows.tolist()) == list(range(12))
    assert torch.equal(label[rows], label)
    if make is not Sinkhorn:
        members = (label == 0).nonzero()[:, 0]
        alone = make().rows(x0[members], x1[members], {})
        assert torch.equal(rows[members], members[alone])


@pytest.mark.parametrize("make", [OptimalTransport, Sinkhorn, StableMatching])
def test_rows_are_paired_among_those_of_their_size(make):
    """Else points near the centre go to rows of many entries, and noise given the size has another law."""
    x0, x1 = pair(Euclidean(), (12, 4))
    size = torch.tensor([1, 4, 2, 1, 4, 2, 1, 4, 2, 4, 4, 4])
    layout = Layout(real=torch.arange(4) < size[:, None])
    rows = make().rows(x0, x1, {}, layout, generator=torch.Generator().manual_seed(0))
    assert torch.equal(size[rows], size)
    # Of a product, what any part says counts; and classes divide further.
    state = [{"a": x, "b": x} for x in (x0, x1)]
    parts = Layout(real={"b": layout.real})
    label = torch.arange(12) % 2
    found = make(within="label").rows(
        *state, {"label": label}, parts, generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(size[found], size)
    assert torch.equal(label[found], label)


def test_mistakes_are_named():
    x0, x1 = pair(Euclidean(), (6, 2))
    with pytest.raises(IncompatibleError, match="kind"):
        OptimalTransport(within="kind").rows(x0, x1, {"label": torch.zeros(6)})
    with pytest.raises(ShapeError, match=r"6 rows"):
        OptimalTransport().rows(x0, x1[:5], {})
    with pytest.raises(IncompatibleError, match="product"):
        squared_distances({"a": x0}, {"a": x1}, Sphere(2))


def test_labels_stay_with_their_examples():
    """x1 = label, so a pair that came loose would show."""
    label = torch.arange(64) % 8
    x1 = label[:, None].float().expand(64, 2) + 0.0
    data = Tensors(x1, {"label": label})
    feed = Rows(data)
    feed.start(Feeding(fl.Flow(nn.Identity(), data.spec, coupling=OptimalTransport()), 16))
    batches = Batches(feed)
    for step in range(5):
        batch = batches[step]
        assert torch.equal(batch.x1[:, 0].long(), batch.cond["label"])


def test_transport_is_shortened_but_the_source_is_kept():
    draws = torch.Generator().manual_seed(0)
    x0 = torch.randn(256, 2, generator=draws)
    x1 = torch.randn(256, 2, generator=draws) * 0.5 + 2
    rows = OptimalTransport().rows(x0, x1, {})
    independent = (x1 - x0).square().sum(1).mean()
    coupled = (x1 - x0[rows]).square().sum(1).mean()
    assert float(coupled) < 0.95 * float(independent)
    assert torch.equal(x0[rows].sort(0).values, x0.sort(0).values)
