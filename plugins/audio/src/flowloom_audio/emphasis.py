"""Waveforms that are about as loud at all frequencies and times."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.codecs import Codec
from flowloom.data import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.layout import Layout, moments
from flowloom.spec import Spec
from flowloom.state import Cond, sum_event
from flowloom_audio.loudness import energy, loudness

__all__ = ["PreEmphasis"]


class PreEmphasis(Codec):
    r"""Pre-emphasised waveforms of unit deviation, :math:`y_n = (x_n - a\,x_{n-1}) / s_n`.

    Speech falls by some 6 dB an octave, so that a squared error of waveforms listens to its lowest harmonics
    alone, and white noise drowns all others until the last steps of a solve. The difference of neighbours
    flattens that (Markel and Gray 1976; LPCNet 1810.11846 has 0.85), and its inverse
    :math:`x_n = s_n\,y_n + a\,x_{n-1}` quiets the hiss that a network adds. Lossless, for any length.

    :math:`s_n` is one deviation for all. With ``level`` it is one times the loudness that log-mel frames tell
    (`flowloom_audio.loudness.loudness`): quiet consonants then weigh as much as vowels, which is the weighted
    error of PriorGrad (2106.06406) and the energy balance of RFWave (2403.05010), and standard normal noise
    is as loud as the sound everywhere.

    Args:
        spec: of the data, waveforms ``(..., samples)``; injected from the recipe.
        factor: a, in [0, 1); 0 for standardising alone.
        level: name of the condition of log-mel frames ``(frames, bands)`` that waveforms are levelled by.
        floor: least loudness beside that of the loudest frame: silence is amplified no further.
        rows: training rows to measure deviation and loudest frame on, at most.

    Raises:
        IncompatibleError: the data are no waveforms, lack the frames, or some of their samples are given:
            what the inverse makes of a sample depends on all before it.
    """

    std: Tensor
    largest: Tensor

    def __init__(
        self,
        spec: Spec,
        factor: float = 0.95,
        level: str | None = None,
        floor: float = 0.01,
        rows: int = 1000,
    ) -> None:
        super().__init__(spec)
        if spec.parts or spec.vocab is not None or not spec.shape:
            raise IncompatibleError(
                f"codec pre-emphasis is for waveforms (samples,); the data has shape {spec.event_shape()}"
            )
        if spec.named("given"):
            raise IncompatibleError(
                "codec pre-emphasis has no samples that are given alone: each depends on all before it; "
                "use standardize"
            )
        if level is not None and level not in spec.conditions:
            raise IncompatibleError(
                f"codec pre-emphasis levels by the condition '{level}', which the data lacks; add the view "
                "mel-beside"
            )
        if not 0 <= factor < 1 or not 0 < floor <= 1 or rows < 1:
            raise ValueError(
                f"factor lies in [0, 1), floor in (0, 1] and rows is positive, got {factor}, {floor}, {rows}"
            )
        self.factor, self.level, self.floor, self.rows = factor, level, floor, rows
        self.register_buffer("std", torch.ones(()))
        self.register_buffer("largest", torch.ones(()))

    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Measure the training data.

        Raises:
            DataError: there are none.
        """
        if data is None:
            raise DataError("codec pre-emphasis measures data, and this recipe has none")
        examples = data.take(data.evenly(self.rows)).laid_out(data.spec)
        assert isinstance(examples.x, Tensor)
        if self.level is not None:
            self.largest = energy(examples.cond[self.level]).max().clamp_min(1e-12).to(self.largest)
        self.std = torch.ones_like(self.std)
        flat = self._flattened(examples.x) / self._deviation(examples.x, examples.cond)
        _, std = moments(flat, examples.layout, tuple(range(flat.ndim)))
        self.std = torch.where(std > 0, std, 1.0).to(self.std)

    def encode(self, examples: Examples, generator: torch.Generator | None = None) -> Examples:
        """Waveforms to levelled differences of neighbours."""
        x = examples.x
        assert isinstance(x, Tensor)
        return Examples(self._flattened(x) / self._deviation(x, examples.cond), examples.cond)

    def decode(self, examples: Examples) -> Examples:
        """Differences summed up again, every sample before one fading by ``factor`` a step.

        The sum is a convolution with the powers of ``factor`` that are not lost in rounding.
        """
        x = examples.x
        assert isinstance(x, Tensor)
        whole = (x * self._deviation(x, examples.cond)).reshape(-1, 1, x.shape[-1])
        reach = min(max(1, self.memory(torch.finfo(whole.dtype).eps / 8)), whole.shape[-1])
        powers = self.factor ** torch.arange(reach - 1, -1, -1, device=x.device, dtype=torch.float64)
        heard = F.conv1d(F.pad(whole, (reach - 1, 0)), powers.to(whole.dtype)[None, None])
        return Examples(heard.reshape(x.shape), examples.cond)

    def memory(self, least: float = 1e-3) -> int:
        """Samples after which what came before has faded to ``least`` of itself in what `decode` makes."""
        return math.ceil(math.log(least) / math.log(self.factor)) if self.factor > 0 else 0

    def log_det(self, examples: Examples) -> Tensor:
        """``-log s_n`` of every real sample of a row: the matrix of differences has ones on its diagonal."""
        x, layout = examples.x, Layout.of(self.data_spec, examples.cond)
        assert isinstance(x, Tensor)
        entries = -self._deviation(x, examples.cond).log().expand(x.shape)
        return sum_event(entries if layout is None else layout.zero(entries))

    def _flattened(self, x: Tensor) -> Tensor:
        return x - self.factor * F.pad(x, (1, 0))[..., :-1]

    def _deviation(self, x: Tensor, cond: Cond) -> Tensor:
        """s_n, in a shape that fits ``x``; that of all where the frames are missing."""
        frames = None if self.level is None else cond.get(self.level)
        if frames is None:
            return self.std.to(x)
        return self.std.to(x) * loudness(frames.to(x), self.largest, self.floor, x.shape)
