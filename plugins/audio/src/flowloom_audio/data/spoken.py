"""Sound of a text, by the program espeak-ng."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from flowloom_audio.data.sound import read_sound
from flowloom_audio.text.espeak import espeak

__all__ = ["spoken"]


@lru_cache(maxsize=4096)
def spoken(text: str, rate: int, language: str = "en-us") -> Tensor | None:
    """A text as espeak-ng says it: float32 ``(samples,)``, None where it is not installed.

    Args:
        text: to say.
        rate: samples a second.
        language: see `espeak`.

    Raises:
        DataError: it cannot say the text, or says nothing.
    """
    with TemporaryDirectory() as folder:
        file = Path(folder) / "said.wav"  # what it writes into a pipe tells a wrong length
        if espeak(text, language, "-w", str(file)) is None:
            return None
        return read_sound(file, rate)
