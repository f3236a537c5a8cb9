"""Sources at any size and dtype, and their densities."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowloom.draw import Draw
from flowloom.errors import FlowloomError
from flowloom.state import batch_size, leaves, take, with_batch
from flowloom.testing.checks.source import source_shape
from flowloom.testing.laws import Context
from flowloom.testing.states import all_finite, gap

KIND = "source"

SEEDS = st.integers(0, 10_000)


@pytest.fixture
def source(build: Any, row: Any) -> Any:
    made = build(row)
    if made.reads:
        pytest.skip("starts at a condition")
    return made


def drawn(source: Any, seed: int, n: int, dtype: torch.dtype = torch.float64) -> Any:
    shape = with_batch(source_shape(source, Context(seed=seed)), n)
    return source.sample(shape, Draw(torch.Generator().manual_seed(seed), dtype=dtype))


def test_draws_are_finite_in_the_size_and_dtype_asked_for(source: Any) -> None:
    @given(
        seed=SEEDS, n=st.integers(0, 9), dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16])
    )
    def holds(seed: int, n: int, dtype: torch.dtype) -> None:
        x = drawn(source, seed, n, dtype)
        assert batch_size(x) == n
        assert all_finite(x)
        assert all(leaf.dtype == dtype for _, leaf in leaves(x) if leaf.is_floating_point())

    holds()


def test_density_of_a_row_does_not_depend_on_its_batch(source: Any, row: Any) -> None:
    if "solved" in row.tags:
        pytest.skip("its density is an adaptive solve, exact to its tolerance")

    @given(seed=SEEDS, n=st.integers(1, 9))
    def holds(seed: int, n: int) -> None:
        x = drawn(source, seed, n)
        try:
            dense = source.log_prob(x)
        except (NotImplementedError, FlowloomError):
            return
        last = torch.tensor([n - 1])
        assert gap(dense[-1:], source.log_prob(take(x, last))) <= 1e-9
        assert bool(dense.isfinite().all())

    holds()
