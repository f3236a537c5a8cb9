"""CAR-Flow: a network that sees its states in coordinates which move with the condition."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models import Model, speak_for
from flowloom.paths import Path
from flowloom.schedules import CondOT, Schedule
from flowloom.spec import Spec
from flowloom.state import Cond, expand
from flowloom_foundations.car.shifts import ConditionShift, Head

Shift = Literal["source", "target", "joint"]


class ConditionAware(nn.Module):
    r"""Condition-aware reparameterisation (CAR-Flow, 2509.19300): learned shifts of source and target.

    The paper moves both ends, :math:`z_0 = x_0 + \mu_0(y)` and :math:`z_1 = x_1 + \mu_1(y)`, regresses the
    network onto :math:`\dot z_t` along :math:`z_t = \sigma_t z_0 + \alpha_t z_1` with gradients into the
    shifts, and undoes :math:`\mu_1` after sampling. As :math:`z_t = x_t + s_t(y)` with
    :math:`s_t = \sigma_t \mu_0 + \alpha_t \mu_1`, this is the network in a moving chart,

    .. math:: v(x, t, y) = v_\theta(x + s_t(y), t, y) - \dot s_t(y),

    under plain flow matching: :math:`v_\theta(z_t) - \dot z_t = v(x_t) - \dot x_t`, so the loss, its
    gradients and every Runge-Kutta step (on the straight path) are the paper's. Read this way nothing has to
    be undone: guidance mixes both branches in the coordinates of the data, rows whose condition is withheld
    have a shift of their own, and likelihoods hold, as a shift keeps volumes. There is no scale, on purpose:
    a learned one lets the loss fall to 0 by a collapse (`flowloom_foundations.car.ShiftedGaussian` can show
    it). The network must predict velocities. Give the shifts a rate of their own, ``train.rates:
    {"model.*_shift.*": 25}``.

    Args:
        spec: of the states; injected from the recipe.
        network: of velocities.
        shift: which ends move: ``source``, ``target`` or ``joint``.
        width: of the shifts' embeddings; see `ConditionShift`.
        head: of the shifts; see `ConditionShift`.
        path: whose schedule joins the ends; straight where there is none.

    Raises:
        IncompatibleError: the path is not affine, or states have no learned shift.
    """

    conditional = True

    def __init__(
        self,
        spec: Spec,
        network: Model,
        shift: Shift = "joint",
        width: int = 128,
        head: Head = "auto",
        path: Path | None = None,
    ) -> None:
        super().__init__()
        assert isinstance(network, nn.Module)
        if path is not None and (not path.affine or path.schedule is None):
            raise IncompatibleError(f"condition-aware needs an affine path, not {type(path).__name__}")
        self.spec, self.network = spec, network
        self.schedule: Schedule = CondOT() if path is None or path.schedule is None else path.schedule
        self.source_shift = ConditionShift(spec, width, head) if shift != "target" else None
        self.target_shift = ConditionShift(spec, width, head) if shift != "source" else None
        speak_for(self, network)
        self.conditional = True  # the shifts are

    def shifts(self, cond: Cond, like: Tensor) -> tuple[Tensor, Tensor]:
        """``mu_0(y)`` and ``mu_1(y)`` beside states ``like``, 0 where an end does not move."""
        zero = torch.zeros_like(like)
        first, last = (
            zero if net is None else net(cond, len(like)) for net in (self.source_shift, self.target_shift)
        )
        layout = Layout.of(self.spec, cond)
        return (first, last) if layout is None else (layout.still(first), layout.still(last))

    def forward(self, x: Tensor, t: Tensor, /, **cond: Tensor) -> Tensor:
        """Velocity in the coordinates of the data: ``(batch, *event)``."""
        first, last = self.shifts(cond, x)
        time, schedule = expand(t.to(x.dtype), x), self.schedule
        moved = x + schedule.sigma(time) * first + schedule.alpha(time) * last
        drift = schedule.d_sigma(time) * first + schedule.d_alpha(time) * last
        velocity: Tensor = self.network(moved, t, **cond)
        return velocity - drift
