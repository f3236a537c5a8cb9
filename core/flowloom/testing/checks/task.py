"""Laws of tasks, asked of the data's own flow, of one in the plane, or of one of masked tokens."""

from __future__ import annotations

from typing import Any

import torch

from flowloom.data.base import Examples
from flowloom.errors import FlowloomError, IncompatibleError, ShapeError
from flowloom.layout import Layout
from flowloom.state import batch_size, leaves, shape_of
from flowloom.tasks import Task
from flowloom.testing.flows import Offer, offers
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom.testing.states import all_finite, gap

ROWS = 6


def _suited(make: Make, context: Context) -> tuple[Task, Offer, Examples]:
    """The task, the first flow of which it can be asked, and examples to ask about."""
    task = make()
    refusals = []
    for offer in offers(context):
        # What a task is about is data, not states: it meets the flow's codec by itself.
        try:
            asked, _ = task.pose(offer.data, ROWS, torch.Generator().manual_seed(1))
            task(offer.flow, asked, seed=1)
        except (IncompatibleError, ShapeError) as refusal:
            refusals.append(str(refusal))
            continue
        return task, offer, asked
    raise NotApplicable(f"it refuses every flow that is offered; the first because: {refusals[0]}")


@law("questions are posed with the truth of the same rows, and again by the same generator")
def check_poses_rows(make: Make, context: Context) -> None:
    """As many as asked for, or as there are; the truth is data, row for row; the global generator is left."""
    task, offer, _ = _suited(make, context)
    for n in (ROWS, len(offer.data) + 1):
        asked, truth = task.pose(offer.data, n, torch.Generator().manual_seed(2))
        rows = min(n, len(offer.data))
        said = f"{len(asked)} and {len(truth)} for {n} of {len(offer.data)}"
        context.holds(
            "as many questions and truths as wanted or there", len(asked) == len(truth) == rows, said
        )
    torch.rand(1)
    before = torch.random.get_rng_state()
    again, same = task.pose(offer.data, n, torch.Generator().manual_seed(2))
    untouched = torch.equal(before, torch.random.get_rng_state())
    context.within("questions when posed again", gap(asked.x, again.x), 0)
    context.within("their truth", gap(truth.x, same.x), 0)
    context.holds("the global generator is left as it was", untouched)


@law("the answer is not in the question")
def check_hides_the_truth(make: Make, context: Context) -> None:
    """Where question and truth have one shape, they differ in what is real and was not given."""
    task, offer, _ = _suited(make, context)
    asked, truth = task.pose(offer.data, ROWS, torch.Generator().manual_seed(2))
    if shape_of(asked.x) != shape_of(truth.x):
        return
    layout = truth.layout or Layout()
    one, other = (dict(leaves(layout.still(part.x))) for part in (asked, truth))
    differ = any(not torch.equal(value, other[name]) for name, value in one.items())
    context.holds("the question differs from its answer", differ)


@law("what was given comes back as it was")
def check_keeps_what_is_given(make: Make, context: Context) -> None:
    """Entries that the layout of a question marks as given stand in the answer, bit for bit."""
    task, offer, asked = _suited(make, context)
    layout = asked.layout
    if layout is None or layout.given is None or shape_of(asked.x) != shape_of(task(offer.flow, asked).x):
        return
    answers = task(offer.flow, asked, seed=3)
    held = layout.holding(asked.x).hold(answers.x)
    context.within("answers - the same with what was given", gap(held, answers.x), 0)


@law("every example gets one answer, in its shape and finite")
def check_answers_fit(make: Make, context: Context) -> None:
    """States as many as examples, of the same structure; every condition has as many rows."""
    task, offer, asked = _suited(make, context)
    answers = task(offer.flow, asked, seed=3)
    context.holds("answers are examples", isinstance(answers, Examples), type(answers).__name__)
    rows = batch_size(answers.x)
    context.holds("there are as many answers as examples", rows == len(asked), f"{rows} for {len(asked)}")
    same = shape_of(answers.x) == shape_of(asked.x)
    context.holds("answers have the shape of the examples", same, f"{shape_of(answers.x)}")
    context.holds("answers are finite", all_finite(answers.x))
    short = {name: len(value) for name, value in answers.cond.items() if len(value) != rows}
    context.holds("what belongs to the answers has their rows", not short, f"{short}")


@law("the same question and seed get the same answer")
def check_is_deterministic(make: Make, context: Context) -> None:
    """Whatever the global generator holds, which is left as it was."""
    task, offer, asked = _suited(make, context)
    first = task(offer.flow, asked, seed=3)
    torch.rand(1)
    before = torch.random.get_rng_state()
    again = task(offer.flow, asked, seed=3)
    untouched = torch.equal(before, torch.random.get_rng_state())
    context.within("answers when asked again", gap(first.x, again.x), 0)
    context.holds("the global generator is left as it was", untouched)


@law("the question and the flow come back as they were")
def check_leaves_all_alone(make: Make, context: Context) -> None:
    """States and conditions asked about; weights, gradients and training mode."""
    task, offer, asked = _suited(make, context)
    model = offer.flow.model
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    states = {name: leaf.clone() for name, leaf in leaves(asked.x)}
    conditions = {name: value.clone() for name, value in asked.cond.items()}
    for mode in (True, False):
        model.train(mode)
        task(offer.flow, asked, seed=3)
        context.holds("training mode is as before", model.training == mode)
    after: dict[str, Any] = model.state_dict()
    context.holds("weights are as before", all(torch.equal(v, after[k]) for k, v in weights.items()))
    context.holds("no gradient is left behind", all(p.grad is None for p in model.parameters()))
    same = all(torch.equal(states[name], leaf) for name, leaf in leaves(asked.x))
    context.holds("the states asked about are as before", same)
    same = set(conditions) == set(asked.cond)
    same = same and all(torch.equal(value, asked.cond[name]) for name, value in conditions.items())
    context.holds("the conditions asked about are as before", same)


@law("what it shows as an example of words can be read")
def check_example_is_read(make: Make, context: Context) -> None:
    """``read`` takes ``example``, where there is one."""
    task, offer, _ = _suited(make, context)
    words = task.example(offer.data)
    if not words:
        return
    try:
        read = len(task.read(words, offer.data, 2))
    except FlowloomError as refusal:
        context.holds("the example is not refused", False, f"{words!r}: {refusal}")
    else:
        context.holds("there are as many as are wanted", read == 2, f"{read} for 2 of {words!r}")


@law("words become as many examples as are wanted, or are refused in one line")
def check_reads_words(make: Make, context: Context) -> None:
    """``read`` of a word on the data at hand: three examples, or an error that a user can read."""
    task, offer, _ = _suited(make, context)
    try:
        read = task.read("a", offer.data, 3)
    except FlowloomError as refusal:
        context.holds("a refusal is one line", "\n" not in str(refusal) and bool(str(refusal)))
        return
    context.within("examples read beyond those wanted", batch_size(read.x) - 3, 0)


@law("answers are shown in one line each, or not at all")
def check_shows_lines(make: Make, context: Context) -> None:
    """``show`` gives no lines, or as many as there are answers, each without a line break."""
    task, offer, asked = _suited(make, context)
    lines = task.show(task(offer.flow, asked, seed=3), offer.data)
    context.holds("as many lines as answers, or none", len(lines) in (0, len(asked)), f"{len(lines)}")
    whole = all(isinstance(line, str) and "\n" not in line for line in lines)
    context.holds("a line is one line of text", whole)


@law("no examples get no answers, or are refused in one line")
def check_no_rows(make: Make, context: Context) -> None:
    """Examples of the shape and conditions of the others."""
    task, offer, asked = _suited(make, context)
    answers = context.of_no_rows(lambda: task(offer.flow, asked.take(torch.arange(0)), seed=3))
    if answers is not None:
        context.holds("there are no answers", len(answers) == 0, f"{len(answers)}")
