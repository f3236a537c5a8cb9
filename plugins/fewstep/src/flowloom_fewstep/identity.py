r"""What an average velocity must satisfy, on any geometry: the residual that MeanFlow descends.

**Definition.** The average velocity of a flow map :math:`X_{s,t}` is the tangent at the state whose geodesic
ends where the flow does,

.. math:: X_{s,t}(x) = \exp_x\big((t - s)\, u(x, s, t)\big), \qquad
   u(x, s, t) = \tfrac{1}{t - s} \log_x X_{s,t}(x),

which is how Generalised Flow Maps (Davis et al. 2510.21608) put a flow map on a Riemannian manifold. In flat
space it is the mean of the velocity along the way, MeanFlow's definition (Geng et al. 2505.13447, equation
3). It is *not* the mean of parallel-transported velocities (Zhong et al. 2603.10718): on a curved space the
exponential of that mean is not where the flow ends, and one evaluation would be wrong by the curvature even
with an exact network.

**Identity.** The end does not depend on where along the trajectory one starts: with :math:`\dot x_s = v(x_s,
s)`, :math:`\frac{d}{ds} \exp_{x_s}(w_s) = 0` for :math:`w_s = (t - s)\, u(x_s, s, t)`. Written out,

.. math:: d\exp_{(x, w)}\big[v,\; (t - s)\, \tfrac{du}{ds} - u\big] = 0, \qquad
   \tfrac{du}{ds} = \partial_x u\, [v] + \partial_s u .

In flat space :math:`d\exp[a, b] = a + b`, and this is MeanFlow's equation 6 in our direction of time,
:math:`u = v + (t - s) \frac{du}{ds}` (the paper's noise is at time 1, so its sign is minus, its tangent
:math:`(v, 0, 1)` for (z, r, t)). Only :math:`-u`, a vertical vector at (x, w), is descended; everything else
is a target. On a curved space the residual is compared at the end of the geodesic, where it is finite for
every w. Solving for u at x would divide by :math:`\sin|w| / |w|` on a sphere, infinite at antipodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowloom.geometry import Geometry
from flowloom.state import State, map_state
from flowloom_fewstep.tangents import fixed, passing, scaled

__all__ = ["Residual", "mean_velocity_residual", "total_derivative"]

TwoTimes = Callable[[Any, Tensor, Tensor], Any]
"""A field of two times: ``(x, s, t) -> tangent at x``."""


@dataclass(frozen=True)
class Residual:
    """How far a field of two times is from being an average velocity.

    Args:
        point: where the residual is a tangent: x in flat space, the end of the jump in a curved one.
        error: the residual; its gradient reaches ``u`` alone.
        mean: ``u`` itself.
        weight: of the row in the loss, ``(batch,)`` or one for all.
    """

    point: State
    error: State
    mean: State
    weight: Tensor | float = 1.0


def total_derivative(u: TwoTimes, x: State, s: Tensor, t: Tensor, velocity: State) -> tuple[State, State]:
    """``u(x, s, t)`` and its derivative along ``dx/ds = velocity`` with t fixed.

    One call in forward mode, with the tangent ``(velocity, 1, 0)``.

    Args:
        u: a field of two times.
        x: states ``(batch, *event)`` at ``s``.
        s: times of the states ``(batch,)``.
        t: times looked at ``(batch,)``.
        velocity: of the states, in the shape of ``x``.
    """
    still = torch.zeros_like(t)
    mean, derivative, *_ = torch.func.jvp(u, (x, s, t), (velocity, torch.ones_like(s), still))
    return mean, derivative


def mean_velocity_residual(
    u: TwoTimes,
    geometry: Geometry,
    x: State,
    s: Tensor,
    t: Tensor,
    velocity: State,
    tangent: State | None = None,
    through: float = 0.0,
    ramp: float = 1.0,
) -> Residual:
    """The residual of the identity above, with the gradient of MeanFlow.

    Args:
        u: a field of two times, tangent at ``x``.
        geometry: of the states.
        x: states ``(batch, *event)``.
        s: times of the states ``(batch,)``.
        t: times looked at ``(batch,)``, at or after ``s``.
        velocity: of the states at ``s``; one of the conditional path serves, as the residual is linear in it.
        tangent: velocity along which the network is differentiated, where it is another.
        through: share of its gradient that the derivative keeps, 0 in MeanFlow.
        ramp: factor of the derivative, below 1 while training warms up.
    """
    mean, derivative = total_derivative(u, x, s, t, velocity if tangent is None else tangent)
    change = scaled(passing(derivative, through), (t - s) * ramp)
    if geometry.flat:
        target = map_state(torch.add, velocity, change)
        return Residual(x, map_state(torch.sub, mean, target), mean)
    ahead = scaled(fixed(mean), t - s)
    end, target, *_ = torch.func.jvp(geometry.exp, (x, ahead), (velocity, change))
    # Linear in what it differentiates, so that its gradient by the network is that of a regression.
    _, pushed, *_ = torch.func.jvp(lambda w: geometry.exp(x, w), (ahead,), (mean,))
    return Residual(end, map_state(torch.sub, pushed, target), mean)
