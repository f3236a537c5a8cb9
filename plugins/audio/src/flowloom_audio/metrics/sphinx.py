"""PocketSphinx as a judge, told what words there are."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from flowloom.errors import IncompatibleError
from flowloom_audio.metrics.packages import needed_by
from flowloom_audio.metrics.words import WordMetric

__all__ = ["Sphinx"]

_DITHER = 4e-3


class Sphinx(WordMetric):
    """Share of words that PocketSphinx hears as they are written, with a grammar of the data's words.

    It is told how many words there are, and says which: left to count them it hears short words twice, in
    real recordings too (0.55 instead of 0.85 of 100 real digits).

    Its acoustic model is of 16 kHz American English and comes with the package (``pip install
    pocketsphinx``). A pause on either side and a little noise, which fills the band above 4 kHz of telephone
    speech, are what it needs on 8 kHz words. It is no perfect ear: read its value beside that of real
    recordings.

    Args:
        rate: samples a second; the data's own where None.
        rows: most rows of a column, evenly spread.
        words: most different words of the grammar.
        seed: of the noise.

    Raises:
        MissingDependencyError: the package is not installed.
    """

    better: ClassVar = {"sphinx_words": "higher"}
    name: ClassVar[str] = "sphinx"

    def __init__(self, rate: int | None = None, rows: int = 200, words: int = 1000, seed: int = 0) -> None:
        super().__init__(rate, rows)
        self.words, self.seed = words, seed
        _library()  # told before anything is trained

    def learn(self, words: list[str]) -> None:
        """Put them into a grammar.

        Raises:
            IncompatibleError: there are too many, or it knows none of them.
        """
        if len(words) > self.words:
            raise IncompatibleError(f"metric sphinx takes {self.words} different words, not {len(words)}")
        self._decoder = _library().Decoder(lm=None, loglevel="FATAL")
        self._known = [word for word in words if self._decoder.lookup_word(word) is not None]
        if not self._known:
            raise IncompatibleError("metric sphinx knows none of the words of the data")
        self._grammars: set[int] = set()

    def hear(self, sound: Tensor, count: int) -> list[str]:
        """The likeliest ``count`` words, or none."""
        if not count:
            return []
        noise = np.random.default_rng(self.seed)
        whole = sound.numpy() + _DITHER * noise.standard_normal(len(sound))
        if count not in self._grammars:
            one = f"({' | '.join(self._known)})"
            text = f"#JSGF V1.0; grammar g; public <words> = {' '.join([one] * count)};"
            self._decoder.add_jsgf_string(f"words{count}", text)
            self._grammars.add(count)
        self._decoder.activate_search(f"words{count}")
        self._decoder.start_utt()
        self._decoder.process_raw((whole.clip(-1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
        self._decoder.end_utt()
        said = self._decoder.hyp()
        return [] if said is None else str(said.hypstr).split()


def _library() -> Any:
    """The package."""
    with needed_by("metric sphinx"):
        import pocketsphinx
    return pocketsphinx
