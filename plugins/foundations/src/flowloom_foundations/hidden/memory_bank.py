"""Repulsor: features pushed away from those of earlier batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.conditions import drop
from flowloom.draw import Draw
from flowloom.objectives import Batch, FlowMatching, Loss, Step
from flowloom.paths import Path
from flowloom.state import batch_size
from flowloom.times import TimeLaw
from flowloom_foundations.hidden.tap import tapped


class MemoryBank(FlowMatching):
    r"""Flow matching whose features are dispersed against a queue of earlier ones (Repulsor, 2512.08648).

    .. math:: L = L_{FM} + w\,\frac1B \sum_i \log \frac1{|Q|} \sum_{m \in Q} e^{-|z_i - m|^2 / \tau},
              \qquad z = P(h) / |P(h)|

    with h the pooled features of an early block and P a small network: InfoNCE without a positive, whose
    negatives are not bounded by the batch. Q holds the z of the last ``queue`` rows without gradient,
    first in, first out; a batch is put in after its own loss was taken, and before Q is full there is only
    :math:`L_{FM}`. ``queue: 0`` takes the other rows of the batch instead: the dispersive loss
    (2506.09027). Sampling needs neither P nor Q, which stay in the objective: the network is as it was.

    Logs ``flow_matching`` and ``repulsion``. Sizes are our reading: the text of the paper was not at hand.
    With ``train.parallel: {batch: own}`` each process has a queue of its own rows, which a checkpoint keeps.

    Args:
        path: see `FlowMatching`.
        times: see `FlowMatching`.
        block: of the network, see `tapped`; the papers take one at a quarter of the depth.
        width: of the features of that block.
        dim: of z.
        queue: length of Q.
        strength: w.
        temperature: tau.
        averaged: whether Q is filled by the averaged network (``train.ema``), which drifts less, at one
        call more. condition_dropout: see `FlowMatching`.
    """

    bank: Tensor
    held: Tensor

    def __init__(
        self,
        path: Path | None = None,
        times: TimeLaw | None = None,
        block: str = "blocks.0",
        width: int = 64,
        dim: int = 64,
        queue: int = 1024,
        strength: float = 0.5,
        temperature: float = 0.5,
        averaged: bool = False,
        condition_dropout: float = 0.0,
    ) -> None:
        super().__init__(path, times, condition_dropout=condition_dropout)
        if min(width, dim) < 1 or queue < 0 or not 0 <= strength < math.inf:
            raise ValueError("memory-bank: width and dim from 1, queue and strength from 0")
        if not 0 < temperature < math.inf:
            raise ValueError(f"memory-bank: temperature is positive and finite, got {temperature}")
        self.block, self.queue, self.averaged = block, queue, averaged
        self.averages = averaged and queue > 0
        self.strength, self.temperature = strength, temperature
        self.project = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, dim))
        self.register_buffer("bank", torch.zeros(queue, dim))
        self.register_buffer("held", torch.zeros((), dtype=torch.long))

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Flow matching and the repulsion; then the batch joins the queue, in training."""
        n = batch_size(batch.x1)
        t = self.times.sample(n, Draw.like(batch.x1, step.generator))
        point = batch.point(self.path, t, step.generator)
        cond = drop(batch.cond, self.condition_dropout, n, step.generator)
        answer, hidden = tapped(model, self.block, point.x_t, t, cond, batch.layout)
        if batch.layout is not None:
            answer = self.quieted(answer, point, batch.layout)
        near = self.rows(self.compare(answer, point, cond), t, batch.layout).mean()
        z = self._embed(hidden)
        far = self.repulsion(z)
        if self.training and self.queue:
            with torch.no_grad():
                if self.averaged:
                    mean = step.averaged
                    assert isinstance(mean.objective, MemoryBank)
                    told = tapped(mean.model, self.block, point.x_t, t, cond, batch.layout)[1]
                    z = mean.objective._embed(told)
                self._push(z.detach())
        parts = {"flow_matching": near.detach(), "repulsion": far.detach()}
        return Loss(near + self.strength * far, parts)

    def repulsion(self, z: Tensor) -> Tensor:
        """Mean log of the mean kernel between rows ``(n, dim)`` and negatives; 0 where there are none."""
        if not self.queue:
            if len(z) < 2:
                return z.sum() * 0
            others = torch.cdist(z, z).square() / -self.temperature
            own = torch.eye(len(z), dtype=torch.bool, device=z.device)
            return others.masked_fill(own, -math.inf).logsumexp(1).mean() - math.log(len(z) - 1)
        # A copy: the batch overwrites the queue before the gradient is taken.
        kernel = torch.cdist(z, self.bank.clone()).square() / -self.temperature
        full = (self.held >= self.queue).to(z.dtype)
        return full * (kernel.logsumexp(1).mean() - math.log(self.queue))

    def _embed(self, hidden: Tensor) -> Tensor:
        return F.normalize(self.project(hidden), dim=1)

    def _push(self, z: Tensor) -> None:
        """Put rows in at the end; as many leave at the front."""
        joined = torch.cat([self.bank, z.to(self.bank)])
        self.bank.copy_(joined[len(joined) - self.queue :])
        self.held.add_(len(z)).clamp_(max=self.queue)
