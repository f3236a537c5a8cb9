"""Couplings at offsets, scales, sizes and dtypes."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from flowloom.layout import Layout

KIND = "coupling"

SEEDS = st.integers(0, 10_000)
FLOATS = st.sampled_from([torch.float32, torch.float64, torch.bfloat16])


def clouds(seed: int, n: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Two sets on a lattice of powers of two, so that moving and scaling them loses no digit."""
    draws = torch.Generator().manual_seed(seed)
    x0, x1 = (torch.randint(-64, 64, (n, 3), generator=draws).to(torch.float64) / 64 for _ in "ab")
    return x0.to(dtype), x1.to(dtype)


def rows(coupling: Any, x0: Any, x1: Any, layout: Layout | None = None) -> torch.Tensor:
    found = coupling.rows(x0, x1, {}, layout, generator=torch.Generator().manual_seed(5))
    return torch.arange(len(x1)) if found is None else found


def cost(x0: torch.Tensor, x1: torch.Tensor, order: torch.Tensor) -> float:
    return float((x0.double()[order] - x1.double()).square().sum())


def test_moving_both_clouds_leaves_the_cost_of_the_pairs(build: Any, row: Any) -> None:
    """In float32 at a distance of a thousand spreads; exact plans only where ties are broken alike."""
    coupling = build(row)

    @given(seed=SEEDS, n=st.integers(2, 40), power=st.integers(0, 10))
    def holds(seed: int, n: int, power: int) -> None:
        x0, x1 = clouds(seed, n, torch.float32)
        home = cost(x0, x1, rows(coupling, x0, x1))
        away = 2.0**power
        there = cost(x0, x1, rows(coupling, x0 + away, x1 + away))
        if coupling.permutation:
            slack = 0.35 if "sinkhorn" in row.name else 1e-3
            assert abs(there - home) <= slack * (home + 0.1)

    holds()


def test_scaling_both_clouds_leaves_the_pairs(build: Any, row: Any) -> None:
    coupling = build(row)

    @given(seed=SEEDS, n=st.integers(1, 24), power=st.integers(-20, 20))
    def holds(seed: int, n: int, power: int) -> None:
        x0, x1 = clouds(seed, n, torch.float32)
        scale = 2.0**power
        home, there = rows(coupling, x0, x1), rows(coupling, x0 * scale, x1 * scale)
        assert abs(cost(x0, x1, there) - cost(x0, x1, home)) <= 0.05 * (cost(x0, x1, home) + 1e-3)

    holds()


def test_any_size_and_dtype_gives_rows(build: Any, row: Any) -> None:
    coupling = build(row)

    @given(seed=SEEDS, n=st.integers(1, 9), dtype=FLOATS)
    def holds(seed: int, n: int, dtype: torch.dtype) -> None:
        x0, x1 = clouds(seed, n, dtype)
        found = rows(coupling, x0, x1)
        assert found.dtype == torch.int64
        assert tuple(found.shape) == (n,)
        assert bool(((found >= 0) & (found < n)).all())
        if coupling.permutation:
            assert len(set(found.tolist())) == n

    holds()


def test_padding_of_any_value_pairs_nobody(build: Any, row: Any) -> None:
    coupling = build(row)

    @given(seed=SEEDS, n=st.integers(1, 9), rubbish=st.sampled_from([0.0, 1e30, float("nan"), float("inf")]))
    def holds(seed: int, n: int, rubbish: float) -> None:
        x0, x1 = clouds(seed, n, torch.float32)
        draws = torch.Generator().manual_seed(seed + 1)
        real = torch.arange(3) < torch.randint(1, 4, (n, 1), generator=draws)
        layout = Layout(real)
        clean = rows(coupling, x0, torch.where(real, x1, torch.zeros(())), layout)
        assert torch.equal(rows(coupling, x0, torch.where(real, x1, torch.tensor(rubbish)), layout), clean)

    holds()
