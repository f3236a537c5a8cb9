"""Rules that speech of a flow has to beat."""

from __future__ import annotations

import torch

from flowloom.baselines import Baseline
from flowloom.data import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError, MissingDependencyError
from flowloom_audio.data.sound import at_level, without_silence
from flowloom_audio.data.spoken import spoken
from flowloom_audio.metrics.waves import text_of
from flowloom_audio.rates import rate_of
from flowloom_audio.text.frontend import Frontend
from flowloom_audio.waveforms import require_waves

__all__ = ["Espeak"]


class Espeak(Baseline):
    """The text of every row, said by the program espeak-ng in its own voice.

    Formant synthesis by rules, of any text and of nobody's voice: silence at both ends is cut off, and the
    level is that of recordings. What is longer than a row is cut.

    Args:
        language: of the texts, such as ``en-us``.
        level: root mean square.
        rate: samples a second; the data's own where None.
    """

    def __init__(self, language: str = "en-us", level: float = 0.1, rate: int | None = None) -> None:
        if not level > 0:
            raise ValueError(f"level must be positive, got {level}")
        self.language, self.level, self.rate = language, level, rate

    def fit(self, train: Dataset) -> None:
        """Learn the symbols of texts, and the rate.

        Raises:
            IncompatibleError: the data are no recordings with a text of characters.
        """
        who, text = "baseline espeak-ng", train.spec.conditions.get("text")
        require_waves(train.spec, who)
        # Phonemes are no words that it could be asked to read.
        if text is None or text.names != Frontend().tokens:
            raise IncompatibleError(f"{who} says texts of characters, and the data have none")
        self._rate, self._tokens = rate_of(train.spec, self.rate, who), text.names
        self._marks = train.spec.named("real")

    def __call__(self, asked: Examples, generator: torch.Generator) -> Examples:
        """Waveforms with marks of what is real; the same for the same text.

        Raises:
            MissingDependencyError: espeak-ng is not installed.
        """
        assert isinstance(asked.x, torch.Tensor)
        x = torch.zeros(asked.x.shape)
        real = torch.zeros(asked.x.shape, dtype=torch.bool)
        for row, ids in enumerate(asked.cond["text"]):
            sound = self._said(text_of(ids, self._tokens))[: x.shape[1]]
            x[row, : len(sound)], real[row, : len(sound)] = sound, True
        return Examples(x, {**asked.cond, **dict.fromkeys(self._marks, real)})

    def _said(self, text: str) -> torch.Tensor:
        try:
            sound = spoken(text, self._rate, self.language)
        except DataError:  # nothing that is said, such as a full stop alone
            return torch.zeros(1)
        if sound is None:
            raise MissingDependencyError("the program espeak-ng is not installed (apt install espeak-ng)")
        return at_level(without_silence(sound, self._rate), self.level)
