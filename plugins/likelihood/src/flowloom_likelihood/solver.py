"""Sampling from a bijection."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.layout import Layout
from flowloom.solvers import Solution, Solver
from flowloom.solvers.walk import Call, Hook, Walk
from flowloom.state import Cond, State
from flowloom_likelihood.field import KIND, BijectionField


class Push(Solver):
    """One evaluation of a bijection: noise to data forwards, data to noise on a decreasing span.

    What lies between the two ends has no meaning for a bijection, so a trajectory is its ends.

    Args:
        denoise: take the noise of training off samples by the flow's own score (`BijectionField.denoised`),
            which costs one evaluation more, with a gradient.
    """

    consumes = KIND

    def __init__(self, denoise: bool = False) -> None:
        super().__init__()
        self.denoise = denoise

    def generate(self, field: BijectionField, z: Tensor, call: Call) -> State:
        """Data of noise ``(batch, *event)``, counted in ``call``."""
        return call(z, 0.0)

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
        """Evaluate once; see `Solver.solve`.

        Raises:
            IncompatibleError: the field is no bijection, entries are given, or the span is another.
        """
        if not isinstance(field, BijectionField):
            raise IncompatibleError(f"push needs a bijection, and this field is a {field.kind}")
        if layout is not None:
            raise IncompatibleError("a bijection carries whole states; it has no given or padded entries")
        span = span or (0.0, 1.0)
        if set(span) != {0.0, 1.0}:
            raise IncompatibleError(f"a bijection goes from 0 to 1 or from 1 to 0, not over {span}")
        call = Call(field, cond, generator)
        walk = Walk(call, x0, span[0], keep=keep, on_step=on_step, steps=1)
        assert isinstance(x0, Tensor)
        if span[1] > span[0]:
            end = self.generate(field, x0, call)
            if self.denoise:
                call.nfe += 1
                end = field.denoised(end, call.cond)
        else:
            call.nfe += 1
            end, _ = field.pull(x0, call.cond)
        walk.arrive(end, span[1])
        return walk.solution()
