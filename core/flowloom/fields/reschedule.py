"""Change the schedule after training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom.fields.base import Field
from flowloom.fields.wrapped import Wrapped, read_as
from flowloom.paths import AffinePath
from flowloom.paths.conversions import margin
from flowloom.schedules import Schedule
from flowloom.state import Cond, State, expand, map_state


class Rescheduled(Wrapped):
    r"""A velocity field on another schedule, without retraining (2412.06264, section 4.9).

    With the new :math:`\bar\alpha, \bar\sigma` at time r and :math:`\rho = \alpha/\sigma`:
    :math:`t(r) = \rho^{-1}(\bar\alpha_r/\bar\sigma_r),\ s(r) = \bar\sigma_r/\sigma_{t(r)}`; then
    :math:`\bar x_r = s(r)\, x_{t(r)}` and
    :math:`\bar v(x, r) = \dot s/s\, x + \dot t\, s\, v(x/s, t)`. The velocity is computed through data and
    noise predictions, which are the same functions of :math:`x/s` on both schedules, so that no derivative
    of s or t is needed: :math:`\bar v = \dot{\bar\alpha} E[x_1] + \dot{\bar\sigma} E[x_0]`.

    Both schedules start at pure source and end at pure data, so the law of samples does not change.

    Args:
        field: a field on an affine path.
        schedule: the new schedule.
    """

    def __init__(self, field: Field, schedule: Schedule) -> None:
        if field.path is None or not field.path.affine or field.path.schedule is None:
            raise IncompatibleError("only fields of affine paths can change their schedule")
        super().__init__(read_as(field, "velocity"))
        self.old, self.path = field.path.schedule, AffinePath(schedule, field.path.geometry)
        self.new = schedule

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        """The velocity on the new schedule at its time ``t``."""
        eps = margin(t.dtype)
        # Both ends are singular for one of the ratios; keep off them as the conversions do.
        r = t.clamp(eps, min(1 - eps, self.new.latest))
        alpha, sigma = self.new.alpha(r), self.new.sigma(r)
        old_t = self.old.time_of_ratio(alpha / sigma)
        scale = sigma / self.old.sigma(old_t)
        inner = map_state(lambda v: v / expand(scale, v), x)
        old_v = self.ask(inner, old_t, cond, generator)
        a, s = self.old.alpha(old_t), self.old.sigma(old_t)
        da, ds = self.old.d_alpha(old_t), self.old.d_sigma(old_t)
        det = da * s - a * ds

        def leaf(y: Tensor, v: Tensor) -> Tensor:
            data = (expand(s, y) * v - expand(ds, y) * y) / expand(det, y)
            noise = (expand(da, y) * y - expand(a, y) * v) / expand(det, y)
            return expand(self.new.d_alpha(r), y) * data + expand(self.new.d_sigma(r), y) * noise

        return map_state(leaf, inner, old_v)

    def source_scale(self) -> float:
        """Factor for x0: the new schedule's sigma at t=0 over the old one's (1 for proper schedules)."""
        zero = torch.zeros(())
        return float(self.new.sigma(zero) / self.old.sigma(zero))
