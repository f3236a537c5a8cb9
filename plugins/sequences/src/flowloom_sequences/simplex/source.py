"""Dirichlet noise."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowloom.draw import GLOBAL, Draw
from flowloom.errors import ShapeError
from flowloom.layout import Layout
from flowloom.sources import Source
from flowloom.state import Cond, sum_event
from flowloom_sequences.simplex.geometry import FlatSimplex


class DirichletSource(Source):
    """Independent rows from a symmetric Dirichlet law; concentration 1 is uniform on the simplex.

    Args:
        concentration: of every entry.
    """

    def __init__(self, concentration: float = 1.0) -> None:
        if not 0 < concentration < math.inf:
            raise ValueError(f"concentration must be positive, got {concentration}")
        self.concentration = concentration

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Tensor:
        """Rows ``(n, ..., K)``."""
        if isinstance(shape, dict) or len(shape) < 2:
            raise ShapeError(f"dirichlet noise needs rows of probabilities (n, ..., K), got shape {shape}")
        if self.concentration == 1:
            return FlatSimplex().random(shape, draw)
        if self.concentration < 0.1:
            return self._peaked(shape, draw)
        alpha = torch.full(shape, self.concentration, device=draw.device, dtype=draw.dtype)
        gamma = torch._standard_gamma(alpha, generator=draw.generator).clamp_min(
            torch.finfo(alpha.dtype).tiny
        )
        return gamma / gamma.sum(-1, keepdim=True)

    def _peaked(self, shape: Any, draw: Draw) -> Tensor:
        """By logarithms, as the numbers themselves vanish: Gamma(a) is Gamma(a + 1) times U^(1/a)."""
        alpha = torch.full(shape, self.concentration + 1, device=draw.device, dtype=draw.dtype)
        gamma = torch._standard_gamma(alpha, generator=draw.generator)
        u = draw.uniform(shape).to(gamma).clamp_min(torch.finfo(gamma.dtype).tiny)
        return (gamma.log() + u.log() / self.concentration).softmax(-1)

    def log_prob(self, x: Any, cond: Cond | None = None, layout: Layout | None = None) -> Tensor:
        """Log density with respect to the simplex's volume, ``(batch,)``; of its real and free rows."""
        k, a = x.shape[-1], self.concentration
        constant = math.lgamma(k * a) - k * math.lgamma(a) - 0.5 * math.log(k)
        rows = constant + (a - 1) * x.clamp_min(torch.finfo(x.dtype).tiny).log().sum(-1)
        return sum_event(rows) if layout is None else layout.sum(rows)
