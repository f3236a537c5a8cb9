"""Laws of x0 for lattices: log-normal lengths, angles uniform in their range."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowloom.data import Dataset
from flowloom.draw import GLOBAL, Draw
from flowloom.errors import DataError
from flowloom.flow import Flow
from flowloom.layout import Layout, moments
from flowloom.sources import Source
from flowloom.state import Cond, sum_event


class LogNormal(Source, nn.Module):
    r"""Independent entries whose logarithms are normal, with the data's mean and deviation.

    .. math:: \log p(x) = \sum_i -\log(x_i s_i \sqrt{2\pi}) - (\log x_i - m_i)^2 / (2 s_i^2)

    The law of cell lengths in FlowMM (2406.04713).

    Args:
        size: entries of the last dimension, each with statistics of its own; one for all where None.
        location: m before it is fitted.
        scale: s before it is fitted.
        least: smallest deviation of a logarithm.

    Raises:
        ValueError: the size is less than 1, or a number is not finite, or a deviation not above 0.
    """

    location: Tensor
    scale: Tensor

    def __init__(
        self, size: int | None = None, location: float = 0.0, scale: float = 1.0, least: float = 1e-3
    ) -> None:
        nn.Module.__init__(self)
        for name, value in (("scale", scale), ("least", least)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}")
        if not math.isfinite(location):
            raise ValueError(f"location must be finite, got {location}")
        if size is not None and size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        shape = () if size is None else (size,)
        self.least = least
        self.register_buffer("location", torch.full(shape, location))
        self.register_buffer("scale", torch.full(shape, scale))

    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Measure the logarithms of the training rows, where they are real.

        Raises:
            DataError: there is no data, or an entry is not positive.
        """
        if data is None:
            raise DataError("source log-normal measures data, and this recipe has none")
        # Evenly spread: rows of a file are often sorted.
        some = data.take(data.evenly(10_000)).laid_out(data.spec)
        x = some.x
        if isinstance(x, Tensor) and some.layout is not None:
            x = some.layout.fill(x)
        if not isinstance(x, Tensor) or not bool((x > 0).all()):
            raise DataError("source log-normal is of one tensor of positive numbers")
        logs = x.double().log()
        axes = tuple(range(logs.ndim - self.location.ndim))
        mean, spread = moments(logs, some.layout, axes)
        spread = spread.clamp_min(self.least) if len(x) > 1 else torch.ones_like(self.scale)
        self.location, self.scale = mean.to(self.location), spread.to(self.scale)

    def noise(self, shape: tuple[int, ...], draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Tensor:
        """``exp(m + s z)``."""
        z = draw.normal(shape)
        return (self.location.to(z) + self.scale.to(z) * z).exp()

    def log_prob(self, x: Tensor, cond: Cond | None = None, layout: Layout | None = None) -> Tensor:
        """Minus infinity where an entry is not positive."""
        inside = x > 0
        logs = torch.where(inside, x, torch.ones_like(x)).log()
        scale = self.scale.to(x)
        z = (logs - self.location.to(x)) / scale
        entries = -0.5 * z.square() - logs - scale.log() - 0.5 * math.log(2 * math.pi)
        entries = torch.where(inside, entries, torch.full_like(entries, -math.inf))
        return sum_event(entries) if layout is None else layout.sum(entries)


class Logistic(Source):
    r"""Independent standard logistic entries: what is uniform in (0, 1) before a logit.

    .. math:: \log p(x) = \sum_i -|x_i| - 2 \log(1 + e^{-|x_i|})

    The law of cell angles in FlowMM's chart, where they are uniform in degrees.
    """

    def noise(self, shape: tuple[int, ...], draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Tensor:
        """Logits of uniform numbers."""
        u = draw.uniform(shape)
        eps = torch.finfo(u.dtype).eps
        return torch.logit(u.clamp(eps, 1 - eps))

    def log_prob(self, x: Tensor, cond: Cond | None = None, layout: Layout | None = None) -> Tensor:
        """In closed form."""
        entries = -x.abs() - 2 * torch.log1p((-x.abs()).exp())
        return sum_event(entries) if layout is None else layout.sum(entries)
