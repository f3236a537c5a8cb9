"""Answers without a flow's help, or with no more of it than two moments: what a flow has to beat."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.layout import Layout
from flowloom.solvers import Solution
from flowloom.solvers.walk import Hook
from flowloom.state import Cond, State, expand
from flowloom_inverse.problem import Problem
from flowloom_inverse.restorers.base import Restorer

__all__ = ["PseudoInverse", "Rule", "Smoothest", "Wiener"]


class Rule(Restorer):
    """Answers in data, without walking."""

    @abstractmethod
    def answer(self, problem: Problem) -> Tensor:
        """Data, a row for each row that was measured."""

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
        """The answer; the field is not asked."""
        x = self.problem.encode(self.answer(self.problem))
        return Solution(x, 0, cond=cond or {})


class PseudoInverse(Rule):
    """``A^+ y``: of all that measure so, the data of the smallest norm."""

    def answer(self, problem: Problem) -> Tensor:
        """Bring the measurement back."""
        return problem.operator.back(problem.y, problem.drawn)


class Smoothest(Rule):
    r"""The smoothest answer: :math:`\arg\min_x \|A x - y\|^2 + \lambda \|\nabla x\|^2` (Tikhonov).

    With a small weight this fills gaps of a series by straight lines, and holes of an image by the harmonic
    function of their border.

    Args:
        weight: lambda; about the variance of the noise over that of a difference of neighbours.
        iterations: of conjugate gradients, at most.
    """

    def __init__(self, weight: float = 1e-3, iterations: int = 200) -> None:
        if not weight > 0 or iterations < 1:
            raise ValueError(f"weight is positive and iterations count from 1, got {weight}, {iterations}")
        self.weight, self.iterations = weight, iterations

    def answer(self, problem: Problem) -> Tensor:
        """Solve the normal equations.

        Raises:
            IncompatibleError: the measurement is not linear.
        """
        operator, drawn = problem.operator, problem.drawn
        right = operator.adjoint(problem.y, drawn)

        def normal(x: Tensor) -> Tensor:
            return operator.adjoint(operator(x, drawn), drawn) + self.weight * _roughness(x)

        return conjugate_gradients(normal, right, self.iterations)


class Wiener(Rule):
    r"""The best linear answer, for data of the mean m and covariance S of what the flow draws.

    .. math:: x = m + S A^T (A S A^T + s^2 I)^{-1} (y - A m)

    It knows of the flow two moments and nothing else; where data were Gaussian it would be the mean of the
    posterior.

    Args:
        samples: draws of the flow for the moments.
        iterations: of conjugate gradients, at most.
        seed: of the draws.
    """

    def __init__(self, samples: int = 2000, iterations: int = 200, seed: int = 0) -> None:
        if samples < 2 or iterations < 1:
            raise ValueError(f"samples count from 2 and iterations from 1, got {samples} and {iterations}")
        self.samples, self.iterations, self.seed = samples, iterations, seed

    def answer(self, problem: Problem) -> Tensor:
        """Solve in what was measured.

        Raises:
            IncompatibleError: the measurement is not linear.
        """
        operator, drawn, y = problem.operator, problem.drawn, problem.y
        if not operator.linear:
            raise IncompatibleError(
                f"wiener is of linear measurements, and {type(operator).__name__} is none"
            )
        drawn_x = problem.decode(problem.flow.solve(self.samples, seed=self.seed, batch=500).x)  # type: ignore[arg-type]
        flat = drawn_x.flatten(1)
        mean, shape = flat.mean(0), drawn_x.shape[1:]
        covariance = torch.atleast_2d(torch.cov(flat.T))  # of one entry it is a number
        middle = mean.reshape(1, *shape).expand(len(y), *shape)
        # Never quite 0, so that a measurement without noise can be solved as well.
        floor = max(problem.noise**2, 1e-4 * float(covariance.diagonal().mean()))

        def spread(x: Tensor) -> Tensor:
            return (x.flatten(1) @ covariance).reshape(x.shape)

        def normal(z: Tensor) -> Tensor:
            return operator(spread(operator.adjoint(z, drawn)), drawn) + floor * z

        off = y - operator(middle, drawn)
        seen = operator.measured(y, drawn)
        off = off if seen is None else off * seen
        solved = conjugate_gradients(normal, off, self.iterations)
        return middle + spread(operator.adjoint(solved, drawn))


def conjugate_gradients(apply: Callable[[Tensor], Tensor], right: Tensor, iterations: int) -> Tensor:
    """``apply(x) = right`` for a positive operator, row by row; ends where all rows are solved to 1e-6."""
    x, left = torch.zeros_like(right), right.clone()
    way = left.clone()
    size = _inner(left, left)
    enough = 1e-12 * size.clamp_min(1e-20)
    for _ in range(iterations):
        if bool((size <= enough).all()):
            break
        moved = apply(way)
        step = size / _inner(way, moved).clamp_min(1e-30)
        x, left = x + step * way, left - step * moved
        after = _inner(left, left)
        way = left + (after / size.clamp_min(1e-30)) * way
        size = after
    return x


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return expand((a * b).flatten(1).sum(1), a)


def _roughness(x: Tensor) -> Tensor:
    """The gradient of half the squared differences of neighbours, along every dimension of an event."""
    total = torch.zeros_like(x)
    for dim in range(1, x.ndim):
        if x.shape[dim] > 1:
            step = x.diff(dim=dim)
            edge = torch.zeros_like(x.narrow(dim, 0, 1))
            total = total + torch.cat([edge, step], dim) - torch.cat([step, edge], dim)
    return total
