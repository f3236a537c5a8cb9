"""How probable data are, by a density of states and a dequantiser."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.draw import Draw
from flowloom.state import Cond
from flowloom_likelihood.codec import Dequantize
from flowloom_likelihood.dequantizers.base import Dequantizer
from flowloom_likelihood.field import BijectionField


def log_probability(
    field: BijectionField,
    states: Tensor,
    cond: Cond,
    codec: Dequantize | None = None,
    dequantizer: Dequantizer | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""One draw of a lower bound on the log probability of data, in nats, ``(batch,)``.

    .. math:: \log P(x) \ge E_{u \sim q(u|x)}\big[\log p(x + u) - \log q(u | x)\big]

    (1902.00275, equation 11). The mean of the exponentials of M draws is a tighter one (equation 12). Without
    a codec it is the log density of the states, and without a dequantiser u is where the states lie.

    Args:
        field: of the density.
        states: ``(batch, *event)``; with a dequantiser only the cell that they lie in counts.
        cond: conditions of the states.
        codec: whose cells they are.
        dequantizer: draws u; needs the codec.
        generator: of u.
    """
    if codec is None:
        return field.log_prob(states, cond)
    if dequantizer is None:
        return field.log_prob(states, cond) + codec.log_volume(states)
    level = codec.level(states)
    noise = Draw.like(states, generator).normal(states.shape)
    within, log_q = dequantizer.place(noise, codec.middle(level), cond)
    states = codec.place(level, within)
    return field.log_prob(states, cond) + codec.log_volume(states) - log_q
