"""Laws of gradient magnitudes."""

from __future__ import annotations

import torch

from flowloom.testing.laws import Context, Make, law

__all__ = ["check_continuous", "check_keeps_the_time", "check_positive_before", "check_vanishes_at_the_data"]


@law("the magnitude vanishes at the data, and only there is an equilibrium")
def check_vanishes_at_the_data(make: Make, context: Context) -> None:
    """``c(1) = 0``."""
    context.within("c(1)", make()(torch.ones(1, dtype=torch.float64)), 1e-12)


@law("the magnitude is finite and positive before the data")
def check_positive_before(make: Make, context: Context) -> None:
    """On a grid of ``[0, 1)``; at the source it may be 0."""
    values = make()(torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1])
    context.holds("c(t) is finite", bool(values.isfinite().all()))
    context.holds("c(t) > 0 for 0 < t < 1", bool((values[1:] > 0).all()) and bool(values[0] >= 0))


@law("the magnitude has no jump")
def check_continuous(make: Make, context: Context) -> None:
    """Neighbours on ever finer grids come together."""

    def jump(n: int) -> float:
        return float(make()(torch.linspace(0, 1, n + 1, dtype=torch.float64)).diff().abs().max())

    context.within("largest jump on 2^16 steps, of that on 2^8", jump(2**16) / max(jump(2**8), 1e-12), 0.1)


@law("shape and precision of the times are kept")
def check_keeps_the_time(make: Make, context: Context) -> None:
    """For times of rows and of points, in float32 and float64."""
    for dtype in (torch.float32, torch.float64):
        for shape in ((4,), (4, 3)):
            t = torch.rand(shape, generator=context.generator(), dtype=dtype)
            c = make()(t)
            context.holds("c(t) has the shape and dtype of t", c.shape == t.shape and c.dtype == dtype)
