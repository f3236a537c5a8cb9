"""Runge-Kutta methods that choose their steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowloom.errors import SolverError
from flowloom.fields import Field, read_as
from flowloom.geometry import Geometry, Product
from flowloom.layout import Layout
from flowloom.solvers.base import Solver
from flowloom.solvers.controller import PIController
from flowloom.solvers.explicit import DormandPrince, ExplicitRungeKutta
from flowloom.solvers.stepping import Retraction, move
from flowloom.solvers.walk import Call, Hook, Solution, Walk, require_finite
from flowloom.state import Cond, State, leaves, map_state

_EPSILON = float(torch.finfo(torch.float64).eps)
"""Times are double precision numbers."""


@dataclass(frozen=True)
class _Trial:
    """A step that may be accepted.

    Args:
        x: state at its end.
        error: estimate of its local error, in the structure of the state.
        slope: the field at the end, where that is known already.
        slopes: of all stages, with their times; where the error is not finite, one of them says why.
    """

    x: State
    error: State
    slope: State | None
    slopes: list[tuple[float, State]]


class Adaptive(Solver):
    """Any explicit Runge-Kutta method with steps as long as a tolerance allows.

    The step is shared by the batch; its error is the root mean square of the local error divided by
    ``atol + rtol * |x|``, over all entries that are real and free. Where a step shrinks the state as a whole
    (noise of 80 to data of 1), x counts as if it were shrunk already: what is small beside the noise is not
    small beside the data. The local error comes from the method's embedded one, or, where it has none (rk4),
    from two half steps, whose result is then kept. A stage that two steps share is evaluated once.

    Args:
        method: dormand-prince where left out; its own ``steps`` are not used.
        rtol: relative tolerance.
        atol: absolute tolerance.
        max_nfe: evaluations after which the solver gives up.
        controller: of the step; a `PIController` with its defaults where left out.

    Raises:
        ValueError: a tolerance is not positive, or no stage of the method stands at the end of the step, so
            that its error could not tell what happens there.
    """

    def __init__(
        self,
        method: ExplicitRungeKutta | None = None,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        max_nfe: int = 10_000,
        controller: PIController | None = None,
    ) -> None:
        if not (0 < rtol < math.inf and 0 < atol < math.inf):
            raise ValueError(f"tolerances must be positive and finite, got rtol={rtol}, atol={atol}")
        if max_nfe < 1:
            raise ValueError(f"max_nfe must be at least 1, got {max_nfe}")
        self.method = method or DormandPrince()
        if self.method.tableau.nodes[-1] != 1:
            raise ValueError(
                f"{type(self.method).__name__} looks nowhere at the end of its step, so its steps cannot be "
                "chosen by its error; add a stage at node 1 to its tableau (of weight 0, where need be)"
            )
        self.rtol, self.atol, self.max_nfe = rtol, atol, max_nfe
        self.controller = controller or PIController()
        self.order = self.method.order  # type: ignore[misc]

    @property
    def error_order(self) -> int:
        """Order of the local error that is estimated."""
        return self.method.tableau.error_order or self.method.order + 1

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
        """Integrate with as many steps as the tolerances ask; see `Solver.solve`."""
        call = Call(read_as(field, self.consumes), cond, generator, layout)
        t, end = span or field.span
        direction, whole = (1.0 if end >= t else -1.0), abs(end - t)
        walk = Walk(call, x0, t, keep=keep, on_step=on_step)
        x = walk.x
        slope = call(x, t)
        h = self._first_step(call, x, slope, t, end)
        previous_error = 1.0
        while (end - t) * direction > 0:
            if call.nfe > self.max_nfe:
                raise SolverError(
                    f"{self._name} used {call.nfe} evaluations and is only at t = {t:.6g} of {end:g}; "
                    f"loosen rtol/atol (now {self.rtol:g}/{self.atol:g}), raise max_nfe, or use a fixed step"
                )
            h = min(h, abs(end - t))
            # A remainder of rounding size would otherwise become a step of its own.
            t_next = end if abs(end - t) - h < 1e-12 * whole else t + direction * h
            trial = self._try(call, x, t, t_next - t, slope)
            error = self._error(x, trial.x, trial.error, call.layout)
            if not math.isfinite(error):
                for time, k in trial.slopes:
                    for name, leaf in leaves(k):
                        require_finite(leaf, time, f"the field {name}".rstrip())
                error = 1e6
            if error <= 1:
                replaced = walk.arrive(trial.x, t_next)
                x, t = walk.x, walk.t
                known = trial.slope is not None and not replaced
                slope = trial.slope if known else call(x, t) if t != end else slope  # type: ignore[assignment]
                h *= self.controller.accepted(error, previous_error, self.error_order)
                previous_error = max(error, 1e-4)
            else:
                h *= self.controller.rejected(error, self.error_order)
            if h < max(1e-10 * whole, 4 * _EPSILON * abs(t)) and t != end:
                raise SolverError(
                    f"{self._name} needs a step below {h:.1e} at t = {t:.6g}; the field is not smooth there "
                    "(stop the span earlier, or use a fixed step)"
                )
        return walk.solution()

    def _try(self, call: Call, x: State, t: float, dt: float, slope: State) -> _Trial:
        tableau, how = self.method.tableau, self.method.retraction
        geometry = call.field.geometry
        if not tableau.error:
            return self._halved(call, x, t, dt, slope)
        stages = len(tableau.weights)
        slopes, (stage, last) = self.method.slopes(call, x, t, dt, slope, stages)
        error: Any = None
        for weight, k in zip(tableau.error, slopes, strict=True):
            if weight:
                scaled = map_state(lambda v, s=dt * weight: v * s, k)
                error = scaled if error is None else map_state(torch.add, error, scaled)
        timed = [(t + node * dt, k) for node, k in zip(tableau.nodes, slopes, strict=True)]
        if tableau.last_is_first:
            return _Trial(stage, error, last, timed)
        return _Trial(move(geometry, x, dt, tableau.weights, slopes, how), error, None, timed)

    def _halved(self, call: Call, x: State, t: float, dt: float, slope: State) -> _Trial:
        """One step and two half ones: their difference is ``2^p - 1`` times the error of the halves."""
        tableau, how, geometry = self.method.tableau, self.method.retraction, call.field.geometry
        stages, timed = len(tableau.weights), list[tuple[float, State]]()

        def step(start: State, time: float, length: float, first: State) -> State:
            slopes, _ = self.method.slopes(call, start, time, length, first, stages)
            timed.extend((time + c * length, k) for c, k in zip(tableau.nodes, slopes, strict=True))
            return move(geometry, start, length, tableau.weights, slopes, how)

        whole = step(x, t, dt, slope)
        middle = step(x, t, dt / 2, slope)
        end = step(middle, t + dt / 2, dt / 2, call(middle, t + dt / 2))
        off = _difference(geometry, end, whole)
        return _Trial(end, map_state(lambda e: e / (2**self.method.order - 1), off), None, timed)

    def _error(self, x: State, y: State, error: State, layout: Layout | None) -> float:
        """How much of what is allowed the error of a step from ``x`` to ``y`` is."""
        with torch.no_grad():
            return self._scaled(x, y, error, layout)

    def _scaled(self, x: State, y: State, value: State, layout: Layout | None) -> float:
        """Root mean square of ``value / (atol + rtol max(s|x|, |y|))`` over what moves; one device sync.

        ``s`` is by how much the state shrinks, at most 1.
        """
        total, count = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for (name, a), (_, b), (_, e) in zip(leaves(x), leaves(y), leaves(value), strict=True):
            own = None if layout is None else layout.at(name)

            def summed(v: Tensor, own: Any = own) -> Tensor:
                whole: Tensor = v.sum(dtype=torch.float64) if own is None else own.sum(v.double()).sum()
                return whole

            before, after = summed(a.square()), summed(b.square())
            # A state of zeros has nothing to shrink.
            shrunk = torch.where(before > after, after / before, 1.0).sqrt().to(a.dtype)
            scale = torch.maximum(a.abs() * shrunk, b.abs()).mul_(self.rtol).add_(self.atol)
            total = total.to(e.device) + summed((e / scale).square())
            count = count.to(e.device) + (e.numel() if own is None else summed(torch.ones_like(scale)))
        return math.sqrt(float(total / count.to(total.device).clamp_min(1)))

    @torch.no_grad()
    def _first_step(self, call: Call, x: State, slope: State, t: float, end: float) -> float:
        size, speed = self._scaled(x, x, x, call.layout), self._scaled(x, x, slope, call.layout)
        if not math.isfinite(speed):
            for name, leaf in leaves(slope):
                require_finite(leaf, t, f"the field {name}".rstrip())
        # Without a scale to go by, a step that is short beside the span, too: it must be able to grow.
        least = 1e-6 * max(1.0, abs(end - t))
        h0 = least if min(size, speed) < 1e-5 else 0.01 * size / speed
        h0 = min(h0, abs(end - t)) or 1e-6
        signed = h0 if end >= t else -h0
        probe = move(call.field.geometry, x, signed, (1.0,), [slope], self.method.retraction)
        bend = map_state(torch.sub, call(probe, t + signed), slope)
        curvature = self._scaled(x, x, bend, call.layout) / h0
        steepest = max(speed, curvature)
        h1 = max(least, h0 * 1e-3) if steepest <= 1e-15 else (0.01 / steepest) ** (1 / self.error_order)
        return min(100 * h0, h1, abs(end - t)) or 1e-6

    @property
    def _name(self) -> str:
        return f"adaptive {type(self.method).__name__}"

    def __repr__(self) -> str:
        return f"Adaptive({type(self.method).__name__}, rtol={self.rtol:g}, atol={self.atol:g})"


class Dopri5(Adaptive):
    """Dormand and Prince's 5(4) pair with its own tolerance: `Adaptive` as it is used most.

    Args:
        rtol: relative tolerance.
        atol: absolute tolerance.
        max_nfe: evaluations after which the solver gives up.
        retraction: see `ExplicitRungeKutta`.
    """

    def __init__(
        self,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        max_nfe: int = 10_000,
        retraction: Retraction = "project",
    ) -> None:
        super().__init__(DormandPrince(retraction=retraction), rtol, atol, max_nfe)

    @property
    def _name(self) -> str:
        return "dopri5"

    def __repr__(self) -> str:
        return f"Dopri5(rtol={self.rtol:g}, atol={self.atol:g})"


def _difference(geometry: Geometry, x: State, y: State) -> State:
    """``x - y``, the short way round where coordinates wrap."""
    if isinstance(geometry, Product):
        assert isinstance(x, dict) and isinstance(y, dict)
        return {name: _difference(g, x[name], y[name]) for name, g in geometry.parts.items()}
    if geometry.straight or not geometry.flat:
        return map_state(torch.sub, x, y)
    way: State = geometry.log(y, x)
    return way
