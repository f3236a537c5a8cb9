"""Share of words that a recogniser hears, which this project did not train."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom_audio.data.sound import resampled
from flowloom_audio.metrics.once import Once
from flowloom_audio.metrics.waves import sounds_of, text_of, word_errors
from flowloom_audio.rates import rate_of
from flowloom_audio.waveforms import require_waves

__all__ = ["WordMetric", "words_of"]

RATE = 16_000
"""What recognisers hear, in samples a second."""
_PAUSE = 0.3


class WordMetric(Metric):
    """One less the share of words that are wrong, missing or too many: ``NAME_words``.

    A row is wholly wrong at most, with as many errors as it has words.
    Recordings are heard at 16 kHz between two pauses of 0.3 s, which single words need. Padding is cut off.

    Args:
        rate: samples a second; the data's own where None.
        rows: most rows of a column, evenly spread.

    Raises:
        MissingDependencyError: the package of the recogniser is not installed.
    """

    name: ClassVar[str]

    def __init__(self, rate: int | None, rows: int) -> None:
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        self.rate, self.rows = rate, rows

    @abstractmethod
    def learn(self, words: list[str]) -> None:
        """Be told the words of the data, sorted, before anything is heard."""

    @abstractmethod
    def hear(self, sound: Tensor, count: int) -> list[str]:
        """Words of a recording.

        Args:
            sound: ``(samples,)`` at 16 kHz, within -0.9 and 0.9.
            count: of the words that were asked for.
        """

    def fit(self, train: Dataset) -> None:
        """Read the words that there are.

        Raises:
            IncompatibleError: the data have no text, or none with words.
        """
        require_waves(train.spec, self.name)
        text = train.spec.conditions.get("text")
        if text is None:
            raise IncompatibleError(
                f"metric {self.name} compares words, and the data has no condition 'text'"
            )
        self._rate, self._tokens = rate_of(train.spec, self.rate, self.name), text.names
        texts = (text_of(row, self._tokens) for row in train.take(train.evenly(2000)).cond["text"])
        vocabulary = sorted({word for one in texts for word in words_of(one)})
        if not vocabulary:
            raise IncompatibleError(f"metric {self.name} compares words, and the texts of the data have none")
        self.learn(vocabulary)
        self._once = Once(self.hear)

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """Of the samples, by the text that each was asked for."""
        self.require_rows(samples, samples)
        some = samples.take(samples.evenly(self.rows))
        wrong = total = 0
        for sound, ids in zip(sounds_of(some), some.cond["text"], strict=True):
            wanted = words_of(text_of(ids, self._tokens))
            said = self._once(self._heard(sound), len(wanted))
            # A recogniser that says one word a hundred times has one row wrong, and not a hundred.
            wrong += min(len(wanted), word_errors(said, wanted))
            total += len(wanted)
        return {f"{self.name}_words": 1 - wrong / max(1, total)}

    def _heard(self, wave: Tensor) -> Tensor:
        quiet = torch.zeros(round(_PAUSE * RATE))
        whole = torch.cat([quiet, resampled(wave, self._rate, RATE), quiet])
        return whole / max(1.0, float(whole.abs().max()) / 0.9)


def words_of(text: str) -> list[str]:
    """Words in lower case, without marks."""
    return re.findall(r"[a-z']+", text.lower())
