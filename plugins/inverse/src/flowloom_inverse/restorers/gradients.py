"""Guidance by the gradient of the misfit: what other restorers are compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.solvers.walk import Call
from flowloom_inverse.restorers.base import Split, StepwiseRestorer

__all__ = ["DPS", "FlowChef"]


class FlowChef(StepwiseRestorer):
    r"""An Euler step, moved by the gradient at the predicted data, without the network's Jacobian.

    .. math:: x_{t'} = x_t + (t' - t)\, v - \eta\, \nabla_{\hat x_1} \tfrac12 \|y - A(D(\hat x_1))\|^2

    (Patel et al. 2412.00100.)

    Args:
        steps: number of equal steps.
        grid: times from 0 to 1 to walk instead.
        rate: eta.
    """

    def __init__(self, steps: int = 28, grid: Sequence[float] | None = None, rate: float = 0.3) -> None:
        super().__init__(steps, grid)
        if not rate > 0:
            raise ValueError(f"rate must be positive, got {rate}")
        self.rate = rate

    def bent(self, call: Call, field: Split, x: Tensor, t: float, t_next: float) -> Tensor:
        """One step: one network call."""
        velocity = call(x, t)
        assert isinstance(velocity, Tensor)
        data, _ = field.ends(velocity, x, t)
        return torch.add(x, velocity, alpha=t_next - t) - self.rate * self.problem.slope(data)


class DPS(StepwiseRestorer):
    r"""Diffusion posterior sampling: fresh noise, and the gradient through the network.

    .. math::
        x_{t'} = \alpha_{t'} \hat x_1 + \sigma_{t'} \big(\sqrt{\sigma_{t'}}\, \hat x_0
                 + \sqrt{1 - \sigma_{t'}}\; \epsilon\big)
                 - \zeta\, \nabla_{x_t} \|y - A(D(\hat x_1(x_t)))\|_2

    (Chung et al. 2209.14687, algorithm 1, whose step over the norm of the residual makes of the squared norm
    this one; with the share of fresh noise that FlowDPS has, so that the two differ in the gradient alone.)

    Args:
        steps: number of equal steps.
        grid: times from 0 to 1 to walk instead.
        rate: zeta.
        renoise: False keeps the predicted noise: an Euler step and a gradient.
    """

    stochastic = True

    def __init__(
        self, steps: int = 28, grid: Sequence[float] | None = None, rate: float = 0.3, renoise: bool = True
    ) -> None:
        super().__init__(steps, grid)
        if not rate > 0:
            raise ValueError(f"rate must be positive, got {rate}")
        self.rate, self.renoise = rate, renoise

    def bent(self, call: Call, field: Split, x: Tensor, t: float, t_next: float) -> Tensor:
        """One step: one network call, and a pass back through it."""
        with torch.enable_grad():
            point = x.detach().requires_grad_(True)
            data, noise = field.ends(call(point, t), point, t)
            off = self.problem.residual(data).flatten(1).norm(dim=1)
            (slope,) = torch.autograd.grad(off.sum(), point)
        data, noise = data.detach(), noise.detach()
        after = field.level(t_next)
        if self.renoise:
            source = field.source
            assert source is not None
            fresh = torch.randn(x.shape, generator=call.generator, device=x.device, dtype=x.dtype)
            noise = after.sigma**0.5 * noise + (1 - after.sigma) ** 0.5 * (source.std or 1) * fresh
        return torch.add(after.sigma * noise, data, alpha=after.alpha) - self.rate * slope
