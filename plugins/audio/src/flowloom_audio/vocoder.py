"""Sound from log-mel frames by a trained waveform flow: at once, or in chunks as frames arrive."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from flowloom.codecs import Identity, Standardize
from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.seeds import derive
from flowloom.solvers import Solver
from flowloom.spec import Spec
from flowloom_audio.emphasis import PreEmphasis
from flowloom_audio.sources import FrameEnergy

__all__ = ["FromFrames", "Vocoder"]

_BLOCK = 16
"""Frames whose noise is drawn together, so that a frame has the same noise however many come before it."""
_TOGETHER = 2**17
"""Most samples in one solve on a CPU: the memory of more is asked of the system and given back by every
operation, which made 48 rows of 1.8 s take 2.4 times as long as in parts."""


@runtime_checkable
class FromFrames(Protocol):
    """A network of waveforms of any length that is told frames, such as `PeriodWave` and `SpectralVocoder`.

    Attributes:
        spec: of the waveforms that it is trained on.
        name: of the condition of frames.
        hop: samples of a frame.
    """

    spec: Spec
    name: str
    hop: int


class Vocoder:
    """A trained flow of waveforms from frames, asked about any number of them.

    Chunks are solved with ``context`` frames on both sides, which are then thrown away, from the noise that
    these frames would have in one solve over all. What is heard differs from that by what lies beyond the
    context, and by the response normalisation of the frames, which looks at all of them; joints do not click.

    Args:
        flow: trained, its network one `FromFrames`.
        solver: in place of the flow's own.

    Raises:
        IncompatibleError: the network is another one, starts from something else than normal noise, or its
            states are of one length alone.
    """

    def __init__(self, flow: Flow, solver: Solver | None = None) -> None:
        if not isinstance(flow.model, FromFrames):
            raise IncompatibleError(
                f"a vocoder has a model of waveforms from frames (spectral-vocoder, periodwave), not "
                f"{type(flow.model).__name__}"
            )
        if not isinstance(flow.source, FrameEnergy) and flow.source.std is None:
            raise IncompatibleError("a vocoder starts from noise: source frame-energy or gaussian")
        codec = flow.codec
        whole = isinstance(codec, Standardize) and not codec.per_entry
        if not (whole or isinstance(codec, Identity | PreEmphasis | None)):
            raise IncompatibleError(
                "a vocoder makes waveforms of any length: its codec is none, pre-emphasis, or "
                "{use: standardize, per_entry: false}"
            )
        name, told = flow.model.name, dict[str, str | None]()
        if isinstance(flow.source, FrameEnergy):
            told["source frame-energy"] = flow.source.mel
        if isinstance(codec, PreEmphasis):
            told["codec pre-emphasis"] = codec.level
        for who, frames in told.items():
            if frames is not None and frames != name:
                raise IncompatibleError(
                    f"a vocoder is told one kind of frames: its model '{name}', its {who} '{frames}'"
                )
        self.flow, self.solver, self.model = flow, solver or flow.solver, flow.model

    def __call__(self, frames: Tensor, *, seed: int = 0) -> Tensor:
        """Waveforms ``(batch, frames * hop)`` of log-mel frames ``(batch, frames, bands)``.

        Args:
            frames: log magnitudes, as the view mel-beside gives them.
            seed: of the noise.

        Raises:
            ShapeError: there are no frames, or frames of other bands.
        """
        return self._solved(frames, 0, seed)

    def chunks(self, frames: Tensor, *, size: int = 16, context: int = 16, seed: int = 0) -> Iterator[Tensor]:
        """The same in pieces ``(batch, size * hop)``, the first as soon as its frames and context are there.

        Args:
            frames: see `__call__`.
            size: frames of a piece.
            context: frames on either side that a piece is solved with, and so many before it as codec
                pre-emphasis remembers, at least.
            seed: of the noise.
        """
        if size < 1 or context < 0:
            raise ValueError(f"size must be at least 1 and context not negative, got {size} and {context}")
        hop, count = self.model.hop, frames.shape[1]
        codec = self.flow.codec
        memory = math.ceil(codec.memory() / hop) if isinstance(codec, PreEmphasis) else 0
        for start in range(0, count, size):
            first, last = max(0, start - max(context, memory)), min(count, start + size + context)
            piece = self._solved(frames[:, first:last], first, seed)
            yield piece[:, (start - first) * hop : (min(count, start + size) - first) * hop]

    @torch.no_grad()
    def _solved(self, frames: Tensor, first: int, seed: int) -> Tensor:
        """Waveforms of frames, of which the first is frame ``first`` of the whole."""
        bands = self.model.spec.conditions[self.model.name].shape[-1]
        if frames.ndim != 3 or not frames.shape[1] or frames.shape[2] != bands:
            raise ShapeError(f"a vocoder takes frames (batch, frames, {bands}), got {tuple(frames.shape)}")
        frames = frames.to(self.flow.device, self.flow.dtype)
        cond = {self.model.name: frames}
        size = (len(frames), frames.shape[1] * self.model.hop)
        with self.flow.evaluating():
            white = self._noise(len(frames), first, frames.shape[1], seed).to(frames)
            law = self.flow.source
            if isinstance(law, FrameEnergy):
                x0 = white * law.std_of(size, cond, white)
            else:
                assert law.std is not None
                x0 = white * law.std
            return torch.cat([self._heard(*part) for part in self._parts(x0, frames)])

    def _heard(self, x0: Tensor, frames: Tensor) -> Tensor:
        found = self.solver.solve(self.flow.field(), x0, cond={self.model.name: frames}).x
        heard = self.flow.decode(Examples(found, {self.model.name: frames})).x
        assert isinstance(heard, Tensor)
        return heard

    @staticmethod
    def _parts(x0: Tensor, frames: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows that are solved together: all of them, but few on a CPU."""
        rows = max(1, _TOGETHER // max(1, x0.shape[1])) if x0.device.type == "cpu" else len(x0)
        return zip(x0.split(rows), frames.split(rows), strict=True)

    def _noise(self, rows: int, first: int, count: int, seed: int) -> Tensor:
        """White noise of ``count`` frames from frame ``first`` on: ``(rows, count * hop)``."""
        hop, blocks = self.model.hop, range(first // _BLOCK, -(-(first + count) // _BLOCK))
        drawn = []
        for block in blocks:
            draws = torch.Generator().manual_seed(derive(seed, "vocoder", block))
            drawn.append(torch.randn(rows, _BLOCK * hop, generator=draws))
        start = (first - blocks[0] * _BLOCK) * hop
        return torch.cat(drawn, 1)[:, start : start + count * hop]
