"""What a trained flow generates, as a data set: chunks by (seed, number), kept in files, with pairs."""

from __future__ import annotations

import pytest
import torch

import flowloom as fl
from flowloom.data import Samples
from flowloom.errors import DataError, IncompatibleError, RunError
from flowloom.solvers import EulerMaruyama
from flowloom.trained import Trained


@pytest.fixture(scope="module")
def run():
    data = fl.data.EightGaussians(400)
    torch.manual_seed(0)
    flow = fl.Flow(fl.models.MLP(data.spec, width=8), solver=fl.solvers.Euler(4))
    flow.fit(data, steps=3, batch=32)
    return Trained(flow, data.spec, data)


def test_rows_are_the_same_in_any_order_and_number(run):
    one, other = (Samples(run, n=50, batch=20, seed=3) for _ in range(2))
    whole = one.all()
    rows = torch.tensor([44, 3, 21, 3])
    assert other.take(rows).x.equal(whole.x[rows])
    assert other.take(rows).cond["label"].equal(whole.cond["label"][rows])
    assert len(whole) == len(one) == 50
    assert not Samples(run, n=50, batch=20, seed=4).all().x.equal(whole.x)


def test_what_was_made_is_read_and_not_made_again(run, tmp_path):
    one = Samples(run, n=50, batch=20)
    first = one.take(torch.tensor([5])).x
    one.keep_in(tmp_path)
    told = []
    one.make(told.append)
    assert told == [20, 40, 50]
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"samples-0000{i}.safetensors" for i in range(3)]
    again = Samples(run, n=50, batch=20)
    again.keep_in(tmp_path)
    again._made = None  # making anything would raise
    assert again.all().x.equal(one.all().x)
    assert again.all().x[5:6].equal(first)


def test_a_damaged_chunk_is_named(run, tmp_path):
    (tmp_path / "samples-00000.safetensors").write_bytes(b"x")
    broken = Samples(run, n=5)
    broken.keep_in(tmp_path)
    with pytest.raises(RunError, match=r"samples-00000.safetensors is damaged .*; delete it"):
        broken.all()


def test_pairs_lead_from_their_starts_to_the_samples(run):
    data = Samples(run, n=30, batch=20, pairs=True)
    assert data.spec.conditions["x0"].role == "start"
    rows = data.all()
    solved = run.flow.solve(x0=rows.cond["x0"], cond={"label": rows.cond["label"]})
    assert solved.x.allclose(rows.x, atol=1e-6)
    assert abs(float(rows.cond["x0"].std()) - 1) < 0.3


def test_pairs_of_a_product_are_named_by_part():
    data = fl.data.Tensors({"pos": torch.randn(20, 3, 2), "heat": torch.randn(20, 1)})
    flow = fl.Flow(fl.models.MLP(data.spec, width=8), solver=fl.solvers.Euler(2))
    pairs = Samples(Trained(flow, data.spec, data), n=4, pairs=True)
    assert {name: c.of for name, c in pairs.spec.conditions.items()} == {"x0_pos": "pos", "x0_heat": "heat"}
    rows = pairs.all()
    assert rows.x["pos"].shape == rows.cond["x0_pos"].shape == (4, 3, 2)


def test_held_out_splits_are_the_runs_own(run):
    held_out = Samples(run, n=10).split("test")
    assert held_out.all().x.equal(run.data.split("test").all().x)
    with pytest.raises(DataError, match="had no data, and so no split 'test'"):
        Samples(Trained(run.flow, run.data_spec), n=10).split("test")


def test_what_cannot_be_is_told(run):
    with pytest.raises(IncompatibleError, match="EulerMaruyama is stochastic; give a sampler of an ODE"):
        Samples(run, pairs=True, sampler=EulerMaruyama(3))
    with pytest.raises(DataError, match="samples are drawn under label of rows, and the run had no data"):
        Samples(Trained(run.flow, run.data_spec), n=10).all()
    with pytest.raises(ValueError, match="n and batch must be at least 1"):
        Samples(run, n=0)


def test_stored_starts_are_used_where_given_and_drawn_otherwise():
    source = fl.sources.Paired(holds="states", otherwise=fl.sources.Gaussian(2.0))
    given = torch.ones(5, 2)
    assert source.noise((5, 2), cond={"x0": given}).equal(given)
    drawn = source.noise((5000, 2), fl.draw.Draw(torch.Generator().manual_seed(0)))
    assert abs(float(drawn.std()) - 2.0) < 0.1
    assert source.gaussian
    assert source.std == 2.0
    assert source.log_prob(given).equal(fl.sources.Gaussian(2.0).log_prob(given))
    with pytest.raises(ValueError, match="both data, or both states"):
        fl.sources.Paired(otherwise=fl.sources.Gaussian())
