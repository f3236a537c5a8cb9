r"""An interval is its two parts: what an average velocity must be, with no derivative.

**Identity.** For s < m < t the flow composes, :math:`X_{s,t} = X_{m,t} \circ X_{s,m}`, so that anywhere

.. math:: u(x_s, s, t) = \tfrac{1}{t - s} \log_{x_s} X\big(x_m, m, t\big), \qquad
   x_m = \exp_{x_s}\big((m - s)\, f\big)

where f is the average velocity of the first part. With :math:`m = s + \alpha (t - s)` this is, in flat space,
:math:`\alpha f + (1 - \alpha)\, u(x_m, m, t)`. What f is, and what :math:`\alpha`, is where methods differ:

==================  ==============================  =======================================================
AlphaFlow           the pair's velocity              a curriculum from 1 to 0, where it is MeanFlow
trajectory FM       the pair's velocity              1: the pair's velocity on every interval
SoFlow              the pair's velocity, guided      small, and falling
shortcut models     the network's own :math:`u`      1/2
SplitMeanFlow       the network's own :math:`u`      uniform, every row its own
==================  ==============================  =======================================================

With f the velocity of a pair of ends, of which only the mean is the flow's, the target is exact to first
order in m - s alone: hence small ratios, or curricula. With the network's own u it is exact at any.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.state import State, expand, map_state
from flowloom_fewstep.identity import Residual
from flowloom_fewstep.pairs import Pair
from flowloom_fewstep.tangents import scaled

__all__ = ["composed", "composition_residual", "short_step_residual"]


@torch.no_grad()
def composed(pair: Pair, ratio: Tensor, first: State | None = None) -> State:
    """The average velocity of the whole interval by its two parts, without gradient.

    Args:
        pair: states and times; rows with s = t have the pair's velocity for an answer.
        ratio: alpha of every row, ``(batch,)``, in [0, 1].
        first: f; the network's own average velocity where None.
    """
    x, s, t = pair.x, pair.s, pair.t
    middle = s + ratio * (t - s)
    if first is None:
        first = pair.mean(x, s, middle)
    between = pair.along(x, first, middle - s)
    rest = pair.mean(between, middle, t)
    geometry = pair.geometry
    if geometry.flat:
        whole = map_state(lambda a, b: expand(ratio, a) * a + expand(1 - ratio, b) * b, first, rest)
    else:
        way = geometry.log(x, pair.along(between, rest, t - middle))
        inverse = 1 / torch.where(t > s, t - s, torch.ones_like(t))
        whole = pair.still(scaled(way, inverse))
    return map_state(lambda v, w: torch.where(expand(t > s, v), w, v), pair.velocity, whole)


def composition_residual(pair: Pair, ratio: Tensor, first: State | None = None) -> Residual:
    """How far the network is from the composition of its parts; its gradient reaches the long jump alone."""
    target = composed(pair, ratio, first)
    mean = pair.mean(pair.x, pair.s, pair.t)
    return Residual(pair.x, map_state(torch.sub, mean, target), mean)


def short_step_residual(pair: Pair, ratio: float) -> Residual:
    r"""The same for a first step along the pair's velocity, per unit of the ratio.

    The error is of size :math:`\alpha`; over :math:`\alpha`, with a weight :math:`\alpha`, no ratio is louder
    than another, and as it falls to 0 both error and gradient become MeanFlow's, adaptive weight included.
    """
    found = composition_residual(pair, torch.full_like(pair.s, ratio), pair.velocity)
    own = torch.where(pair.t > pair.s, torch.full_like(pair.s, ratio), torch.ones_like(pair.s))
    return Residual(found.point, scaled(found.error, 1 / own), found.mean, own)
