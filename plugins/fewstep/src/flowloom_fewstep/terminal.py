r"""Where a jump ends, and how fast the end moves with the time that is looked at.

:math:`\partial_t X(x, s, t)`, a tangent at X on any geometry, is by one forward-mode derivative over t.
For the map of a flow it is the flow's velocity there, :math:`v(X, t)`: the Lagrangian condition (Boffi et al.
2406.07507), where MeanFlow's identity is the Eulerian one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.state import State
from flowloom_fewstep.pairs import Pair

__all__ = ["terminal_velocity"]


def terminal_velocity(pair: Pair, method: str) -> tuple[State, State]:
    """``X(x, s, t)`` and its derivative by t, both with gradient.

    Args:
        pair: states and times.
        method: who asks, for the message.

    Raises:
        IncompatibleError: the network has no forward-mode derivative.
    """
    pair.require_jvp(method)

    def end(t: Tensor) -> State:
        return pair.jump(pair.x, pair.s, t)

    landed, rate, *_ = torch.func.jvp(end, (pair.t,), (torch.ones_like(pair.t),))
    return landed, rate
