"""The column of training data has the classes of the held-out rows."""

from __future__ import annotations

import torch

from flowloom.data import Examples, Tensors
from flowloom_registry.runs.matched import matched_rows


def data():
    label = torch.cat([torch.zeros(90), torch.ones(8), torch.full((2,), 2.0)]).long()
    return Tensors(torch.arange(100.0)[:, None], {"label": label})


def test_rows_are_as_many_of_every_class_and_random():
    like = Examples(torch.zeros(12, 1), {"label": torch.tensor([0, 1, 2, 0, 1, 2, 1, 1, 0, 0, 1, 1])})
    found = matched_rows(data(), like, "label", 3)
    assert torch.equal(found.cond["label"], like.cond["label"])
    assert len(found.x[found.cond["label"] < 2].unique()) == 10
    assert torch.equal(found.x, matched_rows(data(), like, "label", 3).x)
    assert not torch.equal(found.x, matched_rows(data(), like, "label", 4).x)
    assert len(matched_rows(data(), like, None, 3)) == 12


def test_classes_that_are_rare_repeat_and_unknown_ones_are_left_out():
    like = Examples(torch.zeros(6, 1), {"label": torch.tensor([2, 2, 2, 2, 5, 0])})
    found = matched_rows(data(), like, "label", 0)
    assert found.cond["label"].tolist() == [2, 2, 2, 2, 0]
    assert sorted(found.x[:4, 0].tolist()) == [98.0, 98.0, 99.0, 99.0]
    # No rows at all are not asked for: a view of nothing may have no answer.
    unseen = Examples(torch.zeros(2, 1), {"label": torch.tensor([5, 6])})
    assert matched_rows(data(), unseen, "label", 0) is None
