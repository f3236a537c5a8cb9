"""The restorer contract: a solver that knows what was measured."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Field
from flowloom.solvers import Solver
from flowloom.solvers.base import FixedGrid
from flowloom.solvers.walk import Call
from flowloom.state import State
from flowloom_inverse.problem import Problem

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Restorer", "StepwiseRestorer", "ends", "one_tensor"]


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

    def prepare(self, field: Field) -> Field:
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
        return super().prepare(field)

    def step(self, call: Call, x: State, t: float, t_next: float, *, last: bool) -> State:
        """One step."""
        return self.bent(call, one_tensor(x), t, t_next)

    def bent(self, call: Call, x: Tensor, t: float, t_next: float) -> Tensor:
        """One step of a state that is one tensor."""
        raise NotImplementedError


def one_tensor(x: Any) -> Tensor:
    """The state, which is one tensor of real numbers.

    Raises:
        ShapeError: it is a product, or made of tokens.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise ShapeError("inverse problems are asked of states that are one tensor of real numbers")
    return x


def ends(field: Field, velocity: Any, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """What a velocity says of both ends of the path: predicted data and noise."""
    path = field.path
    assert path is not None
    data = path.convert(velocity, x, x.new_full((len(x),), t), "velocity", "data", field.source)
    assert isinstance(data, Tensor)
    # The noise is what the path adds to these data; a second conversion would say the same.
    alpha, sigma = at(field, t)
    return data, torch.sub(x, data, alpha=alpha) / sigma


def at(field: Field, t: float) -> tuple[float, float]:
    """Alpha and sigma of the path at a time."""
    assert field.path is not None
    assert field.path.schedule is not None
    schedule, time = field.path.schedule, torch.tensor(t, dtype=torch.float64)
    return float(schedule.alpha(time)), float(schedule.sigma(time))
