"""Laws of data sets."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from flowloom.data.base import Dataset
from flowloom.errors import DataError
from flowloom.layout import Layout
from flowloom.spec import Spec
from flowloom.state import leaves, shape_of, with_batch
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom.testing.states import gap

ROWS = 64
SPLITS = ("val", "test")


def _rows(data: Dataset, n: int = ROWS) -> Tensor:
    return torch.linspace(0, len(data) - 1, min(n, len(data))).long()


@contextmanager
def _offline() -> Iterator[None]:
    """Any attempt to reach the network fails while inside."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("the network is closed during this check")

    original = socket.socket.connect
    socket.socket.connect = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        socket.socket.connect = original  # type: ignore[method-assign]


@law("examples have the shape, dtype and range that the spec promises")
def check_spec_is_honoured(make: Make, context: Context) -> None:
    """Real values are finite floats within ``limits``, tokens int64 within the vocabulary."""
    data = make()
    context.holds("the data set is not empty", len(data) > 0)
    rows = _rows(data)
    x = data.take(rows).x
    wanted = with_batch(data.spec.event_shape(), len(rows))
    context.holds("states have the shape of the spec", shape_of(x) == wanted, f"{shape_of(x)} for {wanted}")
    specs = dict(_leaf_specs(data.spec))
    for name, leaf in leaves(x):
        spec = specs[name]
        if spec.vocab is not None:
            context.holds("tokens are int64", leaf.dtype == torch.long, f"{leaf.dtype}")
            context.holds("tokens lie in [0, vocab)", bool(((leaf >= 0) & (leaf < spec.vocab)).all()))
            continue
        context.holds("states are floating", leaf.is_floating_point(), f"{leaf.dtype}")
        context.holds("states are finite", bool(leaf.isfinite().all()))
        if spec.limits is not None:
            low, high = spec.limits
            context.holds("states lie within limits", bool(((leaf >= low) & (leaf <= high)).all()))


@law("conditions are those of the spec, with classes in range")
def check_conditions_are_honoured(make: Make, context: Context) -> None:
    """One entry for every row; class ids int64 in ``[0, classes)``; a layout that fits the states."""
    data = make()
    rows = _rows(data)
    cond = data.take(rows).cond
    context.holds("every promised condition comes", set(data.spec.conditions) <= set(cond), f"{sorted(cond)}")
    for name, value in cond.items():
        context.holds("conditions have one entry a row", len(value) == len(rows), f"{name}: {len(value)}")
        condition = data.spec.conditions.get(name)
        if condition is None:
            context.holds("no condition comes unannounced", False, name)
            continue
        context.holds("conditions have their shape", tuple(value.shape[1:]) == condition.shape, name)
        if condition.classes is not None:
            context.holds("class ids are int64", value.dtype == torch.long, f"{name} {value.dtype}")
            inside = bool(((value >= 0) & (value < condition.classes)).all())
            context.holds("class ids lie in [0, classes)", inside, name)
            named = not condition.names or len(condition.names) == condition.classes
            context.holds("there are as many names as classes", named, name)
        if condition.role in ("real", "given"):
            context.holds("what is real or given is boolean", value.dtype == torch.bool, name)
    if (layout := Layout.of(data.spec, cond)) is not None:
        layout.fill(data.take(rows).x)


@law("the same rows give the same examples, in any order and from any object")
def check_rows_are_deterministic(make: Make, context: Context) -> None:
    """Randomness belongs to the caller; a resumed run must see what the first one saw."""
    first, second = make(), make()
    rows = _rows(first)
    a = first.take(rows)
    torch.rand(1)
    for other in (first.take(rows), second.take(rows)):
        context.within("examples asked for again", gap(other.x, a.x), 0)
        for name, value in a.cond.items():
            context.holds("conditions asked for again", torch.equal(other.cond[name], value), name)
    order = torch.randperm(len(rows), generator=context.generator())
    shuffled, wanted = second.take(rows[order]), a.take(order)
    context.within("examples in another order", gap(shuffled.x, wanted.x), 0)
    for name, value in wanted.cond.items():
        context.holds("conditions in another order", torch.equal(shuffled.cond[name], value), name)


@law("rows differ from each other")
def check_rows_differ(make: Make, context: Context) -> None:
    """Not all of 64 rows spread over the data are alike."""
    data = make()
    if len(data) < 2:
        raise NotApplicable("one row only")
    rows = _rows(data)
    different = any(bool((leaf != leaf[:1]).any()) for _, leaf in leaves(data.take(rows).x))
    context.holds("rows differ", different)


@law("splits share a spec and no rows")
def check_splits_are_disjoint(make: Make, context: Context) -> None:
    """No example of the first 512 of another split is among the first 512 of ``train``, state for state."""
    data = make()
    context.holds("train is the data set itself", len(data.split("train")) == len(data))
    found = False
    for name in SPLITS:
        try:
            other = data.split(name)
        except DataError:
            continue
        found = True
        context.holds(f"{name} is not empty", len(other) > 0)
        same = other.spec.event_shape() == data.spec.event_shape()
        context.holds(
            f"{name} has the shape of train", same and set(other.spec.conditions) == set(data.spec.conditions)
        )
        a, b = (d.take(torch.arange(min(512, len(d)))).x for d in (data, other))
        if _all_tokens(data.spec):
            continue
        shared = len(_keys(a) & _keys(b))
        context.within(f"examples of {name} that are in train", shared, 0)
    if not found:
        raise NotApplicable("there is no other split")


@law("an unknown split is a DataError")
def check_unknown_split(make: Make, context: Context) -> None:
    """And its message names the split."""
    message = ""
    try:
        make().split("no-such-split")
    except DataError as error:
        message = str(error)
    context.holds("an unknown split is a DataError that names it", "no-such-split" in message, message)


@law("no network is needed")
def check_works_offline(make: Make, context: Context) -> None:
    """Once its files are there: rows are read with every connection refused."""
    with _offline():
        data = make()
        data.take(_rows(data, 4))


@law("the data set can be pickled, for worker processes")
def check_pickles(make: Make, context: Context) -> None:
    """Before and after first use; the copy gives the same rows."""
    data = make()
    rows = _rows(data, 4)
    before = pickle.loads(pickle.dumps(data))
    x = data.take(rows).x
    after = pickle.loads(pickle.dumps(data))
    for copied in (before, after):
        context.within("rows of the copy", gap(copied.take(rows).x, x), 0)


def _leaf_specs(spec: Spec, prefix: str = "") -> list[tuple[str, Spec]]:
    if not spec.parts:
        return [(prefix, spec)]
    return [
        row
        for name, inner in spec.parts.items()
        for row in _leaf_specs(inner, f"{prefix}.{name}" if prefix else name)
    ]


def _all_tokens(spec: Spec) -> bool:
    return spec.discrete


def _keys(x: Any) -> set[bytes]:
    columns = [leaf.flatten(1) if leaf.ndim > 1 else leaf[:, None] for _, leaf in leaves(x)]
    return {b"".join(c[i].contiguous().numpy().tobytes() for c in columns) for i in range(len(columns[0]))}
