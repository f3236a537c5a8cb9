"""Several data sets as one: rows keep their places, splits are the first part's."""

from __future__ import annotations

import pytest
import torch

from flowloom.data import EightGaussians, Mixed, Moons, Tensors
from flowloom.errors import DataError


def test_rows_are_those_of_the_parts_in_any_order():
    parts = [Tensors(torch.arange(3.0)[:, None]), Tensors(10 + torch.arange(4.0)[:, None])]
    mixed = Mixed(parts)
    assert len(mixed) == 7
    rows = torch.tensor([6, 0, 3, 2, 3])
    assert mixed.take(rows).x[:, 0].tolist() == [13.0, 0.0, 10.0, 2.0, 10.0]
    assert mixed.take(torch.arange(0)).x.shape == (0, 1)


def test_held_out_rows_are_those_of_the_first_part():
    first = EightGaussians(50, labelled=False)
    mixed = Mixed([first, Moons(50, labelled=False)])
    assert mixed.split("test").all().x.equal(first.split("test").all().x)
    assert mixed.split("train") is mixed


def test_parts_of_another_kind_are_refused():
    with pytest.raises(DataError, match="part 2 of data mixed has rows of another kind than the first"):
        Mixed([EightGaussians(50), EightGaussians(50, labelled=False)])
    with pytest.raises(DataError, match="at least one part"):
        Mixed([])
