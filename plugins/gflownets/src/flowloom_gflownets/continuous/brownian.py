"""R^n, walked in steps of a controlled Brownian motion (2301.12594, section 5.3; 2310.02679)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.draw import Draw
from flowloom.energies import Energy
from flowloom.errors import IncompatibleError
from flowloom.spec import Spec
from flowloom_gflownets.continuous.base import TimedEnvironment
from flowloom_gflownets.trajectories import Trajectories


class Brownian(TimedEnvironment):
    r"""``steps`` steps of length h = 1 / steps from the origin, with the control u that a network says.

    .. math:: p_F(x'|x, t) = N(x'; x + \sigma u h, \sigma^2 h I), \qquad
              p_B(x|x', t+h) = N\Big(x; \frac{t}{t+h} x', \sigma^2 h \frac{t}{t+h} I\Big)

    The backward kernel is the Brownian bridge to the origin, and certain for the first step. Exploration
    widens the steps: their standard deviation is ``1 + epsilon`` times what it is in the density.

    Args:
        energy: minus log R; its spec says the dimension.
        steps: N.
        sigma: standard deviation of the uncontrolled motion at its end.
    """

    def __init__(self, energy: Energy, steps: int = 30, sigma: float = 1.0) -> None:
        super().__init__(energy, steps)
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma must be positive and finite, got {sigma}")
        if energy.spec is None or energy.spec.discrete or len(energy.spec.shape) != 1:
            raise IncompatibleError(
                f"environment brownian walks in R^n, and energy {type(energy).__name__} is of "
                f"{'any states' if energy.spec is None else energy.spec.in_words()}; use one of vectors"
            )
        self.sigma, self.spec = sigma, Spec(energy.spec.shape)
        self.dims: int = self.spec.numel()
        self.heads = (self.dims, 0)

    def features(self, x: Tensor) -> Tensor:
        """The state, in units of sigma."""
        return x / self.sigma

    def draw(
        self, law: Tensor, x: Tensor, number: int, epsilon: float, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """A step, differentiable in the control."""
        noise = Draw.like(x, generator).normal(x.shape)
        spread = (1 + epsilon) * self.sigma / math.sqrt(self.steps)
        return self.actions(x, number), x + self.sigma * law / self.steps + spread * noise

    def log_forward(self, said: Tensor, walks: Trajectories) -> Tensor:
        """Of the steps."""
        away = walks.after - walks.x - self.sigma * said / self.steps
        return log_normal(away, away.new_full((len(away),), self.sigma**2 / self.steps))

    def log_backward(self, said: Tensor | None, walks: Trajectories) -> Tensor:
        """Of the bridge; certain for the first step."""
        shrink = (walks.number / (walks.number + 1)).to(walks.x)
        variance = (shrink * self.sigma**2 / self.steps).clamp_min(1e-12)
        back = log_normal(walks.x - shrink[:, None] * walks.after, variance)
        return torch.where(walks.number == 0, 0.0, back)

    def guess(self, x: Tensor, number: Tensor) -> Tensor:
        r"""A flow that looks ahead (2310.02679): :math:`t \log R + (1-t) \log N(x; 0, \sigma^2 t I)`.

        The variance is at least that at t = 0.01, and nothing is differentiated.
        """
        with torch.no_grad():
            t = (number / self.steps).to(x)
            motion = log_normal(x, self.sigma**2 * t.clamp_min(0.01))
            return (1 - t) * motion - t * self.energy(x, {})


def log_normal(x: Tensor, variance: Tensor) -> Tensor:
    """Log density of ``N(0, variance I)`` at ``(n, d)``, with a variance a row."""
    return -0.5 * (x.square().sum(-1) / variance + x.shape[-1] * (2 * math.pi * variance).log())
