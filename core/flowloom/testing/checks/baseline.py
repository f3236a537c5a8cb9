"""Laws of baselines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from flowloom.baselines import Baseline
from flowloom.data.base import Examples
from flowloom.layout import Layout
from flowloom.state import map_state, shape_of
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom.testing.states import all_finite, gap

ROWS = 8


def _asked(make: Make, context: Context) -> tuple[Baseline, Examples]:
    if context.data is None:
        raise NotApplicable("a baseline answers about rows; give data=")
    rule: Baseline = make()
    rule.fit(context.data)
    rows = torch.arange(min(ROWS, len(context.data)))
    return rule, context.data.take(rows).laid_out(context.data.spec)


def _blank(asked: Examples) -> Examples:
    """The same questions, with another truth wherever nothing is given."""
    other: Any = map_state(lambda v: torch.flip(v, (0,)) + 1 if v.is_floating_point() else v, asked.x)
    layout = asked.layout
    held = other if layout is None or layout.given is None else layout.holding(asked.x).hold(other)
    return replace(asked, x=held)


@law("every row gets one answer, in its shape and finite")
def check_answers_fit(make: Make, context: Context) -> None:
    """As many states as rows, of the structure of the data."""
    rule, asked = _asked(make, context)
    answers = rule(asked, context.generator(1))
    context.holds("answers have the shape of the rows", shape_of(answers.x) == shape_of(asked.x))
    context.holds("answers are finite", all_finite(answers.x))


@law("answers come from what is told, and not from the truth")
def check_does_not_peek(make: Make, context: Context) -> None:
    """Other states under the same conditions get the same answers."""
    rule, asked = _asked(make, context)
    first, second = rule(asked, context.generator(1)), rule(_blank(asked), context.generator(1))
    layout = asked.layout or Layout()
    context.within("answers beside another truth", gap(layout.still(first.x), layout.still(second.x)), 0)


@law("the same question and generator get the same answer, and the global generator is left")
def check_is_deterministic(make: Make, context: Context) -> None:
    """Asked twice, and of another object."""
    rule, asked = _asked(make, context)
    first = rule(asked, context.generator(1))
    before = torch.random.get_rng_state()
    again = rule(asked, context.generator(1))
    context.holds("the global generator is left", torch.equal(before, torch.random.get_rng_state()))
    other, _ = _asked(make, context)
    context.within("answers asked again", gap(again.x, first.x), 0)
    context.within("answers of another object", gap(other(asked, context.generator(1)).x, first.x), 0)


@law("what was given comes back as it was")
def check_keeps_what_is_given(make: Make, context: Context) -> None:
    """Bit for bit."""
    rule, asked = _asked(make, context)
    layout = asked.layout
    if layout is None or layout.given is None:
        return
    answers = rule(asked, context.generator(1))
    context.within("given entries", gap(layout.holding(asked.x).hold(answers.x), answers.x), 0)


@law("no rows are answered with no rows, or refused in one line")
def check_no_rows(make: Make, context: Context) -> None:
    """A batch of none."""
    rule, asked = _asked(make, context)
    none = asked.take(torch.arange(0))
    answers = context.of_no_rows(lambda: rule(none, context.generator(1)))
    if answers is not None:
        context.holds("no rows come back", len(answers) == 0)
