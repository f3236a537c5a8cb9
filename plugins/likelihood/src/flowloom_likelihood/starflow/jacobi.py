"""Autoregressive flows inverted in parallel."""

from __future__ import annotations

from torch import Tensor

from flowloom.solvers.walk import Call
from flowloom.state import State
from flowloom_likelihood.bijections.autoregressive import iterated
from flowloom_likelihood.field import BijectionField
from flowloom_likelihood.solver import Push


class JacobiPush(Push):
    r"""Samples by fixed point iteration on all tokens of a block at once.

    .. math:: x \leftarrow z \sigma(x) + \mu(x), \qquad x = z \text{ at first}

    Token i depends on those before it alone, so that after k calls the first k are exact, and after as many
    as there are tokens all of them; most blocks need far fewer (Song et al. 2002.03629; for TARFlow and
    STARFlow, 2506.06276). Evaluations are those that were made. Other bijections are inverted as they are.

    Args:
        tolerance: relative change, in the root of the mean square over the batch, at which a block is done.
        denoise: see `Push`.
    """

    def __init__(self, tolerance: float = 1e-3, denoise: bool = False) -> None:
        super().__init__(denoise)
        if not tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {tolerance}")
        self.tolerance = tolerance

    def generate(self, field: BijectionField, z: Tensor, call: Call) -> State:
        """Block by block."""
        net = getattr(field.bijection, "net", field.bijection)
        x, rounds = iterated(net, field.tempered(z, call.cond), call.cond, self.tolerance)
        call.nfe += rounds
        return x
