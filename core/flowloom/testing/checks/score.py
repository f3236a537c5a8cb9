"""Laws of scores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.data.base import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.geometry import Discrete
from flowloom.objectives import PosteriorMatching
from flowloom.paths import MixturePath
from flowloom.scores import Score
from flowloom.solvers import CTMCEuler
from flowloom.sources import Mask
from flowloom.spec import Spec
from flowloom.testing.laws import Context, Make, NotApplicable, law

ROWS = 200


class _Gaussian(nn.Module):
    """The exact velocity of ``N(mean, std^2)`` in the plane on the straight path from ``N(0, 1)``."""

    def __init__(self, mean: float, std: float = 0.5) -> None:
        super().__init__()
        self.mean, self.std = nn.Parameter(torch.tensor(mean)), std

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        time = t[:, None]
        variance = time.square() * self.std**2 + (1 - time).square()
        pull = (time * self.std**2 - (1 - time)) / variance
        return self.mean + pull * (x - time * self.mean)


class _Tokens(nn.Module):
    """The exact posterior of independent tokens behind masks."""

    def __init__(self, law: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(law).log())

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        known = nn.functional.one_hot(x.clamp_max(len(self.logits) - 1), len(self.logits)) * 60.0
        return torch.where((x == len(self.logits))[..., None], self.logits, known.to(self.logits.dtype))


@dataclass(frozen=True)
class _Offer:
    """A flow of the law of the examples, one of another law, and the examples."""

    right: Flow
    wrong: Flow
    examples: Examples


def _offers(context: Context) -> Iterator[_Offer]:
    draws = context.generator(1)
    plane = Examples(1.0 + 0.5 * torch.randn(ROWS, 2, generator=draws))
    right, wrong = (Flow(_Gaussian(mean), spec=Spec(shape=(2,))) for mean in (1.0, -1.0))
    yield _Offer(right, wrong, plane)
    law = [0.6, 0.3, 0.1]
    ids = torch.multinomial(torch.tensor(law), ROWS * 4, True, generator=draws).reshape(ROWS, 4)
    space = Discrete(3, mask=True)
    path = MixturePath(space, source=Mask(space))
    right, wrong = (
        Flow(
            _Tokens(weights),
            spec=Spec(shape=(4,), vocab=3),
            geometry=space,
            source=Mask(space),
            path=path,
            objective=PosteriorMatching(path),
            solver=CTMCEuler(8),
        )
        for weights in (law, law[::-1])
    )
    yield _Offer(right, wrong, Examples(ids))


def _suited(make: Make, context: Context) -> tuple[Score, _Offer]:
    """The score, and the first offer that it does not refuse."""
    score = make()
    for offer in _offers(context):
        try:
            score.require(offer.right)
        except IncompatibleError:
            continue
        return score, offer
    raise NotApplicable("it refuses a flow in the plane and one of masked tokens")


@law("values are finite numbers, and better names some of them")
def check_values(make: Make, context: Context) -> None:
    """Of a flow of the right law and of one of another."""
    score, offer = _suited(make, context)
    for flow in (offer.right, offer.wrong):
        values = score(flow, offer.examples)
        judged = set(score.better) & set(values)
        context.holds("better names values that are returned", bool(judged), f"{sorted(values)}")
        bad = {k: v for k, v in values.items() if not isinstance(v, float) or not math.isfinite(v)}
        context.holds("values are finite floats", not bad, f"{bad}")
    context.holds("better says lower or higher", set(score.better.values()) <= {"lower", "higher"})


@law("a flow of the law of the examples is better than one of another law")
def check_truth_is_better(make: Make, context: Context) -> None:
    """In every value that ``better`` names."""
    score, offer = _suited(make, context)
    right, wrong = score(offer.right, offer.examples), score(offer.wrong, offer.examples)
    for name, way in score.better.items():
        if name in right:
            detail = f"{right[name]:.4g} under the right law, {wrong[name]:.4g} under another"
            better = right[name] < wrong[name] if way == "lower" else right[name] > wrong[name]
            context.holds(f"{name} ({way} is better) of the right law is better", better, detail)


@law("the same flow, examples and seed get the same values")
def check_is_deterministic(make: Make, context: Context) -> None:
    """Whatever the global generator holds, which is left as it was."""
    score, offer = _suited(make, context)
    first = score(offer.right, offer.examples, seed=3)
    torch.rand(1)
    before = torch.random.get_rng_state()
    again = score(offer.right, offer.examples, seed=3)
    for name, value in first.items():
        context.within(f"{name} when asked again", again[name] - value, 1e-6 * (1 + abs(value)))
    untouched = torch.equal(before, torch.random.get_rng_state())
    context.holds("the global generator is left as it was", untouched)


@law("the flow comes back as it was")
def check_leaves_the_flow_alone(make: Make, context: Context) -> None:
    """Weights, gradients and training mode."""
    score, offer = _suited(make, context)
    model = offer.right.model
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for mode in (True, False):
        model.train(mode)
        score(offer.right, offer.examples)
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
        score(offer.right, offer.examples.take(torch.arange(0)))
    except ShapeError:
        refused = True
    context.holds("an empty batch is refused with a ShapeError", refused)
