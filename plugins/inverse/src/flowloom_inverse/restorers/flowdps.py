"""FlowDPS: the likelihood into the clean half of a step, fresh noise into the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from flowloom.solvers.walk import Call
from flowloom_inverse.restorers.base import Split, StepwiseRestorer

__all__ = ["FlowDPS"]


class FlowDPS(StepwiseRestorer):
    r"""Posterior samples by splitting every step into data and noise (Kim et al. 2503.08136, algorithm 1).

    With :math:`\hat x_1, \hat x_0` what the velocity says of the ends of the way at time t,

    .. math::
        u &\leftarrow u - \eta\, \nabla_u \|A^+ (y - A(D(u)))\|_2 \quad\text{K times, from } u = \hat x_1 \\
        \tilde x_1 &= (1 - \sigma_t)\, \hat x_1 + \sigma_t\, u \\
        \tilde x_0 &= \sqrt{\sigma_{t'}}\, \hat x_0 + \sqrt{1 - \sigma_{t'}}\; \epsilon \\
        x_{t'} &= \alpha_{t'} \tilde x_1 + \sigma_{t'} \tilde x_0 .

    The paper's time has noise at 1, so that its sigma is our 1 - t. No gradient passes through the network.
    The norm is not squared: a move has the size eta, whatever is left.

    Args:
        steps: number of equal steps; the paper's 28.
        grid: times from 0 to 1 to walk instead.
        consistency: ``gradient`` moves as above; ``exact`` takes the nearest answer that fits for u, which is
            where many small moves lead (linear problems, and no codec).
        moves: K.
        rate: eta, in the unit of the states; the paper's 15 is for latents of 768 pixels.
        interpolate: False leaves the second line out: u is the data, as ablated in the paper.
        renoise: False leaves the third line out: the predicted noise is kept.
    """

    stochastic: ClassVar[bool] = True

    def __init__(
        self,
        steps: int = 28,
        grid: Sequence[float] | None = None,
        consistency: Literal["gradient", "exact"] = "gradient",
        moves: int = 3,
        rate: float = 0.3,
        interpolate: bool = True,
        renoise: bool = True,
    ) -> None:
        super().__init__(steps, grid)
        if moves < 1 or not rate > 0:
            raise ValueError(f"moves count from 1 and rate is positive, got {moves} and {rate}")
        self.consistency, self.moves, self.rate = consistency, moves, rate
        self.interpolate, self.renoise = interpolate, renoise

    def bent(self, call: Call, field: Split, x: Tensor, t: float, t_next: float) -> Tensor:
        """One step: one network call."""
        data, noise = field.ends(call(x, t), x, t)
        fitted, sigma, after = self._fitted(data), field.level(t).sigma, field.level(t_next)
        data = torch.lerp(data, fitted, sigma) if self.interpolate else fitted
        if self.renoise:
            assert field.source is not None
            fresh = torch.randn(x.shape, generator=call.generator, device=x.device, dtype=x.dtype)
            spread = math.sqrt(1 - after.sigma) * (field.source.std or 1)
            noise = torch.add(math.sqrt(after.sigma) * noise, fresh, alpha=spread)
        return torch.add(after.sigma * noise, data, alpha=after.alpha)

    def _fitted(self, data: Tensor) -> Tensor:
        if self.consistency == "exact":
            return self.problem.settle(data)
        for _ in range(self.moves):
            data = self.problem.toward(data, self.rate)
        return data
