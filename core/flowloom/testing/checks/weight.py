"""Laws of per-time weights."""

from __future__ import annotations

import torch

from flowloom.testing.laws import Context, Make, law


@law("weights are finite and not negative on [0, 1], and positive inside")
def check_positive_and_finite(make: Make, context: Context) -> None:
    """In float32 and float64, ends included."""
    weight = make()
    for dtype in (torch.float32, torch.float64):
        t = torch.linspace(0, 1, 257, dtype=dtype)
        values = weight(t)
        context.holds("weights are finite", bool(values.isfinite().all()))
        context.holds("weights are not negative", bool((values >= 0).all()))
        context.holds("weights are positive inside (0, 1)", bool((values[1:-1] > 0).all()))


@law("weights keep the shape and dtype of the times")
def check_shape_and_dtype(make: Make, context: Context) -> None:
    """Times per row or per token."""
    weight = make()
    for dtype in (torch.float32, torch.float64):
        t = torch.rand(2, 3, generator=context.generator(), dtype=dtype)
        values = weight(t)
        context.holds("weights keep the shape", values.shape == t.shape, f"{tuple(values.shape)}")
        context.holds("weights keep the dtype", values.dtype == dtype, f"{values.dtype}")
