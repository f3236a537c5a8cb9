"""Laws of scores."""

from __future__ import annotations

import math
from typing import Any

import torch

from flowloom.errors import IncompatibleError, ShapeError
from flowloom.scores import Score
from flowloom.testing.flows import Offer, offers
from flowloom.testing.laws import Context, Make, NotApplicable, law


def _suited(make: Make, context: Context, trained: bool = False) -> tuple[Score, Offer]:
    """The score, and the first flow that it does not refuse (and whose law is known, where that matters)."""
    score = make()
    for offer in offers(context):
        if trained and offer.wrong is None:
            continue
        try:
            score.require(offer.flow)
        except IncompatibleError:
            continue
        return score, offer
    what = "a flow in the plane and one of masked tokens"
    raise NotApplicable(f"it refuses {what}" + (", and that of the data" if context.data is not None else ""))


@law("values are finite numbers, and better names some of them")
def check_values(make: Make, context: Context) -> None:
    """Of a flow of the right law and of one of another, where both are there."""
    score, offer = _suited(make, context)
    for flow in filter(None, (offer.flow, offer.wrong)):
        values = score(flow, offer.examples())
        judged = set(score.better) & set(values)
        context.holds("better names values that are returned", bool(judged), f"{sorted(values)}")
        bad = {k: v for k, v in values.items() if not isinstance(v, float) or not math.isfinite(v)}
        context.holds("values are finite floats", not bad, f"{bad}")
    context.holds("better says lower or higher", set(score.better.values()) <= {"lower", "higher"})


@law("a flow of the law of the examples is better than one of another law")
def check_truth_is_better(make: Make, context: Context) -> None:
    """In every value that ``better`` names."""
    score, offer = _suited(make, context, trained=True)
    assert offer.wrong is not None
    right, wrong = score(offer.flow, offer.examples()), score(offer.wrong, offer.examples())
    for name, way in score.better.items():
        if name in right:
            detail = f"{right[name]:.4g} under the right law, {wrong[name]:.4g} under another"
            better = right[name] < wrong[name] if way == "lower" else right[name] > wrong[name]
            context.holds(f"{name} ({way} is better) of the right law is better", better, detail)


@law("the same flow, examples and seed get the same values")
def check_is_deterministic(make: Make, context: Context) -> None:
    """Whatever the global generator holds, which is left as it was."""
    score, offer = _suited(make, context)
    first = score(offer.flow, offer.examples(), seed=3)
    torch.rand(1)
    before = torch.random.get_rng_state()
    again = score(offer.flow, offer.examples(), seed=3)
    for name, value in first.items():
        context.within(f"{name} when asked again", again[name] - value, 1e-6 * (1 + abs(value)))
    untouched = torch.equal(before, torch.random.get_rng_state())
    context.holds("the global generator is left as it was", untouched)


@law("the flow comes back as it was")
def check_leaves_the_flow_alone(make: Make, context: Context) -> None:
    """Weights, gradients and training mode."""
    score, offer = _suited(make, context)
    model = offer.flow.model
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for mode in (True, False):
        model.train(mode)
        score(offer.flow, offer.examples())
        context.holds("training mode is as before", model.training == mode)
    after: dict[str, Any] = model.state_dict()
    context.holds("weights are as before", all(torch.equal(v, after[k]) for k, v in before.items()))
    context.holds("no gradient is left behind", all(p.grad is None for p in model.parameters()))


@law("no examples are refused")
def check_refuses_nothing_to_score(make: Make, context: Context) -> None:
    """An empty batch raises a ShapeError instead of giving NaN."""
    score, offer = _suited(make, context)
    refused = False
    try:
        score(offer.flow, offer.examples().take(torch.arange(0)))
    except ShapeError:
        refused = True
    context.holds("an empty batch is refused with a ShapeError", refused)
