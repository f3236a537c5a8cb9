"""How close a signal is to the truth of its row: enhancement, separation, vocoding."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom.metrics.pairs import drawn_rows
from flowloom_audio.metrics.packages import needed_by
from flowloom_audio.metrics.waves import lengths_of, waves_of
from flowloom_audio.rates import rate_of
from flowloom_audio.waveforms import require_waves

__all__ = ["ShortTimeIntelligibility", "SignalRatio", "SpeechQuality", "si_sdr"]


def si_sdr(x: Tensor, y: Tensor, floor: float = 1e-8) -> Tensor:
    r"""Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 1811.02508), ``(*batch,)``.

    :math:`10 \log_{10} |a y|^2 / |a y - x|^2` with :math:`a = \langle x, y\rangle / |y|^2`, means taken off.

    Args:
        x: estimates ``(*batch, samples)``.
        y: the truth.
        floor: added to both energies relative to that of ``x``, so that silence has a ratio: 80 dB at best.
    """
    x, y = (_of_unit_size(v - v.mean(-1, keepdim=True)) for v in (x, y))
    scale = (x * y).sum(-1, keepdim=True) / y.square().sum(-1, keepdim=True).clamp_min(1e-12)
    wanted = scale * y
    small = floor * x.square().sum(-1).clamp_min(1e-12)
    return 10 * ((wanted.square().sum(-1) + small) / ((wanted - x).square().sum(-1) + small)).log10()


def _of_unit_size(x: Tensor) -> Tensor:
    """Over its peak, as the ratio knows no scale and what guards it against silence does; silence stays."""
    peak = x.abs().amax(-1, keepdim=True)
    return x / torch.where(peak > 0, peak, 1.0)


class _Signals(Metric):
    """Metrics of one signal and its truth, averaged over rows and draws.

    Raises:
        MissingDependencyError: the package that judges is not installed.
    """

    paired: ClassVar[bool] = True
    name: ClassVar[str]

    def __init__(self, rate: int | None = None) -> None:
        self.rate = rate
        self.library()  # told before anything is trained

    def library(self) -> Any:
        """The package that judges; None where none is needed.

        Raises:
            MissingDependencyError: it is not installed.
        """
        return None

    def fit(self, train: Dataset) -> None:
        """Learn the rate."""
        require_waves(train.spec, self.name)
        self._rate = rate_of(train.spec, self.rate, self.name)

    @abstractmethod
    def of(self, x: Tensor, y: Tensor) -> float | None:
        """Of one signal ``(samples,)`` and its truth; None where it cannot be said."""

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """The mean over rows, and draws of them, of which it can be said."""
        self.require_rows(samples, real)
        values: list[float] = []
        for drawn in drawn_rows(samples, real):
            both = torch.minimum(lengths_of(drawn), lengths_of(real)).tolist()
            rows = zip(waves_of(drawn), waves_of(real), both, strict=True)
            values += [v for v in (self.of(x[:n], y[:n]) for x, y, n in rows) if v is not None]
        return {next(iter(self.better)): sum(values) / len(values) if values else float("nan")}


class SignalRatio(_Signals):
    """`si_sdr`: scale-invariant signal-to-distortion ratio in dB.

    Args:
        rate: samples a second; the data's own where None.
    """

    better: ClassVar = {"si_sdr": "higher"}
    name: ClassVar[str] = "si-sdr"

    def of(self, x: Tensor, y: Tensor) -> float | None:
        """In dB."""
        return float(si_sdr(x, y))


class ShortTimeIntelligibility(_Signals):
    """Short-time objective intelligibility (Taal et al. 2011), by the package pystoi.

    It looks at 0.4 s of speech at once. Signals of less than a second, such as single words, are repeated
    until they have one, and their truth alike.

    Args:
        rate: samples a second; the data's own where None.
    """

    better: ClassVar = {"stoi": "higher"}
    name: ClassVar[str] = "stoi"

    def library(self) -> Any:
        """The package."""
        with needed_by(f"metric {self.name}"):
            import pystoi
        return pystoi

    def of(self, x: Tensor, y: Tensor) -> float | None:
        """At most 1; None for silence."""
        stoi = self.library().stoi
        times = -(-self._rate // max(1, len(y)))
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            try:
                return float(stoi(y.repeat(times).numpy(), x.repeat(times).numpy(), self._rate))
            except (RuntimeWarning, ValueError):
                return None


class SpeechQuality(_Signals):
    """Perceptual evaluation of speech quality (ITU-T P.862), by the package pesq.

    Narrow band at 8 kHz, wide band at 16 kHz; other rates are refused.

    Args:
        rate: samples a second; the data's own where None.
    """

    better: ClassVar = {"pesq": "higher"}
    name: ClassVar[str] = "pesq"

    def library(self) -> Any:
        """The package."""
        with needed_by(f"metric {self.name}"):
            import pesq
        return pesq

    def fit(self, train: Dataset) -> None:
        """Learn the rate.

        Raises:
            IncompatibleError: it is neither 8,000 nor 16,000.
        """
        super().fit(train)
        if self._rate not in (8000, 16_000):
            raise IncompatibleError(f"pesq is defined at 8000 and 16000 Hz; the data has {self._rate}")

    def of(self, x: Tensor, y: Tensor) -> float | None:
        """From -0.5 to 4.5; None where it finds no utterance."""
        library = self.library()
        band = "nb" if self._rate == 8000 else "wb"
        try:
            return float(library.pesq(self._rate, y.numpy(), x.numpy(), band))
        except (library.NoUtterancesError, library.BufferTooShortError):
            return None
