"""Solvers that descend: sampling by optimisation."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.geometry import Geometry
from flowloom.layout import Layout
from flowloom.solvers import Solution
from flowloom.solvers.base import FixedGrid
from flowloom.solvers.stepping import move
from flowloom.solvers.walk import Call, Hook, Walk, require_finite
from flowloom.state import Cond, State, batch_size, first_leaf, map_state, take

__all__ = ["GradientDescent", "Nesterov"]

EVALUATIONS = "evaluations"
"""Under this name `Solution.cond` tells how many evaluations a row took, where rows stop by themselves."""


class GradientDescent(FixedGrid):
    r"""Gradient descent on a landscape, :math:`x \leftarrow x - \eta \nabla E(x)` (2510.02300, section 3.4).

    There is no time: that of the solve only tells how much of it is done, and any span takes all steps. On
    curved spaces a step follows the retraction of the geometry. With a ``tolerance`` every sample stops when
    the norm of its own gradient is below it (adaptive compute); samples at rest are evaluated no more,
    ``Solution.cond["evaluations"]`` says how many each took (the last one, which told it to stop, included),
    and ``nfe`` is that of the slowest. The state that a hook puts in place starts anew.

    Args:
        steps: at most.
        rate: eta. The whole way is ``rate * steps`` times the scale of the landscape: to be chosen together.
        tolerance: gradient norm of a sample at rest; 0 takes all steps.
    """

    consumes = "gradient"

    def __init__(self, steps: int = 250, rate: float = 0.003, tolerance: float = 0.0) -> None:
        super().__init__(steps)
        if rate <= 0 or tolerance < 0:
            raise ValueError(
                f"rate must be positive and tolerance not negative, got rate={rate}, tolerance={tolerance}"
            )
        self.rate, self.tolerance = rate, tolerance

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One step without momentum."""
        return _moved(call.field.geometry, x, -self.rate, _asked(call, x, t, None))

    def ahead(self, geometry: Geometry, x: State, previous: State | None) -> State:
        """Where the gradient is taken for a step from ``x``: here.

        Args:
            geometry: of the states.
            x: where the step begins.
            previous: the gradient of the step before; None at the start.
        """
        return x

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
        """Descend from ``x0``; see `flowloom.solvers.Solver.solve`.

        Raises:
            IncompatibleError: the span is turned round, and descent has no way back.
        """
        call = Call(self.prepare(field), cond, generator, layout)
        times = self.times(span or call.field.span)
        if times[-1] < times[0]:
            raise IncompatibleError(
                f"{type(self).__name__} has no way back from data to noise; use an ODE solver such as rk4"
            )
        adaptive, geometry = self.tolerance > 0, call.field.geometry
        walk = Walk(call, x0, times[0], keep=keep, on_step=on_step, steps=None if adaptive else self.steps)
        everyone = torch.arange(batch_size(walk.x), device=first_leaf(walk.x).device)
        spent, awake = torch.zeros_like(everyone), everyone
        previous: Any = None
        for t, t_next in pairwise(times):
            x = walk.x
            here = self.ahead(geometry, x, previous)
            rows = None if len(awake) == len(everyone) else awake
            before = call.nfe
            gradient = _asked(call, here, t, rows)
            if adaptive:
                spent[awake] += call.nfe - before
                size = geometry.norm(_some(here, rows), gradient)
                require_finite(size, t, "the norm of the gradient")
                moving = size >= self.tolerance
                awake, gradient = awake[moving], take(gradient, moving)
                if not len(awake):
                    walk.arrive(x, times[-1])
                    break
                rows = None if len(awake) == len(everyone) else awake
            previous = gradient if rows is None else _put(previous, x, rows, gradient)
            moved = _moved(geometry, _some(x, rows), -self.rate, gradient)
            if walk.arrive(moved if rows is None else _put(x, x, rows, moved), t_next):
                awake, previous = everyone, None
        solution = walk.solution()
        return replace(solution, cond={**solution.cond, EVALUATIONS: spent}) if adaptive else solution

    def __repr__(self) -> str:
        return f"{type(self).__name__}(steps={self.steps}, rate={self.rate:g}, tolerance={self.tolerance:g})"


class Nesterov(GradientDescent):
    r"""Descent with a look ahead, as the paper has it:
    :math:`x_{k+1} = x_k - \eta \nabla E(x_k + \mu (x_k - x_{k-1}))`.

    The step starts at x and not at the point of the look ahead, so momentum does not pile up.

    Args:
        steps: see `GradientDescent`.
        rate: eta.
        momentum: mu, in [0, 1); 0 is gradient descent.
        tolerance: see `GradientDescent`; the gradient is that at the look ahead.
    """

    def __init__(
        self, steps: int = 250, rate: float = 0.0017, momentum: float = 0.3, tolerance: float = 0.0
    ) -> None:
        super().__init__(steps, rate, tolerance)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        self.momentum = momentum

    def ahead(self, geometry: Geometry, x: State, previous: State | None) -> State:
        """``x - eta mu`` times the gradient of the step before."""
        return x if previous is None else _moved(geometry, x, -self.rate * self.momentum, previous)


def _moved(geometry: Geometry, x: State, by: float, direction: State) -> State:
    return move(geometry, x, by, (1.0,), [direction])


def _asked(call: Call, x: State, t: float, rows: Tensor | None) -> State:
    """The gradient of some rows (of all where None), 0 where nothing moves; only they are paid for."""
    layout = call.layout
    if rows is None or not call.field.batch_independent:
        gradient = call(x, t)
        if layout is not None:
            gradient = layout.still(gradient)
        return _some(gradient, rows)
    own = None if layout is None else layout.take(rows)
    inner = Call(call.field, {k: v[rows] for k, v in call.cond.items()}, call.generator, own)
    gradient = inner(take(x, rows), t)
    call.nfe += inner.nfe
    return gradient if own is None else own.still(gradient)


def _some(x: State, rows: Tensor | None) -> State:
    return x if rows is None else take(x, rows)


def _put(into: State | None, like: State, rows: Tensor, values: State) -> State:
    """``into`` (zeros where None) with other values at ``rows``."""
    base = map_state(torch.zeros_like, like) if into is None else into
    return map_state(lambda a, b: a.index_copy(0, rows, b), base, values)
