"""What is asked of a trained flow of speech."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.flow import Flow
from flowloom.metrics import Metric
from flowloom.tasks import Task, some_rows
from flowloom_audio.data.recordings import Recordings, fill_up
from flowloom_audio.data.sound import Notes, read_sound, without_silence, write_sound

__all__ = ["Synthesise"]


class Synthesise(Task):
    """Say a text in the voice of a prompt.

    Args:
        prompt: a sound file of the voice; a voice of the training data is drawn where None. It is cut to what
            the flow was trained with, or repeated.
        metrics: judges of the answers; in a recipe, the recipe's own where none are named.
        draws: answers to every question; as many as the metrics want where None.
        name: what it is called in tables and files.
    """

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
        return Examples(torch.zeros_like(_wave(truth)), told), truth

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
            cond["prompt"] = self._prompt(data, n)
        elif self.prompt is not None:
            raise IncompatibleError("this run was trained without prompts; leave out the prompt")
        return Examples(torch.zeros(n, data.samples), cond)

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """Waveforms with marks of what is real, and the conditions they were made under."""
        known = flow.known_conditions()
        told = {name: v for name, v in asked.cond.items() if name in known}
        solution = flow.solve(len(asked), seed=seed, cond=told)
        with torch.no_grad(), flow.evaluating():
            said = flow.decode(Examples(solution.x, solution.cond)).to("cpu")
        made = {name: said.cond[name] for name in flow.objective.invents if name in said.cond}
        answers = Examples(said.x, {**asked.cond, **made})
        spec = flow.codec.data_spec if flow.codec is not None else flow.spec
        return answers.laid_out(spec)

    def write(self, answers: Examples, data: Dataset, file: Path) -> list[Path]:
        """A sound file for every answer: ``file``, and ``file`` with a number before its ending."""
        rate = getattr(data, "rate", None)
        if not isinstance(rate, int):
            raise IncompatibleError("the data does not say its rate")
        waves, real = _wave(answers), None if answers.layout is None else answers.layout.real
        written = []
        for i, wave in enumerate(waves):
            place = file if i == 0 else file.with_stem(f"{file.stem}-{i + 1}")
            write_sound(place, wave if real is None else wave[: max(1, int(real[i].sum()))], rate)
            written.append(place)
        return written

    def _prompt(self, data: Recordings, n: int) -> torch.Tensor:
        if self.prompt is None:
            # Any voice, the same for the same data: the seed of the answers is not known yet.
            rows = torch.arange(n) * len(data) // n
            return data.take(rows).cond["prompt"]
        notes = Notes()
        sound = read_sound(Path(self.prompt), data.rate, notes)
        notes.tell()
        if float(sound.abs().max()) < 1e-4:
            raise DataError(f"the prompt {self.prompt} is silent; give a recording of the voice")
        sound = without_silence(sound, data.rate) if data.trim else sound
        least = data.rate // 20
        if len(sound) < least:
            raise DataError(
                f"the prompt {self.prompt} has {len(sound)} samples, less than a frame; give at least {least}"
            )
        if data.level is not None:
            sound = sound * (data.level / sound.square().mean().sqrt())
        return fill_up(sound, data.prompt_samples).expand(n, -1)


def _wave(examples: Examples) -> torch.Tensor:
    assert isinstance(examples.x, torch.Tensor)
    return examples.x
