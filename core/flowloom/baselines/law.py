"""A simple law of any state, fitted to training rows and drawn under the conditions of others."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.baselines.chart import Chart
from flowloom.baselines.frequencies import draw_tokens
from flowloom.baselines.gaussian import ConditionalGaussian
from flowloom.data.base import Examples
from flowloom.errors import IncompatibleError
from flowloom.geometry import Geometry
from flowloom.layout import Layout
from flowloom.seeds import generator
from flowloom.spec import Spec
from flowloom.state import State, concat, expand, leaves, take

__all__ = ["draw_baseline", "name_of"]

_MOST_COLUMNS = 20_000


def name_of(spec: Spec) -> str:
    """What the law of such states is called: by its real-valued parts, where there are any."""
    return "frequencies" if spec.discrete else "Gaussian"


def draw_baseline(
    spec: Spec,
    train: Examples,
    asked: Examples,
    draws: int = 1,
    *,
    geometry: Geometry | None = None,
    seed: int = 0,
) -> list[Examples]:
    """Draws of a simple law under the conditions of ``asked``, of which nothing else is looked at.

    Real-valued parts are one Gaussian, with all covariances between parts; on a curved or periodic space it
    is that of vectors about the mean, wrapped. It is regressed on what is known of a row: numbers that inform
    the network, further classes (one-hot), and entries that are given. Tokens are independent, by the
    frequencies of their place; given ones stay. All of it is fitted for each class of the first class
    condition alone, which makes it as strong as such a law can be.

    Args:
        spec: of the data, with their conditions.
        train: training rows.
        asked: rows with their conditions, and the layout that says what is given, where it is more than the
            conditions say.
        draws: of every row.
        geometry: of the data; flat where None.
        seed: of the draws.

    Returns:
        All rows once for every draw.

    Raises:
        IncompatibleError: there is no such law for these data: tokens under conditions that frequencies
            cannot see, a space without a logarithm, a class with fewer than two rows; says which.
    """
    _require_seen(spec)
    random = generator(seed, "baseline")
    train = train.with_layout(spec)
    layout = asked.layout or Layout.of(spec, asked.cond)
    within = next((k for k, c in spec.conditions.items() if c.classes is not None and not c.shape), None)
    n = len(asked)
    label = asked.cond[within].cpu() if within is not None else torch.zeros(n, dtype=torch.long)
    seen = train.cond[within].cpu() if within is not None else torch.zeros(len(train), dtype=torch.long)
    order, parts = [], []
    for value in label.unique().tolist():
        rows, own = (label == value).nonzero()[:, 0], (seen == value).nonzero()[:, 0]
        if len(own) < 2:
            what = f"class {value} of '{within}' has" if within is not None else "there are"
            raise IncompatibleError(f"{what} {len(own)} training rows; a baseline needs two")
        several = rows.repeat(draws)
        there = Examples(
            take(asked.x, several),
            {name: v[several] for name, v in asked.cond.items()},
            None if layout is None else layout.take(several),
        )
        parts.append(_drawn(spec, train.take(own), there, within, geometry, random))
        order.append(torch.arange(draws).repeat_interleave(len(rows)) * n + several)
    back = torch.cat(order).argsort()
    x = take(concat(parts), back)
    every = torch.arange(n)
    return [Examples(take(x, every + d * n), asked.cond, asked.layout) for d in range(draws)]


def _drawn(
    spec: Spec,
    train: Examples,
    asked: Examples,
    within: str | None,
    geometry: Geometry | None,
    random: torch.Generator,
) -> State:
    """One draw for every row of ``asked``, all of one class."""
    layout = asked.layout or Layout()
    kinds = dict(spec.leaves())
    known_rows = train.layout or Layout()
    found: dict[str, Tensor] = {}
    charts: dict[str, Chart] = {}
    columns: list[Tensor] = []
    known: list[Tensor] = []
    values: list[Tensor] = []
    shapes = dict(leaves(train.x))
    for name, kind in kinds.items():
        x = shapes[name].cpu()
        here, there = known_rows.at(name), layout.at(name)
        if kind.vocab is not None:
            found[name] = draw_tokens(x, here.real, len(asked), random)
            continue
        chart = charts[name] = Chart(_space(geometry, name), here.fill(x))
        vectors = _at_mean(chart.to_vectors(here.fill(x)), here.real)
        columns.append(vectors.flatten(1))
        given = torch.zeros(len(asked), *x.shape[1:], dtype=torch.bool)
        told = torch.zeros(len(asked), *x.shape[1:], dtype=torch.float64)
        if there.given is not None and there.values is not None:
            given = expand(there.given, x).expand(given.shape)
            point = torch.where(given, there.values.double(), chart.mean)
            told = chart.to_vectors(point)
        known.append(given.reshape(len(asked), -1))
        values.append(told.reshape(len(asked), -1))
    if columns:
        width = [one.shape[1] for one in columns]
        # Where asked rows have no start, it is drawn, and informs nothing (students of a reflow).
        drawn_starts = {k for k, c in spec.conditions.items() if c.role == "start" and k not in asked.cond}
        without = drawn_starts | ({within} if within is not None else set())
        ours, theirs = _informing(spec, train, without), _informing(spec, asked, without)
        if sum(width) + ours.shape[1] > _MOST_COLUMNS:
            raise IncompatibleError(
                f"a Gaussian of {sum(width) + ours.shape[1]} entries is too large; at most {_MOST_COLUMNS}"
            )
        law = ConditionalGaussian(torch.cat([*columns, ours], 1))
        sees = torch.cat([*known, torch.ones_like(theirs, dtype=torch.bool)], 1)
        drawn = law.draw(sees, torch.cat([*values, theirs], 1), random)
        for name, part in zip(charts, drawn.split([*width, ours.shape[1]], 1), strict=False):
            vectors = part.reshape(len(asked), *shapes[name].shape[1:])
            found[name] = charts[name].to_points(vectors).to(shapes[name].dtype)
    state = _assembled(train.x, found)
    return layout.hold(state)


def _informing(spec: Spec, examples: Examples, without: Set[str]) -> Tensor:
    """Numbers that inform the network side by side, further classes as one-hot: ``(n, columns)``."""
    columns = [torch.zeros(len(examples), 0, dtype=torch.float64)]
    for name, condition in spec.conditions.items():
        if condition.role not in ("inform", "start") or name in without:
            continue
        if name not in examples.cond:
            raise IncompatibleError(f"the condition '{name}' is missing")
        value = examples.cond[name].cpu()
        if condition.classes is not None:
            value = F.one_hot(value.long(), condition.classes)
        columns.append(value.double().reshape(len(examples), -1))
    return torch.cat(columns, 1)


def _require_seen(spec: Spec) -> None:
    """Frequencies know classes alone; what they would not see is refused and not withheld."""
    first = True
    unseen = []
    for name, condition in spec.conditions.items():
        if condition.role not in ("inform", "start"):
            continue
        is_class = condition.classes is not None and not condition.shape
        if not (is_class and first):
            unseen.append(name)
        first = first and not is_class
    tokens = [name or "the state" for name, leaf in spec.leaves() if leaf.vocab is not None]
    if tokens and unseen:
        raise IncompatibleError(
            f"frequencies of tokens ({', '.join(tokens)}) see one class condition and nothing else, and "
            f"samples are drawn under {', '.join(unseen)} as well"
        )


def _space(geometry: Geometry | None, name: str) -> Geometry | None:
    for word in name.split(".") if name else ():
        geometry = None if geometry is None else geometry.part(word)
    return geometry


def _at_mean(vectors: Tensor, real: Tensor | None) -> Tensor:
    """Padding moved to the mean of the same entry over the rows that have it: it tells nothing."""
    if real is None:
        return vectors
    wide = expand(real, vectors)
    exists = wide.double()
    mean = (vectors * exists).sum(0, keepdim=True) / exists.sum(0, keepdim=True).clamp_min(1)
    return torch.where(wide, vectors, mean)


def _assembled(like: Any, found: dict[str, Tensor], prefix: str = "") -> Any:
    if isinstance(like, dict):
        return {k: _assembled(v, found, f"{prefix}.{k}" if prefix else k) for k, v in like.items()}
    return found[prefix]
