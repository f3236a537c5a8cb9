"""Rows held out: an exact share of any number of rows, whatever period they have, by their number alone."""

from __future__ import annotations

import tracemalloc

import pytest
import torch

from flowloom.errors import DataError
from flowloom_warehouse.held_out import HeldOut

SHARES = [0.5, 0.4, 0.3, 1 / 3, 0.15, 0.123, 0.1, 0.1001, 0.001]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("n", [1, 7, 100, 20_011])
def test_every_row_is_on_one_side_in_order(share: float, n: int) -> None:
    rows = HeldOut(share)
    count = rows.count(n)
    held, kept = rows.held(torch.arange(count)), rows.kept(torch.arange(n - count))
    assert torch.cat([held, kept]).sort().values.equal(torch.arange(n))
    assert held.equal(held.sort().values)
    assert kept.equal(kept.sort().values)
    assert rows.holds(torch.arange(n)).nonzero().flatten().equal(held)


@pytest.mark.parametrize("share", SHARES)
def test_the_share_is_exact_of_any_number_of_rows(share: float) -> None:
    rows = HeldOut(share)
    assert all(abs(rows.count(n) - n * share) < 2 for n in range(0, 5000, 97))
    assert rows.count(10**6 * rows.block) == 10**6 * rows.part


@pytest.mark.parametrize("share", [0.1, 0.3, 0.4, 0.25, 0.123])
@pytest.mark.parametrize("period", [2, 3, 5, 8, 10])
def test_no_class_of_a_period_is_missed(share: float, period: int) -> None:
    """Rows sorted 0, 1, ..., 9, 0, 1, ...: every tenth of them is of one class."""
    n = 100_000
    rows = HeldOut(share)
    seen = torch.bincount(rows.held(torch.arange(rows.count(n))) % period, minlength=period).double()
    expected = n * share / period
    assert float((seen - expected).abs().max()) < 5 * expected**0.5


def test_rows_that_come_later_move_none() -> None:
    rows = HeldOut(0.3)
    assert rows.holds(torch.arange(1000)).equal(rows.holds(torch.arange(5000))[:1000])


def test_a_hundred_million_rows_take_no_memory() -> None:
    rows, n = HeldOut(0.1), 10**8
    tracemalloc.start()
    last = rows.kept(torch.arange(n - rows.count(n) - 256, n - rows.count(n)))
    held = rows.held(torch.arange(rows.count(n) - 256, rows.count(n)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
    assert n - 300 < int(last[0]) < int(last[-1]) < n
    assert n - 5000 < int(held[0]) < int(held[-1]) < n


@pytest.mark.parametrize("share", [-0.1, 0.51, float("nan"), 1e-9])
def test_what_is_no_share(share: float) -> None:
    with pytest.raises(DataError, match="held_out is"):
        HeldOut(share)
