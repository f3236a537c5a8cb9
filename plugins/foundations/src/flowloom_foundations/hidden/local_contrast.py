"""Local contrastive flow matching: no velocities next to the data, but features that do not move."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.conditions import drop
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, Wrapped
from flowloom.objectives import Batch, FlowMatching, Loss, Step
from flowloom.paths import Path
from flowloom.sources import Source
from flowloom.state import Cond, State, batch_size, take
from flowloom.times import TimeLaw
from flowloom_foundations.hidden.tap import tapped


class LocalContrast(FlowMatching):
    r"""Flow matching down to a noise level, and contrast of features below it (2509.20952).

    With little noise s = 1 - t, states that differ by O(s) have targets that differ by O(1): the regression
    has a Lipschitz constant of 1 / s, and the network spends its features on noise. So

    .. math:: L = E\big[1_{s \ge s_{min}} |v(x_t, t) - (x_1 - x_0)|^2
              - \lambda\,1_{s < s_{min}} \log\frac{\exp(-|h_i - a_i|^2 / \tau)}{\sum_j \exp(-|h_i - a_j|^2
              / \tau)}\big]

    with h the features of a block at (x_t, t), a those of the same example at the level s_min, under other
    noise and without gradient; all of unit length, so that :math:`\tau` has a scale. Other examples of the
    batch with little noise are the negatives. The velocity is trained down to s_min only: the field is
    that of s_min from there on, so that Euler steps of which one begins at 1 - s_min jump to the data in
    one.

    Logs ``flow_matching`` and ``contrast``. Threshold, weight and temperature are our reading: the text of
    the paper was not at hand.

    Args:
        path: affine, in flat space.
        times: law of t; see `FlowMatching`.
        block: of the network, see `tapped`.
        least_noise: s_min.
        strength: lambda.
        temperature: tau.
        condition_dropout: see `FlowMatching`.

    Raises:
        IncompatibleError: the space is curved.
    """

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        block: str = "blocks.1",
        least_noise: float = 0.1,
        strength: float = 0.1,
        temperature: float = 0.1,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__(path, times, condition_dropout=condition_dropout)
        if not 0 < least_noise < 1 or not 0 <= strength < math.inf or not 0 < temperature < math.inf:
            raise ValueError(
                f"least_noise in (0, 1), strength from 0, temperature positive: {least_noise}, {strength}, "
                f"{temperature}"
            )
        if not self.path.geometry.straight:
            raise IncompatibleError(f"local-contrast is for flat space, not {self.path.geometry}")
        self.block, self.least_noise = block, least_noise
        self.strength, self.temperature = strength, temperature

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Velocities of the rows with noise, contrast of the others."""
        n, draw = batch_size(batch.x1), Draw.like(batch.x1, step.generator)
        t = self.times.sample(n, draw)
        point, cond = (
            batch.point(self.path, t, step.generator),
            drop(batch.cond, self.condition_dropout, n, step.generator),
        )
        answer, hidden = tapped(model, self.block, point.x_t, t, cond, batch.layout)
        if batch.layout is not None:
            answer = self.quieted(answer, point, batch.layout)
        noisy = (1 - t >= self.least_noise).float()
        errors = self.rows(self.compare(answer, point, cond), t, batch.layout)
        near = (errors * noisy).mean()
        far = self._contrast(model, batch, hidden, (noisy == 0).nonzero()[:, 0], draw) / n
        parts = {"flow_matching": near.detach(), "contrast": far.detach()}
        return Loss(near + self.strength * far, parts)

    def _contrast(self, model: nn.Module, batch: Batch, hidden: Tensor, rows: Tensor, draw: Draw) -> Tensor:
        """Sum over ``rows`` of the cross-entropy of finding their own anchor."""
        if len(rows) < 2:
            return hidden.sum() * 0
        x1, cond = take(batch.x1, rows), {name: value[rows] for name, value in batch.cond.items()}
        # Noise is independent of the data: that of a batch in another order is other noise.
        x0 = take(batch.x0, draw.permutation(len(hidden))[: len(rows)])
        t = torch.full((len(rows),), 1 - self.least_noise, device=hidden.device, dtype=hidden.dtype)
        layout = None if batch.layout is None else batch.layout.take(rows)
        with torch.no_grad():
            point = Batch(x0, x1, cond, layout).point(self.path, t, draw.generator)
            _, anchors = tapped(model, self.block, point.x_t, t, cond, layout)
        apart = torch.cdist(F.normalize(hidden[rows], dim=1), F.normalize(anchors, dim=1)).square()
        own = torch.arange(len(rows), device=hidden.device)
        return F.cross_entropy(-apart / self.temperature, own, reduction="sum")

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The velocity, of the last trained level from there on."""
        return _Held(super().field(model, source), 1 - self.least_noise)


class _Held(Wrapped):
    """A field whose time stands still near the data."""

    def __init__(self, field: Field, latest: float) -> None:
        super().__init__(field)
        self.latest = latest

    def __call__(self, x: State, t: Any, cond: Cond, generator: torch.Generator | None = None) -> State:
        return self.ask(x, t.clamp_max(self.latest), cond, generator)
