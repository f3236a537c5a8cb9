r"""Fields on curved and periodic spaces whose flow and density are known.

On the sphere S^2, rotation about an axis a and contraction towards it commute:

.. math:: \dot x = f(t)\,\omega\, a \times x + \lambda\,(a - \langle a, x\rangle x), \qquad
          \tan\tfrac{\theta(t)}{2} = \tan\tfrac{\theta(s)}{2}\, e^{-\lambda (t - s)},

with :math:`\theta` the angle from the axis and :math:`f(t) = 1 + t`. A uniform law becomes
:math:`p(x) = \frac{1}{4\pi} (\sin\theta_0 / \sin\theta)^2`. On the circle the same contraction,
:math:`\dot x = -\lambda \sin x`, turns the uniform law into
:math:`p(x) = \frac{1}{2\pi} \sin x_0 / \sin x`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowloom.fields import Field
from flowloom.geometry import FlatTorus, Sphere
from flowloom.state import Cond, State, expand


class SphereSpiral(Field):
    """Rotation about the z axis with contraction towards the north pole, on S^2.

    Args:
        omega: rate of rotation, times ``1 + t``.
        pull: rate of contraction.
    """

    kind = "velocity"

    def __init__(self, omega: float = 1.5, pull: float = 1.0) -> None:
        self.omega, self.pull = omega, pull
        self.geometry = Sphere(2)

    def __call__(self, x: Any, t: Any, cond: Cond) -> State:
        """The velocity, a tangent vector for unit ``x``."""
        a, b, c = x.unbind(-1)
        turn = torch.stack([-b, a, torch.zeros_like(c)], -1)
        north = torch.stack([torch.zeros_like(a), torch.zeros_like(a), torch.ones_like(a)], -1)
        return expand(self.omega * (1 + t), x) * turn + self.pull * (north - c[..., None] * x)

    def solution(self, x: Tensor, s: float, t: float) -> Tensor:
        """Where ``x`` at time ``s`` is at time ``t``."""
        phi = torch.atan2(x[..., 1], x[..., 0]) + self.omega * ((t + t * t / 2) - (s + s * s / 2))
        theta = torch.atan2(x[..., :2].norm(dim=-1), x[..., 2])
        theta = 2 * torch.atan((theta / 2).tan() * math.exp(-self.pull * (t - s)))
        return torch.stack([theta.sin() * phi.cos(), theta.sin() * phi.sin(), theta.cos()], -1)

    def log_density(self, x: Tensor, t: float = 1.0) -> Tensor:
        """Log density at time ``t`` of what was uniform at time 0."""
        back = self.solution(x, t, 0.0)
        sines = back[..., :2].norm(dim=-1) / x[..., :2].norm(dim=-1)
        return 2 * sines.log() - math.log(4 * math.pi)


class TorusPull(Field):
    """``dx/dt = -pull sin(x)`` for every coordinate of a torus of period 2 pi.

    Args:
        pull: rate of contraction towards 0.
    """

    kind = "velocity"

    def __init__(self, pull: float = 1.0) -> None:
        self.pull = pull
        self.geometry = FlatTorus()

    def __call__(self, x: Any, t: Any, cond: Cond) -> State:
        """The velocity."""
        return -self.pull * torch.sin(x)

    def solution(self, x: Tensor, s: float, t: float) -> Tensor:
        """Where ``x`` at time ``s`` is at time ``t``."""
        half = torch.atan2((x / 2).sin() * math.exp(-self.pull * (t - s)), (x / 2).cos())
        return torch.remainder(2 * half, 2 * math.pi)

    def log_density(self, x: Tensor, t: float = 1.0) -> Tensor:
        """Log density at time ``t`` of what was uniform at time 0, summed over coordinates."""
        back = self.solution(x, t, 0.0)
        rows = (back.sin() / x.sin()).abs().log() - math.log(2 * math.pi)
        return rows.flatten(1).sum(1) if rows.ndim > 1 else rows
