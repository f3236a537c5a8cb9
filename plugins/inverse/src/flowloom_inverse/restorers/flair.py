"""FLAIR: a variational mode, moved in turn by the flow and by what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.data import Dataset
from flowloom.fields import Field
from flowloom.layout import Layout
from flowloom.solvers import Solution
from flowloom.solvers.walk import Call, Hook, Walk
from flowloom.state import Cond, State, expand
from flowloom_inverse.restorers.base import Split, StepwiseRestorer, one_tensor

__all__ = ["FLAIR", "calibrated"]

Trajectory = Literal["sqrt(1-s)", "1-s", "sqrt(s)", "s"]
_SHARES: dict[str, Callable[[float], float]] = {
    "sqrt(1-s)": lambda s: math.sqrt(1 - s),
    "1-s": lambda s: 1 - s,
    "sqrt(s)": math.sqrt,
    "s": lambda s: s,
}


class FLAIR(StepwiseRestorer):
    r"""One faithful answer: the mode :math:`\mu` of a variational posterior (2506.02680).

    From :math:`\mu = A^+ y`, for noise levels :math:`s = \sigma_t` from 1 downwards:

    .. math::
        n &= a\, \hat n + \sqrt{1 - a^2}\; \epsilon, \qquad x_t = \alpha_t \mu + \sigma_t n \\
        \mu &\leftarrow \mu - \eta\, w(s)\, (\mu - \hat x_1(x_t)) / s, \ \hat n \leftarrow \hat x_0(x_t) \\
        \mu &\leftarrow \mu - \rho\, \nabla_\mu \tfrac12 \|y - A(D(\mu))\|^2
             \quad\text{at most K times, until } \|y - A(D(\mu))\|^2 / m \le s_y^2

    with m the number of measured entries and :math:`s_y` the noise of y. The first line keeps a share a of
    the noise that the network predicted (deterministic trajectory adjustment), so that a rare mode that was
    found is not washed out; the second is the flow-matching regulariser without the network's Jacobian; the
    third fits what was measured, and stops before it fits its noise. The weight w is measured: one over the
    network's mean squared error at each level on training data, less its value at s = 0, see `calibrated`.

    The authors' optional soft projection at s > 0.7 is not here.

    Args:
        steps: levels.
        grid: times from 0 to 1 to walk instead.
        data: whose rows the weight is measured on; in a recipe, the recipe's. Where there are none, w = s.
        calibrate: False takes w = 1 at every level, as ablated in the paper.
        keep_noise: a as a function of s; null draws fresh noise at every level.
        rate: eta.
        moves: K.
        data_rate: rho; below 2 over the largest squared singular value of A.
        rows: of the data, on which the weight is measured.
    """

    stochastic: ClassVar[bool] = True

    def __init__(
        self,
        steps: int = 50,
        grid: Sequence[float] | None = None,
        data: Dataset | None = None,
        calibrate: bool = True,
        keep_noise: Trajectory | None = "sqrt(1-s)",
        rate: float = 1.0,
        moves: int = 20,
        data_rate: float = 1.0,
        rows: int = 512,
    ) -> None:
        super().__init__(steps, grid)
        if not rate > 0 or not data_rate > 0 or moves < 1 or rows < 2:
            raise ValueError("rate and data_rate are positive, moves counts from 1 and rows from 2")
        self.data, self.calibrate, self.keep_noise = data, calibrate, keep_noise
        self.rate, self.moves, self.data_rate, self.rows = rate, moves, data_rate, rows

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
        """Descend the noise levels; the states of the walk are the modes."""
        problem, times = self.problem, self.times(span or field.span)
        # Both ends are left out: nothing is predicted at one, and nothing learned at the other.
        levels = [(a + b) / 2 for a, b in pairwise(times)]
        velocity = Split(self.prepare(field), levels)
        call = Call(velocity, cond, generator, layout)
        weights = self._weights(velocity, levels)
        noise = one_tensor(x0)
        mode = problem.encode(problem.operator.back(problem.y, problem.drawn))
        walk = Walk(call, mode, times[0], keep=keep, on_step=on_step, steps=len(levels))
        for t, weight, after in zip(levels, weights, times[1:], strict=True):
            level = velocity.level(t)
            if t != levels[0]:
                noise = self._kept(noise, level.sigma, call)
            mode = one_tensor(walk.x)
            x = torch.add(level.sigma * noise, mode, alpha=level.alpha)
            data, noise = velocity.ends(call(x, t), x, t)
            mode = torch.lerp(mode, data, self.rate * weight / level.sigma)
            walk.arrive(self._fitted(mode), after)
        return walk.solution()

    def _kept(self, noise: Tensor, sigma: float, call: Call) -> Tensor:
        source = call.field.source
        assert source is not None
        fresh = torch.randn(noise.shape, generator=call.generator, device=noise.device, dtype=noise.dtype)
        spread = source.std or 1.0
        if self.keep_noise is None:
            return spread * fresh
        share = _SHARES[self.keep_noise](sigma)
        return torch.add(share * noise, fresh, alpha=math.sqrt(1 - share**2) * spread)

    def _fitted(self, mode: Tensor) -> Tensor:
        """Moves towards what was measured, of the rows that do not fit it yet."""
        problem = self.problem
        enough = max(problem.noise**2, 1e-6)
        for _ in range(self.moves):
            squares, slope = problem.misfit(mode)
            open_rows = squares > enough
            if not bool(open_rows.any()):
                break
            mode = torch.addcmul(mode, slope(), expand(open_rows, mode), value=-self.data_rate)
        return mode

    def _weights(self, field: Split, levels: list[float]) -> list[float]:
        if not self.calibrate:
            return [1.0] * len(levels)
        if self.data is None:
            return [field.level(t).sigma for t in levels]
        draws = torch.Generator().manual_seed(0)
        rows = self.data.take(torch.randperm(len(self.data), generator=draws)[: self.rows])
        flow = self.problem.flow
        states = one_tensor(flow.encode(rows.to(flow.device)).x)
        return calibrated(field, states, levels)


def calibrated(field: Field, states: Tensor, levels: Sequence[float], seed: int = 0) -> list[float]:
    r"""The weight of FLAIR at some times: how well the network knows the velocity there.

    With :math:`e(t)` the mean squared error of the velocity at points of the path of ``states``: one over e,
    over its mean, less its value at the data, at least 0.

    Args:
        field: a velocity field on an affine path.
        states: data as states.
        levels: times.
        seed: of the noise, the same at every time.
    """
    assert field.path is not None
    assert field.source is not None
    draws = torch.Generator(states.device).manual_seed(seed)
    noise = torch.randn(states.shape, generator=draws, device=states.device, dtype=states.dtype)
    noise = noise * (field.source.std or 1)
    weights = []
    for t in (*levels, field.span[1]):
        time = states.new_full((len(states),), t)
        point = field.path.sample(noise, states, time)
        assert isinstance(point.x_t, Tensor)
        off = field(point.x_t, time, {}) - point.velocity  # type: ignore[operator]
        weights.append(1 / (float(off.square().mean()) + 1e-7))
    mean = sum(weights[:-1]) / len(levels)
    last = weights.pop() / mean
    return [max(weight / mean - last, 0.0) for weight in weights]
