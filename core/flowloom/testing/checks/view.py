"""Laws of views."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch

from flowloom.data.base import Dataset, Examples, Tensors
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.spec import Condition, Spec
from flowloom.state import leaves, shape_of, with_batch
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom.testing.states import conditions_for, gap, states_for
from flowloom.views import View

ROWS = 24
_ROW = "row_of_the_law"


def _stand_ins(context: Context) -> list[Dataset]:
    """The data of the context, then a series, tokens and an image, for views of other data than those."""
    label = {"label": Condition(3)}
    specs = [
        Spec((6, 2), conditions=label),
        Spec((6,), vocab=5, conditions=label),
        Spec((1, 8, 8), conditions=label, limits=(-1.0, 1.0)),
    ]
    draws = context.generator(1)
    made: list[Dataset] = [
        Tensors(states_for(spec, ROWS, draws), conditions_for(spec, ROWS, draws), spec=spec) for spec in specs
    ]
    return [*([context.data] if context.data is not None else []), *made]


def _offered(view: View, context: Context) -> tuple[Examples, Spec]:
    """Rows that the view takes, laid out, with their numbers as a further condition."""
    refusal = "no data"
    for data in _stand_ins(context):
        examples = data.take(torch.arange(min(ROWS, len(data))))
        spec = data.spec.plus({_ROW: Condition(ROWS)})
        try:
            view.spec(spec)
        except IncompatibleError as error:
            refusal = str(error)
            continue
        cond = {**examples.cond, _ROW: torch.arange(len(examples))}
        return replace(examples, cond=cond).laid_out(spec), spec
    raise NotApplicable(refusal)


def _kept(examples: Examples) -> Examples:
    return copy.deepcopy(examples)


def _different(a: Examples, b: Examples) -> bool:
    """Whether any entry differs."""
    if shape_of(a.x) != shape_of(b.x) or set(a.cond) != set(b.cond):
        return True
    same = all(torch.equal(u, v) for (_, u), (_, v) in zip(leaves(a.x), leaves(b.x), strict=True))
    return not same or any(not torch.equal(a.cond[name], b.cond[name]) for name in a.cond)


@law("what comes out is what its spec says")
def check_spec(make: Make, context: Context) -> None:
    """Shapes, kinds, classes and roles, of many rows and of one; ``spec`` sizes the network, so it must be right."""
    view = make()
    examples, spec = _offered(view, context)
    wanted = view.spec(spec)
    for part in (examples, examples.take(torch.tensor([3]))):
        seen = view(part, context.generator(2))
        shape = with_batch(wanted.event_shape(), len(part))
        context.holds("states have the shape of the spec", shape_of(seen.x) == shape, f"{shape_of(seen.x)}")
        for name, leaf in leaves(seen.x):
            vocab = dict(wanted.leaves())[name].vocab
            fits = leaf.is_floating_point() if vocab is None else leaf.dtype == torch.long
            context.holds("states are of the kind of the spec", fits, f"{leaf.dtype}")
        names = set(seen.cond)
        context.holds("conditions are those of the spec", names == set(wanted.conditions), f"{sorted(names)}")
        for name, condition in wanted.conditions.items():
            _holds_condition(context, name, condition, seen.cond[name], len(part))
        Layout.of(wanted, seen.cond)


def _holds_condition(context: Context, name: str, condition: Condition, value: Any, n: int) -> None:
    shape = tuple(value.shape)
    context.holds("conditions have their shape", shape == (n, *condition.shape), f"{name}: {shape}")
    if condition.role in ("real", "given"):
        context.holds("what is real or given is boolean", value.dtype == torch.bool, name)
    if condition.classes is not None:
        inside = value.dtype == torch.long and bool(((value >= 0) & (value < condition.classes)).all())
        context.holds("class ids lie in [0, classes)", inside, name)


@law("rows stay where they are, with what a view does not change")
def check_rows_stay(make: Make, context: Context) -> None:
    """A further condition, the number of the row, comes out as it went in."""
    view = make()
    examples, _ = _offered(view, context)
    seen = view(examples, context.generator(2))
    context.holds("there are as many rows", len(seen) == len(examples), f"{len(seen)} of {len(examples)}")
    kept = _ROW in seen.cond and torch.equal(seen.cond[_ROW], examples.cond[_ROW])
    context.holds("a condition that is none of its business is handed on in its order", kept)


@law("the same generator gives the same view")
def check_is_deterministic(make: Make, context: Context) -> None:
    """By one object twice and by another, whatever the global generator holds; views that draw nothing, by any."""
    view = make()
    examples, _ = _offered(view, context)
    first = view(examples, context.generator(2))
    torch.rand(1)
    for other in (view, make()):
        again = other(examples, context.generator(2))
        context.within("states when asked again", gap(again.x, first.x), 0)
        context.holds("conditions when asked again", not _different(again, first))
    unseeded = view(examples, context.generator(3))
    if not view.random:
        context.holds(
            "a view that draws nothing is the same under any generator", not _different(first, unseeded)
        )


@law("a view that says it draws does draw", when=lambda view: view.random)
def check_draws(make: Make, context: Context) -> None:
    """Of a few other generators, one gives another view; what draws nothing says ``random = False`` and is faster."""
    view = make()
    examples, _ = _offered(view, context)
    first = view(examples, context.generator(2))
    others = (view(examples, context.generator(3 + i)) for i in range(4))
    context.holds("another generator gives another view", any(_different(first, other) for other in others))


@law("what is given is left as it is")
def check_touches_nothing(make: Make, context: Context) -> None:
    """No entry of the examples is written to: they may be the memory of the data set."""
    view = make()
    examples, _ = _offered(view, context)
    before = _kept(examples)
    view(examples, context.generator(2))
    context.holds("the examples are as they were", not _different(before, examples))


@law("an augmentation leaves the spec as it is", when=lambda view: view.augments)
def check_augments(make: Make, context: Context) -> None:
    """It is left out where the flow is judged, so nothing may depend on it."""
    view = make()
    _, spec = _offered(view, context)
    context.holds("the spec is as it was", view.spec(spec) == spec)
