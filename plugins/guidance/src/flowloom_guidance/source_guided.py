"""Source-guided flow matching: where to start, not how to go."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.codecs import Codec
from flowloom.energies import Energy
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Field
from flowloom.layout import Layout
from flowloom.solvers import Euler, Solution, Solver
from flowloom.solvers.walk import Hook
from flowloom.sources import Source
from flowloom.state import Cond, State, expand, take
from flowloom_guidance.decoded import energy_of, misfits

__all__ = ["SourceGuided"]


class SourceGuided(Solver, nn.Module):
    r"""Draws x0 from the source tilted by :math:`e^{-J(T(x_0))}`, then solves (2508.14807).

    T, the solve from 0 to 1, is a bijection, so that :math:`T(x_0)` is of the law :math:`p(x)\,e^{-J(x)}`
    exactly; the field is left alone, and a straight flow stays straight. Two ways to draw x0:

    * ``importance``: ``pool`` draws for each sample, resampled with weights :math:`e^{-J(T)}`; in few
      dimensions, or for mild tilts;
    * ``hmc``: Hamiltonian Monte Carlo on :math:`U(x_0) = -\log q_0(x_0) + J(T(x_0))`, a chain for each sample
      from a draw of the source, with gradients through the solve; the step follows the acceptance, towards
      0.8, in the first half of the iterations.

    Args:
        energy: J of data, in nats; in a recipe, the recipe's.
        inner: T; five Euler steps where null.
        how: of the two.
        pool: draws for each sample.
        iterations: of HMC.
        leapfrog: steps of each.
        size: of a leapfrog step, at first.
        codec: of the flow, by which T(x0) is decoded; in a recipe, the recipe's.
    """

    stochastic: ClassVar[bool] = True

    def __init__(
        self,
        energy: Energy,
        inner: Solver | None = None,
        how: Literal["importance", "hmc"] = "importance",
        pool: int = 8,
        iterations: int = 30,
        leapfrog: int = 5,
        size: float = 0.12,
        codec: Codec | None = None,
    ) -> None:
        nn.Module.__init__(self)
        if min(pool, iterations, leapfrog) < 1 or not size > 0:
            raise ValueError("pool, iterations and leapfrog count from 1, and size is positive")
        self.energy, self.codec, self.inner = energy, codec, inner or Euler(5)
        if self.inner.stochastic:
            raise IncompatibleError("source-guided needs a solver without noise inside: its T is a map")
        self.how: Literal["importance", "hmc"] = how
        self.pool, self.iterations, self.leapfrog, self.size = pool, iterations, leapfrog, size

    def wanted(self) -> str:
        """As the solver inside."""
        kind = self.inner.wanted()
        assert isinstance(kind, str)
        return kind

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """An energy of other data, or a codec that this solver does not know; see also `Solver.clashes`."""
        yield from super().clashes(parts)
        yield from misfits(self.energy, self.codec, parts, "solver")

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
        """Draw where to start, and solve from there; evaluations are those of all."""
        source = field.source
        if not isinstance(x0, Tensor) or source is None or not source.gaussian:
            raise ShapeError("source-guided tilts source: gaussian of states that are one tensor")
        spent = 0

        def land(z: Tensor, told: Cond, shape: Layout | None) -> Tensor:
            nonlocal spent
            solution = self.inner.solve(field, z, cond=told, span=span, layout=shape)
            # A sample is charged all that was spent for it.
            spent += solution.nfe * len(z)
            assert isinstance(solution.x, Tensor)
            return solution.x

        cond, n = cond or {}, len(x0)
        if layout is not None:
            # Given entries stand where the caller put them, and padding moves nothing.
            x0, layout = layout.settled(layout.fill(x0))
        assert isinstance(x0, Tensor)
        if n:
            draw = self._resampled if self.how == "importance" else self._chain
            x0 = draw(land, x0, cond, source, generator, layout)
        end = self.inner.solve(field, x0, cond=cond, span=span, keep=keep, on_step=on_step, layout=layout)
        return Solution(end.x, end.nfe + spent // max(n, 1), end.times, end.trajectory, cond=end.cond)

    def _resampled(
        self,
        land: Callable[..., Tensor],
        x0: Tensor,
        cond: Cond,
        source: Source,
        generator: torch.Generator | None,
        layout: Layout | None,
    ) -> Tensor:
        """Each row one of its own pool, so that it keeps its conditions; the pools of like rows are one."""
        n = len(x0)
        rows = torch.arange(n, device=x0.device).repeat(self.pool)
        std = source.std or 1.0
        fresh = std * _normal(x0.repeat(self.pool - 1, *(1,) * (x0.ndim - 1)), generator)
        pool = torch.cat([x0, fresh])
        told = {name: value[rows] for name, value in cond.items()}
        x = land(pool, told, None if layout is None else layout.take(rows))
        logs = -energy_of(self.energy, self.codec, x, told).view(self.pool, n)
        if cond or layout is not None:
            chosen = torch.multinomial(logs.softmax(0).T, 1, generator=generator)[:, 0]
            picked = take(pool, chosen * n + torch.arange(n, device=x0.device))
        else:
            # Without conditions all pools are one, and resampling by even steps adds least noise.
            edges = logs.flatten().double().softmax(0).cumsum(0)
            start = torch.rand(1, generator=generator, device=x0.device, dtype=torch.float64)
            places = (torch.arange(n, device=x0.device) + start) / n
            picked = take(pool, torch.searchsorted(edges, places).clamp_max(len(pool) - 1))
        assert isinstance(picked, Tensor)
        return picked

    def _chain(
        self,
        land: Callable[..., Tensor],
        x0: Tensor,
        cond: Cond,
        source: Source,
        generator: torch.Generator | None,
        layout: Layout | None,
    ) -> Tensor:
        def free(z: Tensor) -> Tensor:
            kept = z if layout is None else layout.still(z)
            assert isinstance(kept, Tensor)
            return kept

        def potential(z: Tensor) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                point = z.detach().requires_grad_(True)
                energies = energy_of(self.energy, self.codec, land(point, cond, layout), cond)
                value = energies - source.log_prob(point, cond, layout)
                (slope,) = torch.autograd.grad(value.sum(), point)
            return value.detach(), free(slope)

        size, z = self.size, x0
        value, slope = potential(z)
        for i in range(self.iterations):
            momentum = free(_normal(z, generator))
            kinetic, at, push = 0.5 * momentum.square().flatten(1).sum(1), z, slope
            for _ in range(self.leapfrog):
                momentum = momentum - 0.5 * size * push
                at = at + size * momentum
                new, push = potential(at)
                momentum = momentum - 0.5 * size * push
            change = new + 0.5 * momentum.square().flatten(1).sum(1) - value - kinetic
            taken = torch.rand(len(z), generator=generator, device=z.device, dtype=z.dtype).log() < -change
            over = expand(taken, z)
            z, slope = torch.where(over, at, z), torch.where(over, push, slope)
            value = torch.where(taken, new, value)
            if i < self.iterations // 2:
                size *= 1.1 if float(taken.to(z.dtype).mean()) > 0.8 else 0.9
        return z


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)
