"""Laws of metrics."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flowloom.data.base import Dataset, Examples, Tensors
from flowloom.layout import Layout
from flowloom.metrics import Metric
from flowloom.state import map_state
from flowloom.testing.laws import Context, Make, NotApplicable, law

ROWS = 400


def _data(context: Context) -> Dataset:
    """The data of the context, or two Gaussian classes in the plane."""
    if context.data is not None:
        return context.data
    draws = context.generator(1)
    label = torch.randint(2, (ROWS,), generator=draws)
    x = torch.randn(ROWS, 2, generator=draws) + 4 * label[:, None]
    return Tensors(x, {"label": label})


def _fitted(make: Make, context: Context) -> tuple[Metric, Examples]:
    data = _data(context)
    metric = make()
    metric.fit(data)
    return metric, data.take(torch.arange(min(ROWS, len(data))))


def _spoiled(real: Examples, context: Context) -> Examples:
    """Noise in the shape of the data, three times as wide, with its labels shuffled."""
    draws = context.generator(2)

    def leaf(v: Any) -> Any:
        if not v.is_floating_point():
            return torch.randint(int(v.max()) + 1, v.shape, generator=draws)
        return v.mean() + 3 * v.std() * torch.randn(v.shape, generator=draws, dtype=v.dtype)

    order = torch.randperm(len(real), generator=draws)
    return Examples(map_state(leaf, real.x), {name: value[order] for name, value in real.cond.items()})


@law("values are finite numbers, and better names some of them")
def check_values(make: Make, context: Context) -> None:
    """On the data against itself, and on noise."""
    metric, real = _fitted(make, context)
    for samples in (real, _spoiled(real, context)):
        values = metric(samples, real)
        judged = set(metric.better) & set(values)
        context.holds("better names values that are returned", bool(judged), f"{sorted(values)}")
        bad = {k: v for k, v in values.items() if not isinstance(v, float) or not math.isfinite(v)}
        context.holds("values are finite floats", not bad, f"{bad}")
    context.holds("better says lower or higher", set(metric.better.values()) <= {"lower", "higher"})


@law("the data themselves are better than noise, and near perfect where lower is better")
def check_real_beats_noise(make: Make, context: Context) -> None:
    """A value that should be low is at most half of that of noise."""
    metric, real = _fitted(make, context)
    own, noise = metric(real, real), metric(_spoiled(real, context), real)
    for name, way in metric.better.items():
        if name not in own:
            continue
        detail = f"{own[name]:.4g} on the data, {noise[name]:.4g} on noise"
        if way == "lower":
            context.holds(f"{name} of the data is below that of noise", own[name] < noise[name], detail)
            context.within(f"{name} of the data, relative to noise", own[name] / noise[name], 0.5)
        else:
            context.holds(f"{name} of the data is above that of noise", own[name] > noise[name], detail)


@law("the order of rows does not matter")
def check_order_does_not_matter(make: Make, context: Context) -> None:
    """Shuffled samples with their conditions (and truth, for a paired metric) get the same values."""
    metric, real = _fitted(make, context)
    half = torch.arange(len(real) // 2)
    samples, rest = real.take(half), real.take(half + len(half))
    order = torch.randperm(len(half), generator=context.generator(3))
    first = metric(samples, rest)
    second = metric(samples.take(order), rest.take(order) if metric.paired else rest)
    for name, value in first.items():
        context.within(
            f"{name} of shuffled samples - in order", second[name] - value, 1e-4 * (1 + abs(value))
        )


@law("a paired metric compares samples with the truth of their own row", when=lambda metric: metric.paired)
def check_is_paired(make: Make, context: Context) -> None:
    """Samples that are their truth are best by every value; in another order they are worse by some."""
    metric, real = _fitted(make, context)
    turned = real.take(torch.arange(len(real)).roll(len(real) // 3 + 1))
    own, others = metric(real, real), metric(turned, real)
    for name, way in metric.better.items():
        if name in own:
            ahead = others[name] - own[name] if way == "lower" else own[name] - others[name]
            detail = f"{own[name]:.4g} of the truth, {others[name]:.4g} of the truth of other rows"
            context.holds(f"{name} of the truth is best", ahead >= 0, detail)
    worse = [
        others[name] > own[name] if way == "lower" else others[name] < own[name]
        for name, way in metric.better.items()
        if name in own
    ]
    context.holds("the truth of other rows is worse than their own", any(worse), f"{own} and {others}")


@law("the order of a row's draws does not matter", when=lambda metric: metric.paired)
def check_draws_have_no_order(make: Make, context: Context) -> None:
    """Three draws of every row, in the order 1, 2, 3 and 3, 1, 2, get the same values."""
    metric, real = _fitted(make, context)
    real = real.take(torch.arange(min(60, len(real))))
    rows = torch.arange(len(real))
    draws = [rows, rows.roll(1), rows.roll(len(real) // 2)]
    first = metric(real.take(torch.cat(draws)), real)
    second = metric(real.take(torch.cat([draws[2], draws[0], draws[1]])), real)
    for name, value in first.items():
        context.within(f"{name} of reordered draws - in order", second[name] - value, 1e-6 * (1 + abs(value)))


@law("the same sets get the same values")
def check_is_deterministic(make: Make, context: Context) -> None:
    """By one object twice and by another, whatever the global generator holds."""
    metric, real = _fitted(make, context)
    noise = _spoiled(real, context)
    first = metric(noise, real)
    torch.rand(1)
    again = metric(noise, real)
    other, _ = _fitted(make, context)
    fresh = other(noise, real)
    for name, value in first.items():
        context.within(f"{name} when asked again", again[name] - value, 1e-6 * (1 + abs(value)))
        context.within(f"{name} of another object", fresh[name] - value, 1e-6 * (1 + abs(value)))


@law("padding counts nothing")
def check_padding_counts_nothing(make: Make, context: Context) -> None:
    """Rubbish there changes no value, on either side; for data whose examples differ in size."""
    metric, real = _fitted(make, context)
    if context.data is None:
        sizes = torch.randint(1, 3, (len(real), 1), generator=context.generator(4))
        real = replace(real, layout=Layout(torch.arange(2) < sizes))
    else:
        real = real.laid_out(context.data.spec)
    if real.layout is None or real.layout.real is None:
        raise NotApplicable("examples of this data are all of one size")

    def changed(examples: Examples) -> Examples:
        def rubbish(v: Tensor) -> Tensor:
            return torch.full_like(v, math.nan if v.is_floating_point() else int(v.max()))

        assert examples.layout is not None
        marks = map_state(torch.logical_not, examples.layout.real)
        return replace(
            examples, x=Layout(given=marks, values=map_state(rubbish, examples.x)).hold(examples.x)
        )

    half = torch.arange(len(real) // 2)
    samples, rest = real.take(half), real.take(half + len(half))
    if metric.paired:  # what answers a row has its sizes
        samples = Examples(samples.x, rest.cond, rest.layout)
    first, second = metric(samples, rest), metric(changed(samples), changed(rest))
    for name, value in first.items():
        context.within(
            f"{name} beside rubbish in padding - clean", second[name] - value, 1e-6 * (1 + abs(value))
        )


@law("nothing to compare is told in one line, or has finite values")
def check_no_rows(make: Make, context: Context) -> None:
    """No samples, no real rows, and neither."""
    metric, real = _fitted(make, context)
    metric(real, real)  # one that refuses these data altogether is not checked by what it says to none
    none = real.take(torch.arange(0))
    for samples, others in ((none, real), (real, none), (none, none)):
        values = context.of_no_rows(partial(metric, samples, others))
        if values is not None:
            bad = {k: v for k, v in values.items() if not isinstance(v, float) or not math.isfinite(v)}
            context.holds("values are finite floats", not bad, f"{bad}")
