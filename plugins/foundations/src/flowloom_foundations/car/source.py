"""A Gaussian whose mean follows the condition and is learned with the flow."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from flowloom.draw import GLOBAL, Draw
from flowloom.layout import Layout
from flowloom.sources import Source
from flowloom.spec import Spec
from flowloom.state import Cond, sum_event
from flowloom_foundations.car.shifts import ConditionShift, Head


class ShiftedGaussian(Source, nn.Module):
    r""":math:`x_0 = \mu(y) + \epsilon`, with :math:`\mu` learned by the gradient of the flow's own loss.

    The source half of CAR-Flow (2509.19300) as a source. Rows whose condition is withheld in training keep
    the shift of their true condition; for classifier-free guidance use the network `ConditionAware`, which
    knows both.

    With ``scale`` it also learns a factor, :math:`x_0 = \mu(y) + e^{s(y)}\epsilon`. The paper proves that
    this admits a collapse without cost: a source that is a constant c makes :math:`v = (x_t - c)/t` exact
    for any data. It is there to show just that; leave it off.

    Args:
        spec: of the states; injected from the recipe.
        scale: learn a factor as well.
        width: see `ConditionShift`.
        head: see `ConditionShift`.
    """

    def __init__(self, spec: Spec, scale: bool = False, width: int = 128, head: Head = "auto") -> None:
        nn.Module.__init__(self)
        self.scale, self.shape = scale, tuple(spec.shape)
        self.shift = ConditionShift(spec, width, head, outputs=2 if scale else 1)

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Tensor:
        """Standard normal noise."""
        return draw.normal(shape)

    def push(self, noise: Any, cond: Cond | None = None) -> Tensor:
        """The noise moved to where the condition has its source."""
        mean, log_std = self._moments(cond or {}, noise)
        return noise + mean if log_std is None else noise * log_std.exp() + mean

    def log_prob(self, x: Any, cond: Cond | None = None, layout: Layout | None = None) -> Tensor:
        """Normal log density of every row, ``(batch,)``, over its real and free entries."""
        mean, log_std = self._moments(cond or {}, x)
        stretch = x.new_zeros(()) if log_std is None else log_std
        entries = -0.5 * ((x - mean) * (-stretch).exp()).square() - stretch - 0.5 * math.log(2 * math.pi)
        return sum_event(entries) if layout is None else layout.sum(entries)

    def _moments(self, cond: Cond, like: Tensor) -> tuple[Tensor, Tensor | None]:
        points = self.shift(cond, len(like)).to(like.dtype)
        if not self.scale:
            return points, None
        mean, log_std = points.unbind(1)
        return mean, log_std
