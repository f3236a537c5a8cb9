"""Quality of speech without a truth, by DNSMOS."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.metrics import Metric
from flowloom_audio.data.sound import resampled
from flowloom_audio.metrics.once import Once
from flowloom_audio.metrics.packages import needed_by
from flowloom_audio.metrics.waves import sounds_of
from flowloom_audio.rates import rate_of
from flowloom_audio.waveforms import require_waves

__all__ = ["SpeechMOS"]

_RATE = 16_000
_WHOLE = round(9.01 * _RATE)
"""Samples that DNSMOS looks at."""


class SpeechMOS(Metric):
    """DNSMOS P.835 (Reddy et al. 2110.01763): what listeners would say of noise and distortion, from 1 to 5.

    ``dnsmos`` is the overall mean opinion, ``dnsmos_signal`` that of speech and ``dnsmos_background`` that of
    noise, by the package speechmos. A recording that is shorter than 9 s is repeated until it has them.

    It is no judge of naturalness at 8 kHz: it hears noise (2.5 to 2.9 of real spoken digits, 1.7 with noise
    over them, 1.1 of noise alone), and ranks espeak-ng (2.9) above real recordings.

    Args:
        rate: samples a second; the data's own where None.
        rows: most rows of a column, evenly spread; each takes about a third of a second.

    Raises:
        MissingDependencyError: a package is not installed.
    """

    better: ClassVar = {"dnsmos": "higher", "dnsmos_signal": "higher", "dnsmos_background": "higher"}

    def __init__(self, rate: int | None = None, rows: int = 100) -> None:
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        self.rate, self.rows = rate, rows
        self._library()  # told before anything is trained

    def fit(self, train: Dataset) -> None:
        """Learn the rate."""
        require_waves(train.spec, "dnsmos")
        self._rate = rate_of(train.spec, self.rate, "dnsmos")
        self._once = Once(self._of)

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Means over rows."""
        self.require_rows(samples, samples)
        said = [self._once(sound) for sound in sounds_of(samples.take(samples.evenly(self.rows)))]
        names = ("ovrl_mos", "sig_mos", "bak_mos")
        return {
            name: float(np.mean([one[key] for one in said]))
            for name, key in zip(self.better, names, strict=True)
        }

    def _of(self, wave: Tensor) -> dict[str, float]:
        sound = resampled(wave, self._rate, _RATE)
        # The package doubles what is short until it is long enough, and looks at up to eight pieces of that.
        sound = sound if len(sound) else torch.zeros(1)
        whole = sound.repeat(-(-_WHOLE // len(sound)))[: max(_WHOLE, len(sound))].clamp(-1, 1)
        opinions: dict[str, float] = self._library().run(whole.numpy(), _RATE)
        return opinions

    @staticmethod
    def _library() -> Any:
        """The module of the package, which asks for more than it declares."""
        with needed_by("metric dnsmos", "speechmos", "onnxruntime", "librosa", "requests"):
            from speechmos import dnsmos
        return dnsmos
