"""Jump processes with steps chosen by how much they would change."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError, SolverError
from flowloom.fields import Field
from flowloom.layout import Layout, mean_of_entries
from flowloom.paths import MixturePath
from flowloom.solvers.base import Solver
from flowloom.solvers.categorical import probability_of
from flowloom.solvers.ctmc import TauLeaping
from flowloom.solvers.walk import Call, Hook, Solution, Walk
from flowloom.state import Cond, State


class AdaptiveCTMC(Solver):
    r"""Leaps of a length at which a fixed share of the tokens is expected to change.

    A waiting token arrives within a step with the integrated probability of `TauLeaping`, and then differs
    from the token x there with probability :math:`1 - p_{1|t}(x|x_t)`. The step is the longest for which the
    mean of the product over all tokens of the batch is at most epsilon: long where little happens, short
    where much does, and always within the bound of 2407.15595 (probabilities in [0, 1]).

    Args:
        change: epsilon, the share of tokens that may change within one step.
        smallest: shortest step.
        max_nfe: evaluations after which the solver gives up.
        temperature: divides the logits.
        top_p: draw only among the likeliest tokens that together hold this probability.
    """

    consumes = "posterior"
    order = 1
    stochastic = True

    def __init__(
        self,
        change: float = 0.02,
        smallest: float = 1e-3,
        max_nfe: int = 2000,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> None:
        if not 0 < change <= 1:
            raise ValueError(f"change is a share of the tokens in (0, 1], got {change}")
        if not 0 < smallest <= 1:
            raise ValueError(f"smallest must lie in (0, 1], got {smallest}")
        if max_nfe < 1:
            raise ValueError(f"max_nfe must be at least 1, got {max_nfe}")
        self.change, self.smallest, self.max_nfe = change, smallest, max_nfe
        self.leap = TauLeaping(1, temperature=temperature, top_p=top_p)

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
        """Leap from data-free to data; see `Solver.solve`.

        Raises:
            SolverError: more than ``max_nfe`` evaluations would be needed.
        """
        call = Call(self.leap.prepare(field), cond, generator, layout)
        path = call.field.path
        if not isinstance(path, MixturePath) or not isinstance(x0, Tensor):
            raise IncompatibleError("ctmc-adaptive carries one tensor of tokens along path: mixture")
        t, end = span or path.span
        if end <= t:
            raise IncompatibleError("ctmc-adaptive runs from source to data; its span must increase")
        walk = Walk(call, x0, t, keep=keep, on_step=on_step)
        while t < end:
            if call.nfe >= self.max_nfe:
                raise SolverError(
                    f"ctmc-adaptive used {call.nfe} evaluations and is only at t = {t:.4g}; "
                    f"raise change (now {self.change:g}) or max_nfe"
                )
            x = walk.x
            logits = call(x, t)
            assert isinstance(logits, Tensor) and isinstance(x, Tensor)
            h = self._length(x, logits, path, t, end, call.layout)
            last = t + h >= end - 1e-9
            t_next = end if last else t + h
            walk.arrive(self.leap.advance(logits, x, path, t, t_next, last, generator), t_next)
            t = t_next
        return walk.solution()

    def _length(
        self, x: Tensor, logits: Tensor, path: MixturePath, t: float, end: float, layout: Layout | None
    ) -> float:
        """The step after which the expected share of changed tokens is ``change``."""
        if path.absorbing:
            leaves = (x == path.vocab).double()
        else:
            stay = probability_of(logits.flatten(0, -2), x.flatten(), self.leap.temperature)
            leaves = (1 - stay).double().reshape(x.shape)
        leaving = float(mean_of_entries(leaves, layout.free if layout is not None else None).mean())
        wanted = self.change / max(leaving, 1e-12)
        if wanted >= path.arrival(t, end):
            return end - t
        # Arrival grows with the step, so halving finds the longest that does not exceed what is wanted.
        low, high = 0.0, end - t
        for _ in range(24):
            middle = (low + high) / 2
            low, high = (middle, high) if path.arrival(t, t + middle) <= wanted else (low, middle)
        return max(self.smallest, low)
