"""A recogniser that this project did not train: PocketSphinx, told what words there are."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError, MissingDependencyError
from flowloom.metrics import Metric
from flowloom_audio.data.sound import resampled
from flowloom_audio.metrics.waves import lengths_of, require_waves, text_of, waves_of, word_errors
from flowloom_audio.rates import rate_of

__all__ = ["Sphinx"]

_RATE, _PAUSE, _DITHER = 16_000, 0.3, 4e-3


class Sphinx(Metric):
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

    def __init__(self, rate: int | None = None, rows: int = 200, words: int = 1000, seed: int = 0) -> None:
        self.rate, self.rows, self.words, self.seed = rate, rows, words, seed
        _library()  # told before anything is trained

    def fit(self, train: Dataset) -> None:
        """Read the words that there are.

        Raises:
            IncompatibleError: the data have no text, or words that the recogniser cannot take.
        """
        require_waves(train.spec, "sphinx")
        text = train.spec.conditions.get("text")
        if text is None:
            raise IncompatibleError("metric sphinx compares words, and the data has no condition 'text'")
        self._rate, self._tokens = rate_of(train.spec, self.rate, "sphinx"), text.names
        some = train.evenly(2000)
        texts = (text_of(row, self._tokens) for row in train.take(some).cond["text"])
        vocabulary = sorted({word for one in texts for word in _words(one)})
        if not vocabulary or len(vocabulary) > self.words:
            raise IncompatibleError(
                f"metric sphinx takes 1 to {self.words} different words, not {len(vocabulary)}"
            )
        self._decoder, self._known = _decoder(vocabulary)
        self._grammars: set[int] = set()

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``sphinx_words``: one less the share of words that are wrong, missing or too many; at least 0."""
        self.require_rows(samples, samples)
        rows = samples.evenly(self.rows)
        waves, lengths = waves_of(samples)[rows], lengths_of(samples)[rows].tolist()
        wrong = total = 0
        for wave, n, ids in zip(waves, lengths, samples.cond["text"][rows], strict=True):
            wanted = _words(text_of(ids, self._tokens))
            wrong += word_errors(self._hear(wave[:n], len(wanted)), wanted)
            total += len(wanted)
        return {"sphinx_words": max(0.0, 1 - wrong / max(1, total))}

    def _hear(self, wave: Tensor, count: int) -> list[str]:
        """The likeliest ``count`` words, or none."""
        if not count:
            return []
        sound = resampled(wave, self._rate, _RATE).numpy()
        quiet = np.zeros(round(_PAUSE * _RATE), np.float32)
        noise = np.random.default_rng(self.seed)
        whole = np.concatenate([quiet, sound, quiet])
        whole = whole / max(1.0, float(np.abs(whole).max()) / 0.9)
        whole = whole + _DITHER * noise.standard_normal(len(whole))
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


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def _library() -> Any:
    """The package."""
    try:
        import pocketsphinx
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "metric sphinx needs the package pocketsphinx; pip install pocketsphinx, or "
            "flowloom-audio[judges]"
        ) from error
    return pocketsphinx


def _decoder(words: list[str]) -> tuple[Any, list[str]]:
    """The recogniser, and those of the words that its dictionary has."""
    decoder = _library().Decoder(lm=None, loglevel="FATAL")
    known = [word for word in words if decoder.lookup_word(word) is not None]
    if not known:
        raise IncompatibleError("metric sphinx knows none of the words of the data")
    return decoder, known
