"""Laws of sources."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowloom.draw import Draw
from flowloom.errors import FlowloomError
from flowloom.geometry import Discrete, Euclidean, Geometry
from flowloom.layout import Layout
from flowloom.sources import Source
from flowloom.state import Shape, leaves, map_state, shape_of, take, with_batch
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom.testing.states import conditions_for, event_shape, gap, marks_like, power_shape, spoiled


def _gaussian(source: Source) -> bool:
    return source.gaussian


def source_shape(source: Any, context: Context) -> Shape:
    """Event shape of what a source draws: of its geometry or data set, else of the context."""
    if context.shape is not None:
        return context.shape
    if source.parts:
        return {name: source_shape(inner, context) for name, inner in source.parts.items()}
    if isinstance(getattr(source, "geometry", None), Geometry):
        return event_shape(source.geometry)
    if hasattr(source, "dataset"):
        return source.dataset.spec.event_shape()
    if hasattr(source, "token"):
        return (3,)
    return context.spec.event_shape() if context.spec is not None else (2,)


def _draw(
    source: Source, context: Context, n: int, stream: int = 1, dtype: torch.dtype = torch.float64
) -> Any:
    shape = with_batch(source_shape(source, context), n)
    return source.sample(
        shape, Draw(context.generator(stream), dtype=dtype), cond=_cond(source, context, n, dtype)
    )


def _cond(source: Source, context: Context, n: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Conditions of the spec, and a paired state for sources that read one."""
    cond = conditions_for(context.spec, n, context.generator(9)) if context.spec is not None else {}
    shape = source_shape(source, context)
    if not isinstance(shape, dict):
        cond[getattr(source, "key", "x0")] = torch.randn(
            (n, *shape), generator=context.generator(8), dtype=dtype
        )
    return cond


def _log_prob(source: Source, x: Any, context: Context) -> Tensor:
    n = next(leaves(x))[1].shape[0]
    try:
        return source.log_prob(x, _cond(source, context, n))
    except FlowloomError as error:
        raise NotApplicable(f"no density: {error}") from error


@law("draws have the shape and dtype asked for")
def check_shape_and_dtype(make: Make, context: Context) -> None:
    """A tensor or a dict of tensors, float32 or float64; token ids are int64."""
    source = make()
    wanted = with_batch(source_shape(source, context), 5)
    for dtype in (torch.float32, torch.float64):
        x = _draw(source, context, 5, dtype=dtype)
        context.holds("sample has the shape asked for", shape_of(x) == wanted, f"{shape_of(x)} for {wanted}")
        for name, leaf in leaves(x):
            right = leaf.dtype == (dtype if leaf.is_floating_point() else torch.long)
            context.holds("sample has the dtype asked for", right, f"{name} {leaf.dtype}")
            context.holds("sample is finite", bool(leaf.isfinite().all()))


@law("the generator determines the draws")
def check_follows_its_generator(make: Make, context: Context) -> None:
    """Equal seeds give equal draws, whatever the global generator holds."""
    source = make()
    first = _draw(source, context, 8)
    torch.rand(1)
    context.holds("equal seeds give equal draws", gap(first, _draw(source, context, 8)) == 0)


@law("rows are drawn independently: no two are alike, unless the law has atoms")
def check_rows_differ(make: Make, context: Context) -> None:
    """Row 0 differs from row 1, and from row 0 of another seed, for real-valued draws."""
    source = make()
    x, other = _draw(source, context, 8), _draw(source, context, 8, 2)
    real = [name for name, leaf in leaves(x) if leaf.is_floating_point()]
    if not real or hasattr(source, "key") or hasattr(source, "dataset"):
        raise NotApplicable("draws are tokens, or come from stored rows")
    rows = torch.arange(8)
    for name, leaf in leaves(x):
        if name in real:
            context.holds("rows differ", not torch.equal(leaf[0], leaf[1]))
    context.holds("seeds differ", gap(take(x, rows), other) > 0)


def _proposal(source: Any, shape: Any, x: Any, n: int, draws: torch.Generator) -> tuple[Any, Tensor]:
    """Wide draws and their log density: normal of 1.5 times the spread, or uniform on a bounded geometry."""
    if isinstance(shape, dict):
        parts = source.parts
        pairs = {k: _proposal(parts.get(k, source), s, x[k], n, draws) for k, s in shape.items()}
        return {k: p[0] for k, p in pairs.items()}, torch.stack([p[1] for p in pairs.values()]).sum(0)
    geometry = getattr(source, "geometry", None)
    if isinstance(geometry, Geometry) and not isinstance(geometry, Euclidean):
        try:
            geometry.log_volume()
        except NotImplementedError as reason:
            raise NotApplicable(f"no law to compare with: {reason}") from reason
        y = geometry.random((n, *shape), Draw(draws, dtype=torch.float64))
        points = geometry.points(shape)
        return y, torch.full((n,), -points * geometry.log_volume(), dtype=torch.float64)
    if not x.is_floating_point():
        raise NotApplicable("tokens without a geometry have no reference measure")
    if math.prod(shape) > 6:
        raise NotApplicable("importance sampling needs at most 6 dimensions; give a smaller shape=")
    centre, spread = x.mean(0), 1.5 * x.std(0) + 1e-6
    noise = torch.randn((n, *shape), generator=draws, dtype=torch.float64)
    log = (-0.5 * noise.square() - spread.log() - 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)
    return centre + spread * noise, log


def _weights(source: Source, context: Context, n: int = 20_000) -> tuple[Any, Tensor, Any]:
    """Importance draws, their weights ``p / q``, and draws of the source itself."""
    x = _draw(source, context, n)
    y, log_q = _proposal(source, source_shape(source, context), x, n, context.generator(5))
    log_p = _log_prob(source, y, context)
    context.holds("log_prob has one value a row", tuple(log_p.shape) == (n,), f"{tuple(log_p.shape)}")
    return y, (log_p.double() - log_q).exp(), x


@law("the density integrates to one")
def check_density_integrates_to_one(make: Make, context: Context) -> None:
    """Importance sampling with 20,000 draws from a wider law."""
    source = make()
    _, weights, _ = _weights(source, context)
    noise = float(weights.std()) / math.sqrt(len(weights))
    context.within("integral of exp(log_prob) - 1", weights.mean() - 1, 5 * noise + 1e-4)


@law("the density is that of the draws")
def check_density_matches_draws(make: Make, context: Context) -> None:
    """First and second moments and products of neighbours agree between draws and reweighted wider draws."""
    source = make()
    y, weights, x = _weights(source, context)
    for (name, a), (_, b) in zip(leaves(x), leaves(y), strict=True):
        a, b = (v.double().flatten(1) if v.ndim > 1 else v.double()[:, None] for v in (a, b))
        scale = float(a.std(0).mean()) + 1e-9
        for power, fn in (
            ("mean", lambda v: v),
            ("square", torch.square),
            ("product", lambda v: v * v.roll(1, 1)),
        ):
            reweighted = (weights[:, None] * fn(b)).mean(0)
            allowed = 0.06 * scale ** (1 if power == "mean" else 2) * (1 + float(a.abs().mean()) / scale)
            off = (fn(a).mean(0) - reweighted).abs().max()
            context.within(f"{power} of draws and density {name}".rstrip(), off, allowed)


@law("a source that calls itself Gaussian is N(0, std^2)", when=_gaussian)
def check_gaussian_is_gaussian(make: Make, context: Context) -> None:
    """Mean, standard deviation and fourth moment of 40,000 entries, and log_prob in closed form."""
    source = make()
    x = _draw(source, context, 20_000)
    std = float(source.std)
    for name, leaf in leaves(x):
        entries = leaf.flatten() / std
        n = entries.numel()
        context.within(f"mean {name}".rstrip(), entries.mean(), 5 / math.sqrt(n))
        context.within(f"std {name} - claimed".replace("  ", " "), entries.std() - 1, 5 / math.sqrt(2 * n))
        context.within(f"fourth moment {name}".rstrip(), entries.pow(4).mean() - 3, 5 * math.sqrt(96 / n))
    few = take(x, torch.arange(8))
    closed = sum(
        (-0.5 * (leaf / std).square() - math.log(std) - 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)
        for _, leaf in leaves(few)
    )
    context.within("log_prob of a Gaussian", _log_prob(source, few, context) - torch.as_tensor(closed), 1e-8)


@law("draws lie on the geometry of the source")
def check_lies_on_its_geometry(make: Make, context: Context) -> None:
    """Where the source names a geometry (or is a mask, which counts as a token)."""
    source = make()
    geometry = getattr(source, "geometry", None)
    if not isinstance(geometry, Geometry):
        raise NotApplicable("the source names no geometry")
    x = _draw(source, context, 64)
    violation = geometry.violation(x)
    context.within("draws lie on the geometry", violation, 1e-7 if not isinstance(geometry, Discrete) else 0)


def _power(source: Any, context: Context, length: int) -> Any:
    """Event shape of ``length`` points side by side."""
    if source.parts:
        return {name: _power(inner, context, length) for name, inner in source.parts.items()}
    if isinstance(getattr(source, "geometry", None), Geometry):
        return power_shape(source.geometry, length)
    return (length, 2)


@law("densities are those of what is real and free")
def check_density_under_a_layout(make: Make, context: Context) -> None:
    """Neither padding nor given entries have a say; padded rows are as if they were cut short."""
    source = make()
    n, length = 8, 4
    draws = context.generator(6)
    shape = with_batch(_power(source, context, length), n)
    try:
        x, other = (source.sample(shape, Draw(draws, dtype=torch.float64)) for _ in "ab")
        plain = source.log_prob(x)
    except Exception as error:
        raise NotApplicable(f"no density of rows of several points: {error}") from error
    short = torch.arange(length) < length // 2
    real = marks_like(x, short.expand(n, -1))
    nothing = marks_like(x, torch.ones(n, length, dtype=torch.bool))
    given = marks_like(x, torch.rand(n, length, generator=draws) < 0.3)
    size = 1e-6 * (1 + plain.abs())
    context.within(
        "density under a layout that says nothing", source.log_prob(x, {}, Layout(nothing)) - plain, size
    )
    dense = source.log_prob(x, {}, Layout(real, given))
    off = source.log_prob(spoiled(x, real), {}, Layout(real, given)) - dense
    context.within("density beside rubbish in padding", off, size)
    moved = Layout(given=given, values=other).hold(x)
    off = source.log_prob(moved, {}, Layout(real, given)) - dense
    context.within("density with other values at given entries", off, size)
    cut = map_state(lambda v: v[:, : length // 2], x)
    off = source.log_prob(x, {}, Layout(real)) - source.log_prob(cut)
    context.within("density of padded rows - of rows cut short", off, size)


@law("no rows are drawn as no rows, or refused in one line")
def check_no_rows(make: Make, context: Context) -> None:
    """Of the right shape behind the batch; and they have no densities."""
    source = make()
    x = context.of_no_rows(lambda: _draw(source, context, 0))
    if x is None:
        return
    context.holds(
        "there are no rows", shape_of(x) == with_batch(source_shape(source, context), 0), f"{shape_of(x)}"
    )
    if not source.density_gap:
        density = context.of_no_rows(lambda: _log_prob(source, x, context))
        context.holds("there are no densities", density is None or tuple(density.shape) == (0,))
