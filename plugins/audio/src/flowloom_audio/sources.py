"""Noise as loud as the sound that it becomes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.data import Dataset
from flowloom.draw import GLOBAL, Draw
from flowloom.errors import DataError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.sources import Source
from flowloom.spec import Spec
from flowloom.state import Cond, sum_event
from flowloom_audio.loudness import energy, loudness

__all__ = ["FrameEnergy"]


class FrameEnergy(nn.Module, Source):
    r"""Normal noise whose standard deviation follows the energy of log-mel frames (PriorGrad 2106.06406).

    With :math:`e_k` the root of the summed squares of frame k's magnitudes and the largest of the training
    data as measure, samples of frame k have :math:`\sigma_k = \max(\mathrm{floor}, e_k / \max e)`,
    interpolated from frame to frame, times ``scale``; without frames it is ``scale`` everywhere. Bands of a
    waveform, one dimension before that of the samples, have the same noise each. Frames that
    are withheld from the network are read here all the same, as in training, where noise is drawn first.

    Args:
        mel: name of the condition of log-mel frames ``(frames, bands)``.
        floor: smallest standard deviation: in silence there is something to move as well.
        scale: of all of them, so that noise is as loud as the waveforms.
    """

    largest: Tensor

    def __init__(self, mel: str = "mel", floor: float = 0.1, scale: float = 1.0) -> None:
        super().__init__()
        if not 0 < floor <= 1 or not 0 < scale < math.inf:
            raise ValueError(f"floor lies in (0, 1] and scale is positive, got {floor} and {scale}")
        self.mel, self.floor, self.scale = mel, floor, scale
        self.register_buffer("largest", torch.ones(()))

    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Measure the loudest frame of at most 1,000 rows.

        Raises:
            DataError: there are no data, or no frames among their conditions.
        """
        if data is None or self.mel not in data.spec.conditions:
            raise DataError(f"source frame-energy measures the condition '{self.mel}', which the data lacks")
        frames = data.take(data.evenly(1000)).cond[self.mel]
        self.largest = energy(frames).max().to(self.largest)

    def noise(self, shape: Any, draw: Draw = GLOBAL, *, cond: Cond | None = None) -> Any:
        """Normal noise, louder where frames are."""
        noise = draw.normal(shape)
        return noise * self.std_of(shape, cond or {}, noise)

    def std_of(self, shape: Any, cond: Cond, like: Tensor) -> Tensor:
        """Standard deviations ``shape`` of waveforms ``(batch, ..., samples)`` under conditions."""
        frames = cond.get(self.mel)
        if frames is None:
            return torch.full(tuple(shape), self.scale, device=like.device, dtype=like.dtype)
        std = self.scale * loudness(frames.to(like), self.largest, self.floor, shape)
        return std.expand(tuple(shape))

    def log_prob(self, x: Any, cond: Cond | None = None, layout: Layout | None = None) -> Tensor:
        """Of independent normal entries."""
        std = self.std_of(x.shape, cond or {}, x)
        entries = -0.5 * (x / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
        return sum_event(entries) if layout is None else layout.sum(entries)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """Data without the frames."""
        spec = parts.get("spec")
        if isinstance(spec, Spec) and self.mel not in spec.conditions:
            yield Clash(
                "source",
                "data",
                f"frame-energy follows the condition '{self.mel}', which the data lacks; add the view "
                "mel-beside",
            )
