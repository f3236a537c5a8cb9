"""What coders of sound learn from: spectra that sound alike, and a bottleneck that costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from flowloom.clashes import Clash, Parts
from flowloom.errors import ShapeError
from flowloom.fields import Field, Kind, NetworkField
from flowloom.objectives import Batch, Loss, Objective, Step
from flowloom.paths import AffinePath, Path
from flowloom.sources import Source
from flowloom_audio.codecs.mel import Mel
from flowloom_audio.coders.base import WaveCoder
from flowloom_audio.spectra import spectral_distance

__all__ = ["SoundCoding"]


class SoundCoding(Objective):
    r"""Reconstruction in several resolutions, and what the bottleneck costs.

    .. math:: L = w_m \frac1R \sum_r \|\log M_r x - \log M_r \hat x\|_1
        + w_s \frac1R \sum_r (\mathrm{sc}_r + \mathrm{mag}_r) + w_x \|x - \hat x\|_1 + w_b B

    with log-mel bands M at every window (EnCodec 2210.13438, DAC 2306.06546), spectral convergence and log
    magnitudes (Parallel WaveGAN 1910.11480), the waveform itself, and the cost B of the coder's own
    bottleneck: a divergence, or a commitment. All means over entries. The critics of those papers are left
    out: they sharpen what these losses leave blurred. Logs ``reconstruction``, the mean absolute difference
    of waveforms, and ``mel``, that of log-mel bands. Nothing is sampled of it.

    Args:
        path: injected from the recipe; the loss has no times.
        windows: in samples, at a hop of a quarter.
        bands: of the mel spectra, at most a sixth of the window.
        mel: :math:`w_m`.
        spectral: :math:`w_s`.
        wave: :math:`w_x`. Spectra do not say where a wave begins; critics would, and there are none. An
            autoencoder of sound of a root mean square near 0.1 needs about 10; tokens of few bits have
            none to spare for phases.
        bottleneck: :math:`w_b`.
    """

    generates = False

    def __init__(
        self,
        path: Path | None = None,
        windows: Sequence[int] = (128, 256, 512, 1024),
        bands: int = 64,
        mel: float = 1.0,
        spectral: float = 0.5,
        wave: float = 1.0,
        bottleneck: float = 0.02,
    ) -> None:
        super().__init__()
        if not windows or min(windows) < 32 or bands < 1:
            raise ValueError(f"windows are from 32 samples and bands from 1, got {list(windows)} and {bands}")
        if min(mel, spectral, wave, bottleneck) < 0:
            raise ValueError("the weights mel, spectral, wave and bottleneck must not be negative")
        self.path = path or AffinePath()
        self.windows = tuple(windows)
        self.weights = (mel, spectral, wave, bottleneck)
        # Which rate is said only moves the bands.
        self.spectra = nn.ModuleList(Mel(8000, min(bands, max(1, w // 6)), w, w // 4) for w in windows)

    @property
    def kind(self) -> Kind:
        """``reconstruction``, which no solver takes."""
        return "reconstruction"

    def loss(self, model: nn.Module, batch: Batch, step: Step) -> Loss:
        """Encode, decode, compare."""
        x = batch.x1
        if not isinstance(model, WaveCoder) or not isinstance(x, Tensor):
            raise ShapeError("objective sound-coding trains a coder of sound, on waveforms")
        x = x if batch.layout is None else batch.layout.zero(x)
        coded = model.learn(x, step.generator)
        y = model.decode(coded.frames)
        mels = torch.stack([(mel(y) - mel(x)).abs().mean() for mel in self.spectra]).mean()
        lengths = torch.full((len(x),), x.shape[1], device=x.device)
        convergence, logarithm = spectral_distance(y, x, self.windows, lengths, floor=1e-3)
        wave = (x - y).abs().mean()
        parts = (mels, convergence.mean() + logarithm.mean(), wave, coded.cost)
        total = torch.stack([w * part for w, part in zip(self.weights, parts, strict=True)]).sum()
        return Loss(total, {"reconstruction": wave.detach(), "mel": mels.detach(), **coded.told})

    def field(self, model: nn.Module, source: Source | None = None) -> Field:
        """The reconstructions."""
        return NetworkField(model, self.kind, self.path, source)

    def clashes(self, parts: Parts) -> Iterable[Clash]:
        """A network that codes no sound."""
        model = parts.get("model")
        if model is not None and not isinstance(model, WaveCoder):
            said = f"sound-coding trains a coder of sound, and {type(model).__name__} is none; take model: "
            yield Clash("objective", "model", said + "wave-autoencoder or wave-quantiser")
