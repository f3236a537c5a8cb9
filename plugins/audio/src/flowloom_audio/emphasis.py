"""Waveforms with all frequencies of speech about equally loud."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from flowloom.codecs import StateCodec
from flowloom.data import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.layout import Layout, moments
from flowloom.spec import Spec
from flowloom.state import sum_event

__all__ = ["PreEmphasis"]


class PreEmphasis(StateCodec):
    r"""Pre-emphasised waveforms of unit deviation: :math:`y_n = (x_n - a\,x_{n-1}) / s`, :math:`x_{-1} = 0`.

    Speech falls by some 6 dB an octave, so that a squared error of waveforms listens to its lowest harmonics
    alone, and white noise drowns all others until the last steps of a solve. The difference of neighbours
    flattens that (Markel and Gray 1976; LPCNet 1810.11846 has 0.85), and its inverse
    :math:`x_n = s\,y_n + a\,x_{n-1}` quiets the hiss that a network adds. Lossless, for any length.

    Args:
        spec: of the data, waveforms ``(..., samples)``; injected from the recipe.
        factor: a, in [0, 1); 0 for standardising alone.
        rows: training rows to measure s on, at most.

    Raises:
        IncompatibleError: the data are no waveforms, or some of their samples are given: what the inverse
            makes of a sample depends on all before it.
    """

    std: Tensor

    def __init__(self, spec: Spec, factor: float = 0.95, rows: int = 1000) -> None:
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
        if not 0 <= factor < 1 or rows < 1:
            raise ValueError(f"factor lies in [0, 1) and rows is at least 1, got {factor} and {rows}")
        self.factor, self.rows = factor, rows
        self.register_buffer("std", torch.ones(()))

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
        flat = self._flattened(examples.x)
        _, std = moments(flat, examples.layout, tuple(range(flat.ndim)))
        self.std = torch.where(std > 0, std, 1.0).to(self.std)

    def encode_state(self, x: Any) -> Tensor:
        """Waveforms to differences of neighbours."""
        return self._flattened(x) / self.std

    def decode_state(self, x: Any) -> Tensor:
        """Differences summed up again, every sample before one fading by ``factor`` a step.

        The sum is a convolution with the powers of ``factor`` that are not lost in rounding.
        """
        whole = x.reshape(-1, 1, x.shape[-1]) * self.std
        reach = 1
        if self.factor > 0:
            reach = math.ceil(math.log(torch.finfo(whole.dtype).eps / 8) / math.log(self.factor))
        reach = min(max(1, reach), whole.shape[-1])
        powers = self.factor ** torch.arange(reach - 1, -1, -1, device=x.device, dtype=torch.float64)
        heard = F.conv1d(F.pad(whole, (reach - 1, 0)), powers.to(whole.dtype)[None, None])
        return heard.reshape(x.shape)

    def log_det(self, examples: Examples) -> Tensor:
        """``-log s`` for every real sample of a row: the matrix of differences has ones on its diagonal."""
        x, layout = examples.x, Layout.of(self.data_spec, examples.cond)
        assert isinstance(x, Tensor)
        entries = -self.std.log().expand(x.shape)
        return sum_event(entries if layout is None else layout.zero(entries))

    def _flattened(self, x: Tensor) -> Tensor:
        return x - self.factor * F.pad(x, (1, 0))[..., :-1]
