"""RAAG: the weight of guidance falls where the branches are far apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flowloom.fields import Field
from flowloom.layout import Layout
from flowloom_guidance.two_branches import TwoBranches, row_norm

__all__ = ["RAAG", "ratio"]


class RAAG(TwoBranches):
    r"""Ratio-aware adaptive guidance (2508.03442).

    .. math::
        \rho = \frac{\|v_c - v_\varnothing\|}{\|v_\varnothing\|}, \qquad
        w(\rho) = 1 + (w_{\max} - 1)\, e^{-\alpha \rho}, \qquad
        v = v_\varnothing + w(\rho)\,(v_c - v_\varnothing)

    with one ratio for every row. The ratio peaks at pure noise, where it is
    :math:`\|E[x_1|c] - E[x_1]\| / \|E[x_1] - x_0\|` whatever the network, and there a constant weight
    throws a
    coarse solver off. No further evaluation. The paper's ratio is of velocities; other kinds are measured as
    velocities where their path can say them (of predicted noise as such it does not work).

    Args:
        weight: w_max; the paper's 18 at ten steps.
        alpha: the paper's 12, for ratios of 0.1 to 0.5.
        conditions: names of the conditions that the null branch withholds; all where empty.
    """

    def __init__(self, weight: float = 18.0, alpha: float = 12.0, conditions: Sequence[str] = ()) -> None:
        super().__init__(weight, conditions)
        if not 1 <= weight < math.inf or not alpha >= 0:
            raise ValueError(f"weight is at least 1 and alpha at least 0, got {weight} and {alpha}")
        self.alpha = alpha

    def mixed(
        self, told: Tensor, null: Tensor, x: Tensor, t: Any, field: Field, layout: Layout | None = None
    ) -> Tensor:
        """With the weight of each row."""
        apart = told - null
        weight = 1 + (self.weight - 1) * (-self.alpha * ratio(apart, null, x, t, field, layout)).exp()
        return torch.addcmul(null, apart, weight.to(null.dtype))


def ratio(
    apart: Tensor, null: Tensor, x: Tensor, t: Any, field: Field, layout: Layout | None = None
) -> Tensor:
    """How far apart two answers are, in velocities, over the size of the second: one number a row."""
    path = field.path
    if field.kind not in ("velocity", "posterior") and path is not None:
        assert isinstance(field.kind, str)
        if path.converts(field.kind, "velocity", field.source):
            # Conversions are linear in value and state together, so that a difference is one at the state 0.
            apart, null = (  # type: ignore[assignment]
                path.convert(v, at, t, field.kind, "velocity", field.source)
                for v, at in ((apart, torch.zeros_like(x)), (null, x))
            )
    return row_norm(apart, layout) / row_norm(null, layout).clamp_min(1e-12)
