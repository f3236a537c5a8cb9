"""Texts, said in voices that training never heard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from flowloom.data import Dataset, Examples
from flowloom.layout import Layout
from flowloom.metrics import Metric
from flowloom_audio.metrics.waves import waves_of
from flowloom_audio.tasks.synthesise import Synthesise

__all__ = ["Clone"]


class Clone(Synthesise):
    """Say a text in the voice of one prompt, of a speaker that was left out of training (zero-shot).

    Beside the answers stand the prompts themselves, column ``as asked``: real recordings of the voice, which
    say something else. A judge of voices tells what it says of real sound there, one of words almost none.

    Args:
        prompt: a sound file of the voice; voices of the split where None.
        split: of the data, whose speakers are asked for.
        metrics: see `Synthesise`, as the others.
        draws: see there.
        name: see there.
    """

    def __init__(
        self,
        prompt: Path | None = None,
        split: str = "unseen",
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(prompt, metrics, draws, name)
        self.split = split

    def pose(self, data: Dataset, n: int, generator: torch.Generator) -> tuple[Examples, Examples]:
        """Texts and prompts of ``n`` rows of the split, and the recordings of them.

        Raises:
            DataError: the data have no such split.
        """
        return super().pose(data.split(self.split), n, generator)

    def read(self, given: str, data: Dataset, n: int) -> Examples:
        """A text, ``n`` times, in voices of the split where no prompt is given.

        Raises:
            IncompatibleError: the data are no recordings with text.
            DataError: the text or the prompt cannot be read, or the data have no such split.
        """
        return super().read(given, data if self.prompt is not None else data.split(self.split), n)

    def untouched(self, asked: Examples) -> Examples | None:
        """The prompts, cut or filled up to the length of rows."""
        prompt, rows = asked.cond.get("prompt"), waves_of(asked)
        if prompt is None:
            return None
        length = min(prompt.shape[1], rows.shape[1])
        sound, real = torch.zeros_like(rows), torch.zeros_like(rows, dtype=torch.bool)
        sound[:, :length], real[:, :length] = prompt[:, :length], True
        return Examples(sound, asked.cond, Layout(real=real))
