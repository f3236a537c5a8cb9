"""The likelihood bound of a discrete flow as a score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.scores import Score
from flowloom_sequences.elbo import nll_bound, require_plain


class NLLBound(Score):
    r"""Upper bound on the negative log likelihood of held-out sequences, a token.

    The evidence bound of the jump process (`flowloom_sequences.elbo.nll_bound`): with the mask source and an
    exact posterior it *is* the negative log likelihood. ``nll_bound`` is in nats a token, ``bits`` the same
    in bits (bits a character, for text), ``perplexity_bound`` its exponential. Padding and prompts count
    nothing.

    Args:
        draws: network evaluations a sequence; the estimate is unbiased at any number.
        n: score the first ``n`` examples only; all of them where None.
        batch: sequences at a time.
    """

    better: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {
        "nll_bound": "lower",
        "bits": "lower",
        "perplexity_bound": "lower",
    }

    def __init__(self, draws: int = 16, n: int | None = None, batch: int = 256) -> None:
        if draws < 1 or batch < 1 or (n is not None and n < 1):
            raise ValueError(f"draws, n and batch must be at least 1, got {draws}, {n} and {batch}")
        self.draws, self.n, self.batch = draws, n, batch

    def require(self, flow: Flow) -> None:
        """Ask for a posterior on a mixture path."""
        require_plain(flow.path)
        if flow.field().kind != "posterior":
            raise IncompatibleError("score nll-bound needs a network that predicts x1 (objective: posterior)")

    @torch.no_grad()
    def __call__(self, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        """``nll_bound``, ``bits`` and ``perplexity_bound``."""
        self.require(flow)
        count = len(examples) if self.n is None else min(self.n, len(examples))
        if count == 0:
            raise ShapeError("score nll-bound: there is no example to score")
        total, tokens = 0.0, 0
        with flow.evaluating():
            for i, rows in enumerate(torch.arange(count).split(self.batch)):
                part = examples.take(rows)
                assert isinstance(part.x, Tensor)
                generator = torch.Generator(part.x.device).manual_seed(seed + i)
                layout = part.layout or Layout.of(flow.spec, part.cond)
                bound = nll_bound(
                    flow.field(),
                    flow.source,
                    part.x,
                    cond=part.cond,
                    layout=layout,
                    draws=self.draws,
                    generator=generator,
                )
                total += float(bound.sum())
                ones = torch.ones_like(part.x)
                tokens += int((ones if layout is None else layout.still(ones)).sum())
        nats = total / max(tokens, 1)
        return {"nll_bound": nats, "bits": nats / math.log(2), "perplexity_bound": math.exp(nats)}
