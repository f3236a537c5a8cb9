"""Laws of feeds."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.objectives import Batch
from flowloom.seeds import generator
from flowloom.state import batch_size, leaves
from flowloom.testing.flows import flow_of
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom.training.feeds import Feed, Feeding

SIZE = 8
STEPS = 9
SEED = 11


def _flow(feed: Feed, context: Context) -> Flow:
    """The flow of the recipe, or a small one on what the feed gives."""
    flow = context.flow
    if flow is None or flow.spec != feed.spec:
        if flow is not None and flow.codec is not None:
            return copy.deepcopy(flow)
        flow = flow_of(feed.spec)
    if flow is None:
        raise NotApplicable("no small flow fits what this feed gives; check it within a recipe")
    return copy.deepcopy(flow)


def _started(make: Make, context: Context) -> Feed:
    feed: Feed = make()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        flow = _flow(feed, context)
    feed.start(Feeding(flow.eval(), SIZE, SEED))
    return feed


def _batch(feed: Feed, number: int) -> Batch:
    return feed.batch(number, generator(SEED, "source", number))


def _step(feed: Feed, number: int) -> Batch:
    """What a trainer does in a step: look at the model where it is time, then draw."""
    if feed.refresh_every and number % feed.refresh_every == 0:
        with torch.no_grad(), feed.feeding.flow.evaluating():
            feed.refresh(feed.feeding.flow, number, generator(SEED, "refresh", number))
    return _batch(feed, number)


def _entries(batch: Batch) -> dict[str, Any]:
    named = {f"x0.{name}": leaf for name, leaf in leaves(batch.x0)}
    named |= {f"x1.{name}": leaf for name, leaf in leaves(batch.x1)}
    return named | dict(batch.cond)


def _same(a: Batch, b: Batch) -> bool:
    one, other = _entries(a), _entries(b)
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


@contextmanager
def _unseen(flow: Flow) -> Iterator[None]:
    """Any call of the network fails while inside."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a batch called the network, which only refresh may")

    handle = flow.model.register_forward_pre_hook(refuse)
    try:
        yield
    finally:
        handle.remove()


@law("batches have the size that was asked for, and the states and conditions of the spec")
def check_batches(make: Make, context: Context) -> None:
    """No dimension is larger than the spec says (ragged batches may be shorter), and kinds are right."""
    feed = _started(make, context)
    spec = feed.feeding.flow.spec
    for number in range(STEPS):
        batch = _step(feed, number)
        for x in (batch.x0, batch.x1):
            context.holds("a batch has its size", batch_size(x) == SIZE, f"{batch_size(x)} for {SIZE}")
        specs = dict(spec.leaves())
        for name, leaf in leaves(batch.x1):
            shape, wanted = tuple(leaf.shape[1:]), specs[name].shape
            fits = len(shape) == len(wanted) and all(a <= b for a, b in zip(shape, wanted, strict=True))
            fits = fits and (spec.ragged or shape == tuple(wanted))
            context.holds("states have the shape of the spec", fits, f"{shape} for {wanted}")
        context.holds(
            "conditions are those of the spec",
            set(batch.cond) == set(spec.conditions),
            f"{sorted(batch.cond)}",
        )
        rows = all(len(value) == SIZE for value in batch.cond.values())
        context.holds("conditions have one entry a row", rows)
        if (layout := Layout.of(spec, batch.cond)) is not None:
            layout.fill(batch.x1)


@law("the same number gives the same batch, in any order and from any object")
def check_same_number_same_batch(make: Make, context: Context) -> None:
    """Whatever the global generator holds: a run is repeatable only then."""
    first, second = _started(make, context), _started(make, context)
    wanted = [_step(first, number) for number in range(STEPS)]
    torch.rand(1)
    for number in range(STEPS):
        context.holds(
            "another object gives the same batch", _same(_step(second, number), wanted[number]), f"{number}"
        )
    # Between two looks at the model numbers may come in any order.
    since = STEPS - 1 if first.refresh_every else 0
    if first.refresh_every:
        since = (STEPS - 1) // first.refresh_every * first.refresh_every
    for number in reversed(range(since, STEPS)):
        context.holds("asked for again, backwards", _same(_batch(first, number), wanted[number]), f"{number}")


@law("batches differ from each other")
def check_batches_differ(make: Make, context: Context) -> None:
    """Not all batches are one batch."""
    feed = _started(make, context)
    first = _step(feed, 0)
    others = [_step(feed, number) for number in range(1, STEPS)]
    context.holds("a later batch is another one", not all(_same(first, other) for other in others))


@law("a run continued from a checkpoint sees the same batches")
def check_resumes(make: Make, context: Context) -> None:
    """The tensors of a feed, copied at any step, are all that a new one needs."""
    whole = _started(make, context)
    saved, wanted = [], []
    for number in range(STEPS):
        saved.append({name: value.clone() for name, value in whole.tensors().items()})
        wanted.append(_step(whole, number))
    for cut in (1, 4, STEPS - 1):
        other = _started(make, context)
        other.restore(saved[cut])
        for number in range(cut, STEPS):
            same = _same(_step(other, number), wanted[number])
            context.holds(
                "a continued feed gives the same batch", same, f"batch {number}, continued at {cut}"
            )


@law("batches may be drawn ahead in a thread")
def check_prefetch(make: Make, context: Context) -> None:
    """Two at once and out of order; no batch calls the network, which only refresh may."""
    feed, other = _started(make, context), _started(make, context)
    _step(feed, 0), _step(other, 0)
    with _unseen(feed.feeding.flow):
        if feed.refresh_every:
            _batch(feed, 0)
            return
        wanted = [_batch(other, number) for number in range(STEPS)]
        with ThreadPoolExecutor(2) as pool:
            order = [number ^ 1 for number in range(STEPS - 1)]
            drawn = dict(zip(order, pool.map(lambda number: _batch(feed, number), order), strict=True))
    for number, batch in drawn.items():
        context.holds("drawn in a thread", _same(batch, wanted[number]), f"batch {number}")
