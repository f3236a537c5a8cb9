"""Classifier-free guidance that is trained in, and costs nothing when sampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowloom.conditions import doubled, is_null
from flowloom.state import Cond, State, batch_size, concat, expand, first_leaf, map_state, take

__all__ = ["GuidedTarget"]


@dataclass(frozen=True)
class GuidedTarget:
    r"""The velocity of a guided flow, as a target: MeanFlow with guidance (2505.13447, equations 19 to 21).

    .. math:: \tilde v = \omega\, v + \kappa\, u(x, s, s | c) + (1 - \omega - \kappa)\, u(x, s, s)

    where :math:`v` is the velocity of the conditional path and :math:`u` the network itself, without
    gradient. The effective scale is :math:`\omega' = \omega / (1 - \kappa)`, and :math:`\omega = 1, \kappa =
    0` is none. Rows whose conditions are withheld keep :math:`v`, and so learn the unconditional flow that
    the others are guided by. With ``fade``, as in
    SoFlow (2512.15657), :math:`\omega` grows smoothly from :math:`1 - \kappa`, which is none, to its own
    value in the first ``fade`` of the times.

    Args:
        scale: omega.
        mix: kappa, in ``[0, 1)``.
        interval: times of the state in which guidance is on. The paper's is ``[0, 0.75]`` of a time that has
            noise at 1, so ``(0.25, 1)`` of ours.
        fade: time up to which guidance grows, 0 for none.

    Raises:
        ValueError: an argument is out of range.
    """

    scale: float = 1.0
    mix: float = 0.0
    interval: tuple[float, float] = (0.0, 1.0)
    fade: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise ValueError(f"scale must be finite, got {self.scale}")
        if not 0 <= self.mix < 1:
            raise ValueError(f"mix must lie in [0, 1), got {self.mix}")
        if not 0 <= self.fade <= 1:
            raise ValueError(f"fade is a time in [0, 1], got {self.fade}")
        if self.interval[0] > self.interval[1]:
            raise ValueError(f"interval must be increasing, got {self.interval}")

    @property
    def effective_scale(self) -> float:
        """``omega / (1 - kappa)``: the scale of plain classifier-free guidance that it amounts to."""
        return self.scale / (1 - self.mix)

    @property
    def changes(self) -> bool:
        """Whether there is any guidance."""
        return self.scale != 1 or self.mix != 0

    def __call__(
        self, u: Callable[[State, Tensor, Cond], State], x: State, s: Tensor, velocity: State, cond: Cond
    ) -> State:
        """The target at states ``x`` and times ``s``.

        Args:
            u: the network at coinciding times, tangent at ``x``.
            x: states ``(batch, *event)``.
            s: their times ``(batch,)``.
            velocity: of the conditional path.
            cond: conditions, some rows of which may be withheld.
        """
        if not self.changes or all(is_null(name) for name in cond):
            return velocity
        n, low, high = batch_size(x), *self.interval
        with torch.no_grad():
            both = u(concat([x, x]), torch.cat([s, s]), doubled(cond, n, device=first_leaf(x).device))
        rows = torch.arange(2 * n, device=s.device).chunk(2)
        plain = (s < low) | (s > high)
        withheld = cond.get("null")
        if withheld is not None:
            plain = plain | withheld

        def leaf(v: Tensor, told: Tensor, untold: Tensor) -> Tensor:
            omega = expand(self._scale(s), v)
            mixed = omega * v + self.mix * told + (1 - omega - self.mix) * untold
            return torch.where(expand(plain, v), v, mixed)

        return map_state(leaf, velocity, take(both, rows[0]), take(both, rows[1]))

    def _scale(self, s: Tensor) -> Tensor:
        if self.fade == 0:
            return torch.full_like(s, self.scale)
        grown = (s / self.fade).clamp(0, 1)
        plain = 1 - self.mix
        return plain + (self.scale - plain) * grown.square() * (3 - 2 * grown)
