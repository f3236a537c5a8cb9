"""Jump processes with steps chosen by how much they would change."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError, SolverError
from flowloom.fields import Field
from flowloom.paths import MixturePath
from flowloom.solvers.base import Evaluator, Hook, Solution, Solver, kept_indices
from flowloom.solvers.categorical import probability_of
from flowloom.solvers.ctmc import TauLeaping
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
        top_p: see `CTMCEuler`.
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
        self.change, self.smallest, self.max_nfe = change, smallest, max_nfe
        self.leap = TauLeaping(1, temperature=temperature, top_p=top_p)

    def solve(
        self,
        field: Field,
        x0: State,
        *,
        cond: Cond | None = None,
        span: tuple[float, float] = (0.0, 1.0),
        generator: torch.Generator | None = None,
        keep: int = 0,
        on_step: Hook | None = None,
    ) -> Solution:
        """Leap from data-free to data; see `Solver.solve`.

        Raises:
            SolverError: more than ``max_nfe`` evaluations would be needed.
        """
        evaluate = Evaluator(self.leap.prepare(field), cond or {})
        path = evaluate.field.path
        if not isinstance(path, MixturePath) or not isinstance(x0, Tensor) or span[1] <= span[0]:
            raise IncompatibleError("ctmc-adaptive carries one tensor of tokens forwards along path: mixture")
        t, end = span
        x: Tensor = x0
        times, states = [t], [x]
        while t < end:
            if evaluate.nfe >= self.max_nfe:
                raise SolverError(
                    f"ctmc-adaptive used {evaluate.nfe} evaluations and is only at t = {t:.4g}; "
                    f"raise change (now {self.change:g}) or max_nfe"
                )
            logits = evaluate(x, t)
            assert isinstance(logits, Tensor)
            h = self._length(x, logits, path, t, end)
            last = t + h >= end - 1e-9
            t_next = end if last else t + h
            moved = self.leap.advance(logits, x, path, t, t_next, last, generator, evaluate.cond)
            assert isinstance(moved, Tensor)
            x, t = moved, t_next
            if on_step is not None:
                replaced = on_step(x, t)
                x = replaced if isinstance(replaced, Tensor) else x
            if keep:
                times.append(t)
                states.append(x)
        kept = sorted(kept_indices(len(times), keep))
        return Solution(x, evaluate.nfe, tuple(times[i] for i in kept), [states[i] for i in kept])

    def _length(self, x: Tensor, logits: Tensor, path: MixturePath, t: float, end: float) -> float:
        """The step after which the expected share of changed tokens is ``change``."""
        if path.absorbing:
            leaving = float((x == path.vocab).double().mean())
        else:
            stay = probability_of(logits.flatten(0, -2), x.flatten(), self.leap.temperature)
            leaving = float((1 - stay).double().mean())
        wanted = self.change / max(leaving, 1e-12)
        if wanted >= path.arrival(t, end):
            return end - t
        # Arrival grows with the step, so halving finds the longest that does not exceed what is wanted.
        low, high = 0.0, end - t
        for _ in range(24):
            middle = (low + high) / 2
            low, high = (middle, high) if path.arrival(t, t + middle) <= wanted else (low, middle)
        return max(self.smallest, low)
