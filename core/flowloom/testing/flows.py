"""Flows and examples for the laws of parts that ask something of a flow: scores and tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flowloom.data.base import Dataset, Examples, Tensors
from flowloom.flow import Flow
from flowloom.geometry import Discrete
from flowloom.models import MLP
from flowloom.objectives import PosteriorMatching
from flowloom.paths import MixturePath
from flowloom.solvers import CTMCEuler, Euler
from flowloom.sources import Mask
from flowloom.spec import Spec
from flowloom.testing.laws import Context

ROWS = 200
TOKENS = (0.6, 0.3, 0.1)
"""The law of every token of the masked flow that is offered."""


@dataclass(frozen=True)
class Offer:
    """A flow, and data that it fits.

    Args:
        flow: with weights of the law of the data (``right``), or untrained.
        data: examples as a data set would give them.
        wrong: a flow that fits as well and is of another law; None where the flow is untrained.
    """

    flow: Flow
    data: Dataset
    wrong: Flow | None = None

    def examples(self, n: int = ROWS) -> Examples:
        """The first ``n`` examples, as states of the flow."""
        return encoded(self.data.take(torch.arange(min(n, len(self.data)))), self.flow)


def offers(context: Context) -> Iterator[Offer]:
    """What a law has to offer, best first.

    The recipe's own flow on its own data; else an untrained one on the data of the context; then the exact
    flow of a Gaussian in the plane, and that of independent tokens behind masks.
    """
    if context.data is not None:
        flow = context.flow or flow_on(context.data)
        if flow is not None:
            yield Offer(flow, context.data)
    elif context.flow is not None:
        # A recipe without data: what its flow draws stands in for examples.
        drawn = context.flow.solve(ROWS, seed=context.seed).x
        if isinstance(drawn, Tensor):
            yield Offer(context.flow, Tensors(drawn, spec=context.flow.spec))
    yield plane(context)
    yield tokens(context)


def encoded(examples: Examples, flow: Flow | None) -> Examples:
    """Data as states of the flow: through its codec, which must be fitted, where it has one."""
    if flow is None:
        return examples
    with torch.no_grad(), flow.evaluating():
        return flow.encode(examples, torch.Generator().manual_seed(0))


def flow_on(data: Dataset) -> Flow | None:
    """A small untrained flow that fits a data set; None where no default fits (mixed products)."""
    return flow_of(data.spec)


def flow_of(spec: Spec) -> Flow | None:
    """A small untrained flow on states of a spec; None where no default fits (mixed products)."""
    if spec.parts:
        return None
    model = MLP(spec, width=16, depth=1)
    if not spec.discrete:
        return Flow(model, spec=spec, solver=Euler(4))
    assert spec.vocab is not None
    return _masked(model, spec, spec.vocab)


def plane(context: Context) -> Offer:
    """Points of ``N(1, 0.25)`` in the plane, with exact velocities; the other law has mean -1."""
    x = 1.0 + 0.5 * torch.randn(ROWS, 2, generator=context.generator(1))
    right, wrong = (Flow(_Gaussian(mean), spec=Spec(shape=(2,)), solver=Euler(4)) for mean in (1.0, -1.0))
    return Offer(right, Tensors(x), wrong)


def tokens(context: Context) -> Offer:
    """Four independent tokens, with exact posteriors; the other law has the frequencies in reverse."""
    law = torch.tensor(TOKENS)
    ids = torch.multinomial(law, ROWS * 4, True, generator=context.generator(1)).reshape(ROWS, 4)
    spec = Spec(shape=(4,), vocab=len(TOKENS))
    right, wrong = (_masked(_Tokens(weights), spec, len(TOKENS)) for weights in (law, law.flip(0)))
    return Offer(right, Tensors(ids, spec=spec), wrong)


def _masked(model: nn.Module, spec: Spec, vocab: int) -> Flow:
    space = Discrete(vocab, mask=True)
    path = MixturePath(space, source=Mask(space))
    return Flow(
        model,
        spec=spec,
        geometry=space,
        source=Mask(space),
        path=path,
        objective=PosteriorMatching(path),
        solver=CTMCEuler(8),
    )


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

    def __init__(self, law: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(law.log())

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        known = nn.functional.one_hot(x.clamp_max(len(self.logits) - 1), len(self.logits)) * 60.0
        return torch.where((x == len(self.logits))[..., None], self.logits, known.to(self.logits.dtype))
