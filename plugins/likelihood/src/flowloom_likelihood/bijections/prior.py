"""The learned prior of the last level."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flowloom.models import ConditionEmbedding
from flowloom.spec import Condition
from flowloom.state import Cond
from flowloom_likelihood.bijections.base import Bijection, Image


class Prior(Bijection):
    r"""A learned Gaussian, diagonal and the same at every place, that may know the conditions.

    .. math:: z = (h - \mu(c)) / \sigma(c), \qquad \log|\det| = -HW \sum_c \log\sigma(c)

    (1807.03039, section 6). It starts as N(0, 1) whatever the conditions are.

    Args:
        channels: of images ``(batch, channels, H, W)``.
        conditions: those that it may know; only conditions that inform a network count.
        width: of their embedding.
    """

    def __init__(
        self, channels: int, conditions: Mapping[str, Condition] | None = None, width: int = 64
    ) -> None:
        super().__init__()
        told = {name: c for name, c in (conditions or {}).items() if c.role == "inform"}
        self.moments = nn.Parameter(torch.zeros(2 * channels))
        self.embedding = ConditionEmbedding(told, width) if told else None
        if self.embedding is not None:
            self.read = nn.Linear(width, 2 * channels, bias=False)
            nn.init.zeros_(self.read.weight)

    def _moments(self, cond: Cond, x: Tensor) -> tuple[Tensor, Tensor]:
        moments = self.moments.expand(len(x), -1)
        if self.embedding is not None:
            moments = moments + self.read(self.embedding(cond, len(x)))
        mean, log_std = moments[:, :, None, None].chunk(2, 1)
        return mean, log_std

    def transform(self, x: Tensor, cond: Cond) -> Image:
        """Standardise."""
        mean, log_std = self._moments(cond, x)
        return (x - mean) * (-log_std).exp(), -log_std.flatten(1).sum(1) * math.prod(x.shape[2:])

    def inverse(self, z: Tensor, cond: Cond) -> Tensor:
        """Undo it."""
        mean, log_std = self._moments(cond, z)
        return z * log_std.exp() + mean
