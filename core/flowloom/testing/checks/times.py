"""Laws of time laws."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.draw import Draw
from flowloom.testing.laws import Context, Make, law
from flowloom.times import TimeLaw


def _stratified(law_: TimeLaw) -> bool:
    return law_.stratified


def _cdf(law_: TimeLaw, t: Tensor, *, before: bool = False) -> Tensor:
    """The distribution function at ``t`` (or just before it), by bisection of the quantile function."""
    low, high = torch.zeros_like(t), torch.ones_like(t)
    for _ in range(40):
        middle = (low + high) / 2
        value = law_.quantile(middle) * law_.latest
        below = value < t if before else value <= t
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


@law("draws lie between the lowest and the latest time and have the shape and dtype asked for")
def check_range(make: Make, context: Context) -> None:
    """10,000 draws in float32 and float64."""
    times = make()
    for dtype in (torch.float32, torch.float64):
        t = times.sample(10_000, Draw(context.generator(), dtype=dtype))
        context.holds("sample(n) has shape (n,)", tuple(t.shape) == (10_000,), f"{tuple(t.shape)}")
        context.holds("sample has the dtype asked for", t.dtype == dtype, f"{t.dtype}")
        context.holds("times are finite", bool(t.isfinite().all()))
        low, high = times.support
        context.within("times are not below the lowest", (low - t).clamp_min(0), 1e-6 * abs(low))
        context.within("times are at most latest", (t - times.latest * high).clamp_min(0), 1e-6 * abs(high))


@law("the quantile function rises from the lowest to the highest time")
def check_quantile_is_monotone(make: Make, context: Context) -> None:
    """On 1001 points of [0, 1], with values in the support."""
    times = make()
    low, high = times.support
    values = times.quantile(torch.linspace(0, 1, 1001, dtype=torch.float64))
    context.holds("quantile is finite", bool(values.isfinite().all()))
    context.within("quantile does not fall", (-values.diff()).clamp_min(0), 1e-12)
    outside = torch.maximum(low - values, values - high).clamp_min(0)
    context.within("quantile stays in the support", outside, 1e-12 * (1 + abs(high - low)))


@law("draws follow the quantile function")
def check_draws_follow_the_quantile(make: Make, context: Context) -> None:
    """Kolmogorov and Smirnov's distance of 20,000 draws, at a level of one in a million."""
    times, n = make(), 20_000
    t = times.sample(n, Draw(context.generator(), dtype=torch.float64)).sort().values
    # Where the law has an atom, its distribution function jumps past both.
    empirical = torch.searchsorted(t, t, right=True).double() / n
    above = empirical - _cdf(times, t)
    below = _cdf(times, t, before=True) - torch.searchsorted(t, t).double() / n
    distance = torch.maximum(above, below).clamp_min(0)
    allowed = math.sqrt(-math.log(0.5e-6) / 2 / n) + 1e-4
    context.within("distance of empirical and claimed law", distance, allowed)


@law("the generator determines the draws")
def check_follows_its_generator(make: Make, context: Context) -> None:
    """Equal seeds give equal times; one generator gives new ones each time."""
    times = make()
    first = times.sample(64, Draw(context.generator()))
    context.holds(
        "equal seeds give equal times", torch.equal(first, times.sample(64, Draw(context.generator())))
    )
    generator = context.generator()
    a, b = times.sample(64, Draw(generator)), times.sample(64, Draw(generator))
    ends = times.quantile(torch.tensor([0.01, 0.99]))
    constant = bool(ends[0] == ends[1])
    context.holds("draws of one generator differ", constant or not torch.equal(a, b))


@law("stratified draws put exactly one time in each of n equal shares of the law", when=_stratified)
def check_stratified_is_even(make: Make, context: Context) -> None:
    """And in random order, so that rows of a batch are not tied to early or late times."""
    times, n = make(), 256
    u = _cdf(times, times.sample(n, Draw(context.generator(), dtype=torch.float64)))
    sorted_u = u.sort().values
    centres = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    context.within("one draw in each share", (sorted_u - centres) * n, 0.51)
    order = torch.corrcoef(torch.stack([u, torch.arange(n, dtype=torch.float64)]))[0, 1]
    context.within("order of stratified draws is random (correlation with the row)", order, 0.35)
