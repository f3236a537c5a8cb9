"""Adaptive Dormand-Prince with a PI controller."""

from __future__ import annotations

import math
from typing import Any

import torch

from flowloom.errors import SolverError
from flowloom.fields import Field, converted
from flowloom.layout import Layout
from flowloom.solvers.base import Solver
from flowloom.solvers.stepping import Retraction, move, slope_at_start
from flowloom.solvers.walk import Call, Hook, Solution, Walk, require_finite
from flowloom.state import Cond, State, leaves, map_state

_NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES: tuple[tuple[float, ...], ...] = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
# Difference between the fifth-order weights and the embedded fourth-order ones.
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


class Dopri5(Solver):
    """Dormand and Prince's 5(4) pair with a proportional-integral step controller.

    The step is shared by the batch; its error is the root mean square over all entries of the local error
    divided by ``atol + rtol * |x|``. The last stage of an accepted step is the first of the next. Step
    control follows Hairer, Norsett and Wanner (II.4) with Gustafsson's PI exponents.

    Args:
        rtol: relative tolerance.
        atol: absolute tolerance.
        max_nfe: evaluations after which the solver gives up.
        retraction: see `ExplicitRungeKutta`.
    """

    order = 5

    def __init__(
        self,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        max_nfe: int = 10_000,
        retraction: Retraction = "project",
    ) -> None:
        if rtol <= 0 or atol <= 0:
            raise ValueError(f"tolerances must be positive, got rtol={rtol}, atol={atol}")
        self.rtol, self.atol, self.max_nfe, self.retraction = rtol, atol, max_nfe, retraction

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
        layout: Layout | None = None,
    ) -> Solution:
        """Integrate with as many steps as the tolerances ask; see `Solver.solve`."""
        call = Call(converted(field, self.consumes), cond, generator, layout)
        geometry: Any = field.geometry
        t, end = span
        direction = 1.0 if end >= t else -1.0
        walk = Walk(call, x0, t, keep=keep, on_step=on_step)
        x = walk.x
        slope = call(x, t)
        h = self._first_step(call, x, slope, t, end)
        previous_error = 1.0
        while (end - t) * direction > 0:
            if call.nfe > self.max_nfe:
                raise SolverError(
                    f"dopri5 used {call.nfe} evaluations and is only at t = {t:.6g} of {end:g}; "
                    f"loosen rtol/atol (now {self.rtol:g}/{self.atol:g}), raise max_nfe, or use a fixed step"
                )
            h = min(h, abs(end - t))
            # A remainder of rounding size would otherwise become a step of its own.
            t_next = end if abs(end - t) - h < 1e-12 else t + direction * h
            dt = t_next - t
            slopes = [slope]
            for node, row in zip(_NODES[1:], _STAGES[1:], strict=True):
                candidate = move(geometry, x, dt, row, slopes, self.retraction)
                last = call(candidate, t + node * dt)
                slopes.append(slope_at_start(geometry, x, candidate, last, self.retraction))
            error = self._error(x, candidate, slopes, dt)
            if not math.isfinite(error):
                for node, k in zip(_NODES, slopes, strict=True):
                    for name, leaf in leaves(k):
                        require_finite(leaf, t + node * dt, f"the field {name}".rstrip())
                error = 1e6
            if error <= 1:
                replaced = walk.arrive(candidate, t_next)
                x, t = walk.x, walk.t
                slope = call(x, t) if replaced else last
                factor = 0.9 * max(error, 1e-10) ** (-0.7 / 5) * previous_error ** (0.4 / 5)
                previous_error = max(error, 1e-4)
            else:
                factor = max(0.2, 0.9 * error ** (-1 / 5))
            h *= min(10.0, max(0.2, factor))
            if h < 1e-10 * max(1.0, abs(t)):
                raise SolverError(
                    f"dopri5 needs a step below {h:.1e} at t = {t:.6g}; the field is not smooth there "
                    "(stop the span earlier, or use a fixed step)"
                )
        return walk.solution()

    def _scaled(self, x: State, y: State, value: State) -> float:
        """Root mean square of ``value / (atol + rtol max(|x|, |y|))`` over all entries; one device sync."""
        total, count = None, 0
        for (_, a), (_, b), (_, e) in zip(leaves(x), leaves(y), leaves(value), strict=True):
            scale = torch.maximum(a.abs(), b.abs()).mul_(self.rtol).add_(self.atol)
            part = (e / scale).square().sum(dtype=torch.float64)
            total = part if total is None else total + part
            count += e.numel()
        return math.sqrt(float(total) / max(count, 1)) if total is not None else 0.0

    def _error(self, x: State, y: State, slopes: list[State], dt: float) -> float:
        error: Any = None
        for weight, slope in zip(_ERROR, slopes, strict=True):
            if weight:
                scaled = map_state(lambda k, s=dt * weight: k * s, slope)
                error = scaled if error is None else map_state(torch.add, error, scaled)
        with torch.no_grad():
            return self._scaled(x, y, error)

    @torch.no_grad()
    def _first_step(self, call: Call, x: State, slope: State, t: float, end: float) -> float:
        size, speed = self._scaled(x, x, x), self._scaled(x, x, slope)
        if not math.isfinite(speed):
            for name, leaf in leaves(slope):
                require_finite(leaf, t, f"the field {name}".rstrip())
        h0 = 1e-6 if min(size, speed) < 1e-5 else 0.01 * size / speed
        h0 = min(h0, abs(end - t)) or 1e-6
        signed = h0 if end >= t else -h0
        probe = move(call.field.geometry, x, signed, (1.0,), [slope], self.retraction)
        bend = map_state(torch.sub, call(probe, t + signed), slope)
        curvature = self._scaled(x, x, bend) / h0
        steepest = max(speed, curvature)
        h1 = max(1e-6, h0 * 1e-3) if steepest <= 1e-15 else (0.01 / steepest) ** (1 / 5)
        return min(100 * h0, h1, abs(end - t)) or 1e-6

    def __repr__(self) -> str:
        return f"Dopri5(rtol={self.rtol:g}, atol={self.atol:g})"
