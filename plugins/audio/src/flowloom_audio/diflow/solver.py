"""One token after another: what a discrete flow saves."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.fields import Field, read_as
from flowloom.layout import Layout
from flowloom.paths import MixturePath
from flowloom.solvers.base import Solver
from flowloom.solvers.categorical import draw
from flowloom.solvers.walk import Call, Hook, Solution, Walk
from flowloom.state import Cond, State

__all__ = ["TokenByToken"]


class TokenByToken(Solver):
    """Draws every token given all before it, in their order: one network call each.

    With a trained masked flow this is autoregression by its own posteriors (order-agnostic autoregression
    2110.02037): the flow has learned from random sets of tokens that are there, and those before a token are
    one of them. No two tokens are drawn at once, so nothing is lost by drawing them apart: the floor of what
    fewer, parallel steps can reach with the same network. It is told the time at which as many tokens have
    arrived.

    Args:
        temperature: divides the logits; below 1 sharpens.
    """

    consumes = "posterior"
    stochastic = True

    def __init__(self, temperature: float = 1.0) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def solve(
        self,
        field: Field,
        x0: State,
        *,
        cond: Cond | None = None,
        span: tuple[float, float] | None = None,
        generator: torch.Generator | None = None,
        keep: int = 0,
        on_step: Hook | None = None,
        layout: Layout | None = None,
    ) -> Solution:
        """One token at a time; see `Solver.solve`.

        Raises:
            IncompatibleError: the path does not start at the mask, or only a part of it is to be walked.
        """
        path = field.path
        if not isinstance(path, MixturePath) or not path.absorbing or not isinstance(x0, Tensor):
            raise IncompatibleError("token-by-token fills in masks of one tensor; use source: mask")
        if span not in (None, path.span):
            raise IncompatibleError(f"token-by-token walks all of {path.span}, not {span}")
        call = Call(read_as(field, "posterior"), cond, generator, layout)
        walk = Walk(call, x0, path.span[0], keep=keep, on_step=on_step)
        assert isinstance(walk.x, Tensor)
        start = walk.x.flatten(1)
        free = torch.ones_like(walk.x, dtype=torch.bool)
        if layout is not None:
            free = layout.zero(free)
        # Places that no row has masked, or real, need no call.
        places = ((start == path.vocab) & free.flatten(1)).any(0).nonzero()[:, 0].tolist()
        for i, place in enumerate(places):
            assert isinstance(walk.x, Tensor)
            logits = call(walk.x, walk.t)
            assert isinstance(logits, Tensor)
            x = walk.x.flatten(1).clone()
            fresh = draw(logits.flatten(1, -2)[:, place], self.temperature, generator)
            x[:, place] = torch.where(x[:, place] == path.vocab, fresh, x[:, place])
            if i == len(places) - 1:  # what is left are masks in padding
                x = torch.where(x == path.vocab, torch.zeros_like(x), x)
            share = torch.tensor((i + 1) / len(places), dtype=torch.float64)
            walk.arrive(x.reshape(walk.x.shape), _time(path, share))
        return walk.solution()


def _time(path: MixturePath, share: Tensor) -> float:
    """When a share of all tokens has arrived."""
    return float(path.schedule.time_of_ratio(share / (1 - share)))
