"""Texts, said in the voice of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.metrics import Metric
from flowloom.tasks import Task, some_rows
from flowloom_audio.data.recordings import Recordings
from flowloom_audio.metrics.waves import text_of, waves_of
from flowloom_audio.tasks.voices import SOUNDS, heard, voice_of, write_answers

__all__ = ["Synthesise"]


class Synthesise(Task):
    """Say a text in the voice of a prompt.

    Args:
        prompt: a sound file of the voice; voices of held-out rows where None. It is cut to what
            the flow was trained with, or repeated.
        metrics: judges of the answers; in a recipe, the recipe's own where none are named.
        draws: answers to every question; as many as the metrics want where None.
        name: what it is called in tables and files.
    """

    writes = SOUNDS

    def __init__(
        self,
        prompt: Path | None = None,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(metrics, draws, name)
        self.prompt = prompt

    def pose(self, data: Dataset, n: int, generator: torch.Generator) -> tuple[Examples, Examples]:
        """Texts and prompts of ``n`` rows, and the recordings of them."""
        truth = some_rows(data, n, generator).laid_out(data.spec)
        told = {name: value for name, value in truth.cond.items() if name not in data.spec.named("real")}
        return Examples(torch.zeros_like(waves_of(truth)), told), truth

    def shown(self, asked: Examples) -> Examples | None:
        """The prompts, where there are any."""
        prompt = asked.cond.get("prompt")
        return None if prompt is None else Examples(prompt)

    def read(self, given: str, data: Dataset, n: int) -> Examples:
        """A text, ``n`` times.

        Raises:
            IncompatibleError: the data are no recordings with text.
            DataError: the text or the prompt cannot be read.
        """
        if not isinstance(data, Recordings):
            raise IncompatibleError(f"synthesise is for recordings with text; {type(data).__name__} is none")
        cond = {"text": data.frontend.padded(given, data.text_length).expand(n, -1)}
        if data.prompt_samples:
            cond["prompt"] = _voices(data, n) if self.prompt is None else voice_of(self.prompt, data, n)
        elif self.prompt is not None:
            raise IncompatibleError("this run was trained without prompts; leave out the prompt")
        return Examples(torch.zeros(n, data.samples), cond)

    def example(self, data: Dataset) -> str:
        """What is said in a row."""
        if not isinstance(data, Recordings):
            return ""
        first = data.take(torch.arange(1)).cond["text"][0]
        return text_of(first, data.spec.conditions["text"].names)

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """Waveforms with marks of what is real, and the conditions they were made under."""
        known = flow.known_conditions()
        told = {name: v for name, v in asked.cond.items() if name in known}
        return heard(flow, flow.solve(len(asked), seed=seed, cond=told), asked.cond)

    def write(self, answers: Examples, data: Dataset, file: Path) -> list[Path]:
        """A sound file for every answer: ``file``, and ``file`` with a number before its ending."""
        return write_answers(answers, data, file)


def _voices(data: Recordings, n: int) -> torch.Tensor:
    """Any voices, the same for the same data: the seed of the answers is not known yet."""
    return data.take(torch.arange(n) * len(data) // n).cond["prompt"]
