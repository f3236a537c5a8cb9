"""Rows that see each other: symmetry over the batch, the graph without edges, and what it costs."""

import torch

import flowloom as fl
from flowloom.draw import Draw
from flowloom.spec import Spec
from flowloom.testing import check
from flowloom.times import LogitNormal
from flowloom_foundations.graph import NeighbourAware, SharedTimes


def made(**more):
    torch.manual_seed(0)
    spec = Spec((3,))
    model = NeighbourAware(spec, fl.models.MLP(spec, width=8, depth=1), width=8, **more)
    torch.nn.init.normal_(model.out.weight)
    return model


X, T = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.full((6,), 0.4)


def test_it_does_not_know_the_order_of_rows_but_their_company():
    model, order = made(), torch.tensor([3, 1, 5, 0, 2, 4])
    assert torch.allclose(model(X[order], T[order]), model(X, T)[order], atol=1e-5)
    company = torch.cat([X[:1], X[1:] + 1])
    assert not torch.allclose(model(company, T)[0], model(X, T)[0], atol=1e-3)
    assert not model.batch_independent


def test_neighbours_are_of_the_same_time_as_all_are_in_sampling():
    model, mixed = made(), torch.tensor([0.4, 0.4, 0.4, 0.7, 0.7, 0.9])
    for rows in (slice(0, 3), slice(3, 5), slice(5, 6)):
        assert torch.allclose(model(X, mixed)[rows], model(X[rows], mixed[rows]), atol=1e-6)


def test_edges_learn_where_rows_share_a_time():
    model = made()
    model(X, T).square().sum().backward()
    assert all(p.grad.any() for layer in model.layers for p in (layer.query.weight, layer.key.weight))


def test_times_that_rows_share():
    law = SharedTimes(LogitNormal(0.5, latest=0.9), rows=4)
    t = law.sample(10, Draw(torch.Generator().manual_seed(0)))
    plain = LogitNormal(0.5, latest=0.9).sample(3, Draw(torch.Generator().manual_seed(0)))
    assert torch.equal(t, plain[[0, 0, 0, 0, 1, 1, 1, 1, 2, 2]])
    for make in (SharedTimes, lambda: SharedTimes(LogitNormal(latest=0.9), rows=4)):
        results = check(make)
        assert all(r.ok for r in results), [r for r in results if not r.ok]


def test_without_edges_rows_are_alone_and_parameters_as_many():
    model, other = made(connected=False), made()
    assert torch.allclose(model(X, T)[0], model(X[:1], T[:1])[0], atol=1e-6)
    assert model.batch_independent
    sizes = [sum(p.numel() for p in m.parameters()) for m in (model, other)]
    assert sizes[0] == sizes[1]


def test_it_starts_as_the_reaction_and_copies_say_nothing():
    spec = Spec((3,))
    plain = NeighbourAware(spec, fl.models.MLP(spec, width=8, depth=1))
    assert torch.equal(plain(X, T), plain.network(X, T))
    # Along edges go differences: a batch of one row, repeated, hears what the graph without edges hears.
    model, same = made(), X[:1].expand(6, 3)
    model.connected = False
    alone = model(same, T[:1].expand(6))
    model.connected = True
    assert torch.allclose(model(same, T[:1].expand(6)), alone, atol=1e-5)


def test_the_papers_size():
    from flowloom_images.models import DiT

    spec = Spec((4, 32, 32))
    with torch.device("meta"):
        reaction = DiT(spec, "B", 2)
        model = NeighbourAware(spec, reaction, width=512, layers=2)
    sizes = [sum(p.numel() for p in m.parameters()) for m in (reaction, model)]
    assert round(sizes[0] / 1e6) == 130
    assert sizes[1] / sizes[0] < 1.07
