"""Conditions of role judged: metrics see them, and nothing that learns or samples does."""

import pytest
import torch

import flowloom as fl
from flowloom.data import Dataset, Examples
from flowloom.spec import Condition, Spec


class Told(Dataset):
    spec = Spec((2,), conditions={"label": Condition(3), "answer": Condition(shape=(2,), role="judged")})

    def __len__(self):
        return 32

    def take(self, rows):
        x = torch.stack([rows, -rows], 1).float()
        return Examples(x, {"label": rows % 3, "answer": x.clone()})


class Ear(fl.models.MLP):
    def __init__(self, spec):
        super().__init__(spec, width=8, depth=1)
        self.heard = set()

    def forward(self, x, t, /, **cond):
        self.heard.update(cond)
        return super().forward(x, t, **cond)


def test_only_what_is_told_reaches_the_network():
    data = Told()
    flow = fl.Flow(Ear(data.spec))
    flow.fit(data, steps=2, batch=4)
    found = flow.solve(5, cond=data.take(torch.arange(5)).cond, seed=0)
    assert flow.model.heard == {"label"}
    assert "answer" not in found.cond


def test_samples_do_not_depend_on_it():
    data = Told()
    flow = fl.Flow(Ear(data.spec))
    cond = data.take(torch.arange(5)).cond
    other = {**cond, "answer": cond["answer"] + 1}
    assert torch.equal(flow.solve(5, cond=cond, seed=0).x, flow.solve(5, cond=other, seed=0).x)


def test_it_is_hidden_from_the_gaussian_baseline():
    from flowloom.baselines import draw_baseline

    data = Told()
    rows = data.take(torch.arange(12))
    other = Examples(rows.x, {**rows.cond, "answer": rows.cond["answer"] + 9})
    first, second = (draw_baseline(data.spec, data.all(), one)[0].x for one in (rows, other))
    assert torch.equal(first, second)


def test_it_speaks_of_no_part():
    with pytest.raises(ValueError, match="role judged speaks of no part"):
        Condition(shape=(2,), role="judged", of="pos")
