"""Log-mel spectrograms: of waveforms, and back by Griffin-Lim or a vocoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from flowloom.codecs import Codec
from flowloom.data import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.layout import Layout
from flowloom.libraries import torchaudio
from flowloom.spec import Condition, Spec
from flowloom.state import Cond

__all__ = ["LogMel", "Mel"]

FLOOR = 1e-3
"""Smallest magnitude of a band before the logarithm: -60 dB."""


class Mel(nn.Module):
    """Log magnitudes of mel bands, one frame every ``hop`` samples.

    Frame k is of the samples around ``k hop``; beyond both ends is silence, so that a row's frames do not
    depend on how far it is padded. Bands are those of Slaney, normalised by their width.

    Args:
        rate: samples a second.
        bands: of a frame.
        window: samples that a frame sees.
        hop: samples from frame to frame.
    """

    def __init__(self, rate: int = 8000, bands: int = 64, window: int = 512, hop: int = 128) -> None:
        super().__init__()
        if not 0 < hop <= window or bands < 1:
            raise ValueError(
                f"hop must lie in [1, window], got {hop} and {window}; bands at least 1, got {bands}"
            )
        self.rate, self.bands, self.window, self.hop = rate, bands, window, hop
        self.spectrum = torchaudio().transforms.MelSpectrogram(
            rate,
            n_fft=window,
            hop_length=hop,
            n_mels=bands,
            power=1.0,
            pad_mode="constant",
            norm="slaney",
            mel_scale="slaney",
        )
        # Fixed by the numbers above, so that nothing of it belongs into a checkpoint.
        for module in self.spectrum.modules():
            module._non_persistent_buffers_set |= set(module._buffers)

    def forward(self, waves: Tensor) -> Tensor:
        """Waveforms ``(*batch, samples)``, a multiple of ``hop``, to ``(*batch, samples / hop, bands)``."""
        bands = self.spectrum(waves)[..., : waves.shape[-1] // self.hop]
        return bands.clamp_min(FLOOR).log().transpose(-1, -2)

    def frames(self, samples: int) -> int:
        """Frames that so many samples have."""
        return -(-samples // self.hop)


class LogMel(Codec):
    r"""Waveforms ``(samples,)`` as standardised log-mel spectrograms ``(frames, bands)``.

    Decoding finds a waveform by Griffin-Lim (Griffin and Lim 1984, with the momentum of Perraudin et al.
    2013) from magnitudes that the pseudo-inverse of the mel bands gives. Marks of real samples become marks
    of real frames; the conditions named in ``also`` are waveforms too and are encoded alike.

    Args:
        spec: of the data; injected from the recipe.
        rate: samples a second.
        bands: of a frame.
        window: samples that a frame sees.
        hop: samples from frame to frame.
        also: further conditions that are waveforms; those that the data lack are passed over.
        iterations: of Griffin-Lim.

    Raises:
        IncompatibleError: the data are no waveforms.
    """

    lossy: ClassVar[bool] = True
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        spec: Spec,
        rate: int = 8000,
        bands: int = 64,
        window: int = 512,
        hop: int = 128,
        also: Sequence[str] = ("prompt", "degraded", "reference"),
        iterations: int = 60,
    ) -> None:
        super().__init__(spec)
        if spec.parts or spec.vocab is not None or len(spec.shape) != 1:
            raise IncompatibleError(
                f"codec log-mel is for waveforms (samples,); the data has shape {spec.event_shape()}"
            )
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        self.mel = Mel(rate, bands, window, hop)
        self.also = tuple(name for name in also if name in spec.conditions)
        self.iterations = iterations
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("std", torch.ones(()))

    @property
    def spec(self) -> Spec:
        """Of spectrograms, with conditions over frames."""
        (samples,), mel = self.data_spec.shape, self.mel
        conditions: dict[str, Condition] = {}
        for name, condition in self.data_spec.conditions.items():
            if name in self.also:
                frames = mel.frames(condition.shape[0])
                conditions[name] = replace(condition, shape=(frames, mel.bands))
            elif condition.role in ("real", "given"):
                conditions[name] = replace(condition, shape=(mel.frames(samples),))
            elif condition.role == "values":
                conditions[name] = replace(condition, shape=(mel.frames(samples), mel.bands))
            else:
                conditions[name] = condition
        return Spec((mel.frames(samples), mel.bands), conditions=conditions)

    def fit(
        self, data: Dataset | None, flow: Flow | None = None, generator: torch.Generator | None = None
    ) -> None:
        """Mean of every band and one standard deviation of all, over real frames of at most 1,000 rows."""
        if data is None:
            raise DataError("codec log-mel measures data, and this recipe has none")
        rows = torch.arange(min(1000, len(data))) * len(data) // min(1000, len(data))
        examples = data.take(rows).to(self.mean.device)
        frames = self._frames(examples)
        layout = Layout.of(self.spec, self.encode_conditions({k: examples.cond[k] for k in self._marks()}))
        real = frames[layout.real] if layout is not None and layout.real is not None else frames.flatten(0, 1)
        self.mean = real.mean(0)
        self.std = (real - self.mean).square().mean().sqrt().clamp_min(1e-3)

    def encode(self, examples: Examples, generator: torch.Generator | None = None) -> Examples:
        """Spectrograms with conditions over frames."""
        return Examples(
            self.standardised(self._frames(examples)), dict(self.encode_conditions(examples.cond))
        )

    def encode_conditions(self, cond: Cond) -> Cond:
        """Marks of frames, and spectrograms of conditions that are waveforms."""
        found = dict(cond)
        for name, condition in self.data_spec.conditions.items():
            value = found.get(name)
            if value is None:
                continue
            if name in self.also:
                found[name] = self.standardised(self.mel(self._whole(value)))
            elif condition.role == "real":
                found[name] = self._blocks(value).any(2)
            elif condition.role == "given":
                # A frame that sees one unknown sample is not known.
                found[name] = self._blocks(value).all(2)
            elif condition.role == "values":
                found[name] = self.standardised(self.mel(self._whole(value)))
        return found

    def decode(self, examples: Examples) -> Examples:
        """Waveforms, silent where no frame is real, with marks of samples."""
        assert isinstance(examples.x, Tensor)
        samples = min(examples.x.shape[1] * self.mel.hop, self.data_spec.shape[0])
        layout = Layout.of(self.spec, examples.cond) or Layout()
        frames = self.logarithms(examples.x)
        if layout.real is not None:
            silence = torch.full_like(frames, FLOOR).log()
            frames = torch.where(layout.real[..., None], frames, silence)
        cond = dict(examples.cond)
        for name, condition in self.data_spec.conditions.items():
            if condition.role in ("real", "given") and name in cond:
                cond[name] = cond[name].repeat_interleave(self.mel.hop, 1)[:, :samples]
        waves = self.waveform(frames)[:, :samples]
        if layout.real is not None:
            waves = waves * layout.real.repeat_interleave(self.mel.hop, 1)[:, :samples]
        return Examples(waves, cond)

    def standardised(self, frames: Tensor) -> Tensor:
        """Log magnitudes as states."""
        return (frames - self.mean) / self.std

    def logarithms(self, states: Tensor) -> Tensor:
        """States as log magnitudes."""
        return states * self.std + self.mean

    def waveform(self, frames: Tensor) -> Tensor:
        """Log magnitudes ``(batch, frames, bands)`` to waveforms ``(batch, frames * hop)``."""
        filters = self.mel.spectrum.mel_scale.fb
        inverse = torch.linalg.pinv(filters.double()).to(frames.dtype)
        magnitudes = (frames.exp() @ inverse).clamp_min(0).transpose(1, 2)
        # The last frame once more: a transform of F frames is of (F - 1) hops.
        magnitudes = torch.cat([magnitudes, magnitudes[..., -1:]], -1)
        length = frames.shape[1] * self.mel.hop
        return torchaudio().functional.griffinlim(
            magnitudes,
            window=self.mel.spectrum.spectrogram.window,
            n_fft=self.mel.window,
            hop_length=self.mel.hop,
            win_length=self.mel.window,
            power=1.0,
            n_iter=self.iterations,
            momentum=0.99,
            length=length,
            rand_init=False,  # zero phases: the same spectrogram is always the same sound
        )

    def _frames(self, examples: Examples) -> Tensor:
        waves: Any = examples.x
        layout = Layout.of(self.data_spec, examples.cond)
        return self.mel(self._whole(waves if layout is None else layout.zero(waves)))

    def _marks(self) -> tuple[str, ...]:
        return self.data_spec.named("real")

    def _whole(self, waves: Tensor) -> Tensor:
        """Waveforms padded to whole hops."""
        return nn.functional.pad(waves, (0, -waves.shape[-1] % self.mel.hop))

    def _blocks(self, marks: Tensor) -> Tensor:
        """Marks of samples, a hop a row; what is padded to a whole hop is not marked."""
        padded = nn.functional.pad(marks.bool(), (0, -marks.shape[-1] % self.mel.hop))
        return padded.unflatten(1, (-1, self.mel.hop))
