"""Distances between recordings by their spectra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.metrics import Metric
from flowloom.metrics.frechet import frechet_distance
from flowloom.metrics.pairs import drawn_rows
from flowloom_audio.codecs.mel import Mel
from flowloom_audio.metrics.waves import lengths_of, waves_of
from flowloom_audio.rates import rate_of
from flowloom_audio.spectra import spectral_distance
from flowloom_audio.waveforms import require_waves

__all__ = ["LogMelFrechet", "SpectralDistance", "spectral_distance"]


class LogMelFrechet(Metric):
    """Fréchet distance between the log-mel frames of samples and of real recordings.

    Every real frame is one feature vector together with its change to the next frame, so that both what is
    heard and how it moves are compared. No network is involved: what sounds like no speech at all can still
    be close, so read it beside a judge of words.

    Args:
        bands: of a frame.
        rate: samples a second; the data's own where None.
        frames: most frames of either side, evenly spread over all of them.
    """

    better: ClassVar = {"log_mel_frechet": "lower"}

    def __init__(self, bands: int = 40, rate: int | None = None, frames: int = 20_000) -> None:
        if bands < 1 or frames < 2:
            raise ValueError(f"bands must be at least 1 and frames at least 2, got {bands} and {frames}")
        self.bands, self.rate, self.frames = bands, rate, frames

    def fit(self, train: Dataset) -> None:
        """Learn the rate."""
        require_waves(train.spec, "log-mel-frechet")
        rate = rate_of(train.spec, self.rate, "log-mel-frechet")
        hop = max(1, rate // 64)
        self._mel = Mel(rate, self.bands, 4 * hop, hop)

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``log_mel_frechet``."""
        self.require_rows(samples, real)
        return {"log_mel_frechet": frechet_distance(self._features(samples), self._features(real))}

    def _features(self, examples: Examples) -> Tensor:
        waves, lengths = waves_of(examples), lengths_of(examples)
        waves = torch.nn.functional.pad(waves, (0, -waves.shape[1] % self._mel.hop))
        frames = self._mel(waves)
        count = (lengths // self._mel.hop).clamp_min(2)
        pairs = torch.cat([frames[:, 1:], frames[:, 1:] - frames[:, :-1]], -1)
        kept = torch.arange(1, frames.shape[1]) < count[:, None]
        real = pairs[kept]
        most = min(len(real), self.frames)
        return real[torch.arange(most) * len(real) // max(1, most)]


class SpectralDistance(Metric):
    """Multi-resolution STFT distance of samples from the recording of the same row.

    At each of several windows, the relative error of magnitudes (spectral convergence) and the mean absolute
    difference of their logarithms, averaged over windows (Parallel WaveGAN 1910.11480), and their sum
    ``stft_distance``, which vocoders report as M-STFT. Where lengths differ, both are as long as the shorter
    one.

    Args:
        windows: in samples, at a hop of a quarter.
    """

    better: ClassVar = {
        "stft_convergence": "lower",
        "stft_log_magnitude": "lower",
        "stft_distance": "lower",
    }
    paired: ClassVar[bool] = True

    def __init__(self, windows: Sequence[int] = (128, 256, 512)) -> None:
        if not windows or min(windows) < 4:
            raise ValueError(f"windows are one or more, of 4 samples or more, got {list(windows)}")
        self.windows = tuple(windows)

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Means over rows and draws of them."""
        self.require_rows(samples, real)
        found = torch.stack([torch.stack(self._of(drawn, real)) for drawn in drawn_rows(samples, real)])
        convergence, logarithm = found.mean((0, 2)).tolist()
        return {
            "stft_convergence": convergence,
            "stft_log_magnitude": logarithm,
            "stft_distance": convergence + logarithm,
        }

    def _of(self, drawn: Examples, real: Examples) -> tuple[Tensor, Tensor]:
        x, y = waves_of(drawn), waves_of(real)
        both = torch.minimum(lengths_of(drawn), lengths_of(real))
        length = min(x.shape[1], y.shape[1])
        kept = torch.arange(length) < both[:, None]
        return spectral_distance(x[:, :length] * kept, y[:, :length] * kept, self.windows, both)
