"""Contrastive flow matching: away from the velocities of other examples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flowloom.conditions import withheld
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.objectives import Batch, FlowMatching, Loss, Step
from flowloom.objectives.flow_matching import Quantity
from flowloom.paths import Path, Point
from flowloom.state import Cond, batch_size, first_leaf, take
from flowloom.times import TimeLaw
from flowloom.weights import Weight


class ContrastiveFlowMatching(FlowMatching):
    r"""Flow matching that is pushed off the target of another example (2506.05350).

    .. math:: L = \frac1B\sum_i \|v_i - u_i\|^2 - \frac\lambda{|I|}\sum_{i \in I}\|v_i - u_{j(i)}\|^2

    with j(i) uniform over the other rows of the batch and :math:`u_j` the target of row j: its own data,
    noise and time. I are the rows whose condition is shown; without one there is nothing to tell apart. There
    is no further network call. The best answer where it is shown is affine in that of flow matching,

    .. math:: v^\star = (E[u | x_t, y] - \lambda' T) / (1 - \lambda'), \qquad T = E[u_j],
        \quad \lambda' = \lambda / (1 - p),

    which `InterferenceRemoval` undoes, with p the share of rows from which conditions are withheld: the rest
    has all of the contrast (`pull`). Logs ``flow_matching`` and ``contrast``: the loss itself may be
    negative.

    Args:
        path: flat; see `FlowMatching`.
        times: see `FlowMatching`.
        weight: see `FlowMatching`.
        predict: see `FlowMatching`.
        compare_as: see `FlowMatching`.
        condition_dropout: see `FlowMatching`.
        strength: :math:`\lambda`, with :math:`\lambda'` in [0, 1).
        other_than: a class condition: only rows of another class then count as others.

    Raises:
        IncompatibleError: the space is curved, where velocities of different points have no difference.
    """

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        weight: Weight | None = None,
        predict: Quantity = "velocity",
        compare_as: Quantity | None = None,
        condition_dropout: float = 0.0,
        strength: float = 0.05,
        other_than: str | None = None,
    ) -> None:
        super().__init__(path, times, weight, predict, compare_as, condition_dropout)
        if not 0 <= strength < 1 - condition_dropout:
            raise ValueError(
                f"strength must lie in [0, {1 - condition_dropout:g}), where the loss has a minimum, got "
                f"{strength}"
            )
        if not self.path.geometry.flat:
            raise IncompatibleError(
                f"contrastive compares velocities of different points, which {self.path.geometry} does not "
                "allow; use objective: flow-matching"
            )
        self.strength, self.other_than = strength, other_than

    @property
    def pull(self) -> float:
        r""":math:`\lambda'`: the strength for rows that show their condition, which have that of all."""
        return self.strength / (1 - self.condition_dropout)

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Flow matching less the contrast; the target of row j is never that of row i."""
        asked = self.ask(model, batch, step)
        point, t = asked.point, asked.point.t
        near = self.rows(self.compare(asked.prediction, point, asked.cond), t, batch.layout).mean()
        other, counted = self._others(batch, asked.cond, step.generator)
        theirs = Point(point.x_t, t, *(_rows(v, other) for v in (point.velocity, point.x0, point.x1)))
        far = self.rows(self.compare(asked.prediction, theirs, asked.cond), t, _shared(batch.layout, other))
        contrast = (far * counted).sum() / counted.sum().clamp_min(1)
        parts = {"flow_matching": near.detach(), "contrast": contrast.detach()}
        return Loss(near - self.strength * contrast, parts)

    def _others(self, batch: Batch, cond: Cond, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """j(i) for every row, and 1 where the row is told its condition and has another, else 0."""
        n, device = batch_size(batch.x1), first_leaf(batch.x1).device
        where = generator.device if generator else device
        if self.other_than is None:
            step = torch.randint(1, max(n, 2), (n,), generator=generator, device=where).to(device)
            other = (torch.arange(n, device=device) + step) % n
            counted = torch.full((n,), n > 1, device=device)
        else:
            label = batch.cond[self.other_than]
            allowed = label[:, None] != label
            # The largest of independent uniforms is a uniform choice among those that are allowed.
            draws = torch.rand(n, n, generator=generator, device=where).to(device)
            other, counted = torch.where(allowed, draws, -1.0).argmax(1), allowed.any(1)
        for name in batch.cond:
            hidden = withheld(cond, name)
            if hidden is not None:
                counted = counted & ~hidden
        return other, counted.to(first_leaf(batch.x1).dtype)


def _rows(value: Any, rows: Tensor) -> Any:
    return None if value is None else take(value, rows)


def _shared(layout: Layout | None, other: Tensor) -> Layout | None:
    """The layout of what is real and free in a row and in the other one."""
    return None if layout is None else Layout(real=_both(layout.free, layout.take(other).free))


def _both(a: Any, b: Any) -> Any:
    if isinstance(a, dict):
        return {name: _both(leaf, b[name]) for name, leaf in a.items()}
    return None if a is None else a & b
