"""Laws of schedules."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.schedules import Schedule
from flowloom.testing.laws import Context, Make, law

ENDS = 0.02
"""How far alpha and sigma may be from what they say at the ends (VP leaves 0.7 % of signal at t=0)."""


def _inside(schedule: Schedule, n: int = 101) -> Tensor:
    """Times away from the ends, before ``latest``."""
    return torch.linspace(0.01, min(0.99, schedule.latest - 0.01), n, dtype=torch.float64)


@law("sigma goes from 1 to 0, and alpha to 1 from what the schedule says it leaves (0)")
def check_ends(make: Make, context: Context) -> None:
    """Source at t=0, with what is left of the data by design (`Schedule.leaves`); data alone at t=1."""
    schedule = make()
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    alpha, sigma = schedule.alpha(ends), schedule.sigma(ends)
    context.within(f"alpha(0) = {schedule.leaves:g}", alpha[0] - schedule.leaves, ENDS)
    context.within("alpha(1) = 1", alpha[1] - 1, ENDS)
    context.within("sigma(0) = 1", sigma[0] - 1, ENDS)
    context.within("sigma(1) = 0", sigma[1], ENDS)


@law("alpha rises and sigma falls, so that their ratio rises")
def check_monotone(make: Make, context: Context) -> None:
    """Checked on 1001 times."""
    schedule = make()
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)
    context.within("alpha does not fall", (-schedule.alpha(t).diff()).clamp_min(0), 1e-12)
    context.within("sigma does not rise", schedule.sigma(t).diff().clamp_min(0), 1e-12)
    ratio = schedule.ratio(_inside(schedule))
    context.holds("alpha / sigma rises strictly", bool((ratio.diff() > 0).all()))


@law("d_alpha and d_sigma are the time derivatives of alpha and sigma")
def check_derivatives(make: Make, context: Context) -> None:
    """Central differences in float64."""
    schedule = make()
    t, h = _inside(schedule), 1e-5
    for name, value, slope in (
        ("alpha", schedule.alpha, schedule.d_alpha),
        ("sigma", schedule.sigma, schedule.d_sigma),
    ):
        measured = (value(t + h) - value(t - h)) / (2 * h)
        context.within(f"d_{name} = d/dt {name}", slope(t) - measured, 1e-5 * (1 + measured.abs()))


@law("time_of_ratio inverts ratio, at both ends too")
def check_time_of_ratio(make: Make, context: Context) -> None:
    """``time_of_ratio(alpha(t) / sigma(t)) = t``; ratios below the first, and infinity, are t=0 and 1."""
    schedule = make()
    t = _inside(schedule)
    context.within("time_of_ratio(ratio(t)) = t", schedule.time_of_ratio(schedule.ratio(t)) - t, 1e-6)
    ends = torch.tensor([0.0, torch.inf], dtype=torch.float64)
    found = schedule.time_of_ratio(ends)
    context.within("time_of_ratio of 0 and infinity", found - torch.tensor([0.0, 1.0]), 1e-6)


@law("values and derivatives are finite on all of [0, 1]")
def check_finite(make: Make, context: Context) -> None:
    """In float32 and float64, ends included; derivatives that diverge are held at ``latest``."""
    schedule = make()
    for dtype in (torch.float32, torch.float64):
        t = torch.linspace(0, 1, 257, dtype=dtype)
        for name in ("alpha", "sigma", "d_alpha", "d_sigma"):
            values = getattr(schedule, name)(t)
            context.holds(f"{name} is finite on [0, 1] in {dtype}", bool(values.isfinite().all()))


@law("shape and dtype of the time are kept")
def check_shape_and_dtype(make: Make, context: Context) -> None:
    """Times of any shape, a time per token included."""
    schedule = make()
    for dtype in (torch.float32, torch.float64):
        t = torch.rand(2, 3, generator=context.generator(), dtype=dtype)
        for name in ("alpha", "sigma", "d_alpha", "d_sigma", "time_of_ratio"):
            value = getattr(schedule, name)(t)
            context.holds(f"{name} keeps the shape", value.shape == t.shape, f"{tuple(value.shape)}")
            context.holds(f"{name} keeps the dtype", value.dtype == dtype, f"{value.dtype}")


@law("equal settings make equal schedules, with equal hashes")
def check_equality(make: Make, context: Context) -> None:
    """Parts that must share a schedule compare it."""
    first, second = make(), make()
    context.holds("equal settings are equal", first == second and hash(first) == hash(second))
