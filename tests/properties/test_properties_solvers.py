"""Solvers of velocities: both directions, any span, any dtype, row by row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flowloom.testing.oracles import LinearFlow

KIND = "solver"

SEEDS = st.integers(0, 10_000)


@pytest.fixture
def solver(build: Any, row: Any) -> Any:
    made = build(row)
    if made.wanted() != "velocity" or made.stochastic:
        pytest.skip("integrates no ordinary differential equation")
    if row.plugin.name == "foundations" and not hasattr(made, "times"):
        pytest.skip("descends an energy")
    return made


def start(seed: int, n: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_a_row_alone_is_as_in_its_batch_on_a_fixed_grid(solver: Any) -> None:
    if not hasattr(solver, "steps"):
        pytest.skip("steps are chosen by the whole batch")

    @given(seed=SEEDS, n=st.integers(1, 7))
    def holds(seed: int, n: int) -> None:
        x0 = start(seed, n)
        whole, alone = solver.solve(LinearFlow(), x0).x, solver.solve(LinearFlow(), x0[-1:]).x
        assert float((whole[-1:] - alone).abs().max()) <= 1e-12 * (1 + float(alone.abs().max()))

    holds()


def test_dtype_and_shape_are_kept_also_of_no_rows(solver: Any) -> None:
    @given(seed=SEEDS, n=st.integers(0, 3), dtype=st.sampled_from([torch.float32, torch.float64]))
    def holds(seed: int, n: int, dtype: torch.dtype) -> None:
        x = solver.solve(LinearFlow(), start(seed, n, dtype)).x
        assert x.dtype == dtype
        assert tuple(x.shape) == (n, 2)
        assert bool(x.isfinite().all())

    holds()


def test_the_way_back_leads_home(solver: Any) -> None:
    """On a part of the time as on the whole, up to the error of the solver's own order."""

    @given(seed=SEEDS, low=st.floats(0, 0.4), width=st.floats(0.05, 0.6))
    def holds(seed: int, low: float, width: float) -> None:
        x0 = start(seed, 3)
        fine = solver.with_steps(200) if hasattr(solver, "with_steps") else solver
        there = fine.solve(LinearFlow(), x0, span=(low, low + width)).x
        home = fine.solve(LinearFlow(), there, span=(low + width, low)).x
        assert float((home - x0).abs().max()) <= 0.05 * (1 + float(x0.abs().max()))

    holds()
