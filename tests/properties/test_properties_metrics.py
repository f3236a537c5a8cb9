"""Metrics of points in flat space at offsets, scales, unequal sizes and dtypes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowloom.data.base import Examples
from flowloom_registry.plugins.rows import Row

KIND = "metric"

SEEDS = st.integers(0, 10_000)


@pytest.fixture
def metric(build: Any, row: Row) -> Any:
    """Metrics that take any numbers and ask for no truth."""
    made = build(row)
    if made.paired:
        pytest.skip("compares row by row")
    if "fitted" in row.tags:
        pytest.skip("compares with training examples, too")
    if row.name == "by-class":
        pytest.skip("asks for the class of every row")
    return made


def clouds(seed: int, n: int, m: int) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return (
        torch.randint(-64, 64, (n, 2), generator=draws).double() / 64,
        torch.randint(-64, 64, (m, 2), generator=draws).double() / 64 + 0.5,
    )


def values(metric: Any, x: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    found = metric(Examples(x, {}), Examples(y, {}))
    assert all(isinstance(v, float) and math.isfinite(v) for v in found.values())
    return found


def test_moving_both_sets_changes_nothing(metric: Any) -> None:
    @given(seed=SEEDS, power=st.integers(0, 14), dtype=st.sampled_from([torch.float32, torch.float64]))
    def holds(seed: int, power: int, dtype: torch.dtype) -> None:
        x, y = clouds(seed, 64, 48)
        home, there = (
            values(metric, x, y),
            values(metric, (x + 2.0**power).to(dtype), (y + 2.0**power).to(dtype)),
        )
        for name, value in home.items():
            assert there[name] == pytest.approx(value, rel=2e-3, abs=2e-4), name

    holds()


def test_scaling_both_sets_scales_the_value(metric: Any, row: Row) -> None:
    """Or leaves it, of metrics whose scale is that of the data."""

    @given(seed=SEEDS, power=st.integers(-30, 30))
    def holds(seed: int, power: int) -> None:
        x, y = clouds(seed, 40, 40)
        home, there = values(metric, x, y), values(metric, x * 2.0**power, y * 2.0**power)
        for name, value in home.items():
            scale = 1.0 if "scale-free" in row.tags else 2.0**power
            assert there[name] / scale == pytest.approx(value, rel=1e-3), name

    holds()


def test_sizes_may_differ_and_copies_of_a_set_say_nothing_new(metric: Any) -> None:
    """The value of a set against itself tends to that of equal laws, whatever the sizes."""

    @given(seed=SEEDS, n=st.integers(64, 200), m=st.integers(64, 200))
    def holds(seed: int, n: int, m: int) -> None:
        x, y = clouds(seed, n, m)
        same, apart = values(metric, x, y - 0.5), values(metric, x, y + 8)
        for name, way in metric.better.items():
            if name in same and way == "lower":
                assert same[name] < 0.2 * apart[name], name

    holds()


def test_dtypes_of_numbers_do_not_matter(metric: Any) -> None:
    @given(seed=SEEDS, dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
    def holds(seed: int, dtype: torch.dtype) -> None:
        x, y = clouds(seed, 32, 40)  # multiples of 1/64 below 2: exact in all of them
        home = values(metric, x, y)
        for other in (values(metric, x.to(dtype), y.to(dtype)), values(metric, x.to(dtype), y)):
            for name, value in home.items():
                assert other[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name

    holds()
