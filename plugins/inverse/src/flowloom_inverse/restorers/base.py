"""The restorer contract: a solver that knows what was measured."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Field, Wrapped
from flowloom.solvers import Solver
from flowloom.solvers.base import FixedGrid
from flowloom.solvers.walk import Call
from flowloom.state import State
from flowloom_inverse.problem import Problem

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Restorer", "Split", "StepwiseRestorer", "one_tensor"]


class Restorer(Solver):
    """A solver of one inverse problem: ``flow.solve(n, solver=restorer.of(problem))``.

    What it returns are states of the flow, a row for each row of the problem. Everything else is as of any
    solver: it keeps nothing between calls, and draws from the generator that it is given.
    """

    _problem: Problem | None = None

    def of(self, problem: Problem) -> Self:
        """The same restorer, told a problem."""
        other = copy.copy(self)
        other._problem = problem
        return other

    @property
    def problem(self) -> Problem:
        """What it is told.

        Raises:
            IncompatibleError: nothing.
        """
        if self._problem is None:
            raise IncompatibleError(
                f"{type(self).__name__} answers a measurement: use it in task: restore, or tell it one by .of"
            )
        return self._problem


class StepwiseRestorer(Restorer, FixedGrid):
    """One that walks from source to data and bends each step of a velocity field; on affine paths.

    Args:
        steps: number of equal steps.
        grid: times from 0 to 1 to walk instead.
    """

    def prepare(self, field: Field) -> Split:
        """The field as a velocity, which the path must split into data and noise.

        Raises:
            IncompatibleError: the path is not affine in flat space, or the source not Gaussian.
        """
        path, source = field.path, field.source
        if path is None or not path.affine or path.schedule is None or path.parts:
            raise IncompatibleError(
                f"{type(self).__name__} splits a velocity into data and noise, which path: affine can"
            )
        if source is None or not source.gaussian:
            raise IncompatibleError(f"{type(self).__name__} draws fresh noise of source: gaussian")
        self.problem  # noqa: B018  (there has to be one)
        return Split(super().prepare(field), self.times(field.span))

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One step."""
        assert isinstance(call.field, Split)
        return self.bent(call, call.field, one_tensor(x), t, t_next)

    def bent(self, call: Call, field: Split, x: Tensor, t: float, t_next: float) -> Tensor:
        """One step of a state that is one tensor, by what ``call`` says of the velocity ``field``."""
        raise NotImplementedError


def one_tensor(x: Any) -> Tensor:
    """The state, which is one tensor of real numbers.

    Raises:
        ShapeError: it is a product, or made of tokens.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise ShapeError("inverse problems are asked of states that are one tensor of real numbers")
    return x


class Split(Wrapped):
    r"""A velocity whose path, asked once for all times of a walk, splits it into data and noise.

    On an affine path the data are :math:`a\,v + b\,x`, and all rows are at one time: the path is asked for
    the two numbers rather than for all entries.

    Args:
        field: the velocity.
        times: of the walk; others are asked one by one.
    """

    def __init__(self, field: Field, times: Sequence[float]) -> None:
        super().__init__(field)
        self._known: dict[torch.dtype, dict[float, _Level]] = {}
        self._times = tuple(times)

    def level(self, t: float, dtype: torch.dtype = torch.float64) -> _Level:
        """What the path says of a time, in the precision of a state."""
        known = self._known.setdefault(dtype, {})
        if not known:
            known.update(self._asked(self._times, dtype))
        if t not in known:
            known.update(self._asked((t,), dtype))
        return known[t]

    def ends(self, velocity: Any, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """What a velocity says of both ends of the path: predicted data and noise."""
        level = self.level(t, x.dtype)
        data = torch.add(x if level.of_state == 1 else level.of_state * x, velocity, alpha=level.of_velocity)
        # The noise is what the path adds to these data; a second conversion would say the same.
        return data, torch.sub(x, data, alpha=level.alpha) / level.sigma

    def _asked(self, times: Sequence[float], dtype: torch.dtype) -> dict[float, _Level]:
        path = self.path
        assert path is not None
        assert path.schedule is not None
        exact = torch.tensor(times, dtype=torch.float64)
        # The path stays off its ends by what the precision of the state needs.
        rounded = exact.to(torch.promote_types(dtype, torch.float32))
        one, none = torch.ones_like(rounded), torch.zeros_like(rounded)
        parts = [
            path.schedule.alpha(exact),
            path.schedule.sigma(exact),
            path.convert(one, none, rounded, "velocity", "data", self.source),
            path.convert(none, one, rounded, "velocity", "data", self.source),
        ]
        columns = [part.tolist() for part in parts if isinstance(part, Tensor)]
        return {t: _Level(*values) for t, *values in zip(times, *columns, strict=True)}


@dataclass(frozen=True)
class _Level:
    """Numbers of one time: the path's, and what a velocity and a state weigh in the predicted data."""

    alpha: float
    sigma: float
    of_velocity: float
    of_state: float
