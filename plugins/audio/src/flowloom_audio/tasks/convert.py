"""Recordings, in the voice of somebody else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.flow import Flow
from flowloom.guidance import ClassifierFree
from flowloom.metrics import Metric
from flowloom.tasks import Task, some_rows
from flowloom_audio.data.recordings import Recordings
from flowloom_audio.metrics.waves import waves_of
from flowloom_audio.tasks.voices import SOUNDS, heard, row_of, voice_of, write_answers

__all__ = ["ConvertVoice"]

_OWN = "own_"


class ConvertVoice(Task):
    """Say what a recording says, as it says it, in the voice of a prompt: by inversion.

    The recording is solved back to the source under its own text and voice, without guidance, and forward
    from there under the other voice. What both share, pace and melody, is in the noise that they share
    (DDIM inversion 2010.02502, of an ODE; Hertz et al. 2208.01626).

    Args:
        prompt: a sound file of the wanted voice, for recordings that a person names.
        text: what such a recording says.
        back: time to which it is solved back, as a share of the way: 1 is all of it, less keeps more of it.
        metrics: judges of the answers; in a recipe, the recipe's own where none are named.
        draws: answers to every question; as many as the metrics want where None.
        name: what it is called in tables and files.
    """

    writes = SOUNDS
    exact = False  # where nobody else says the same, the truth says something else

    def __init__(
        self,
        prompt: Path | None = None,
        text: str = "",
        back: float = 1.0,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(metrics, draws, name)
        if not 0 < back <= 1:
            raise ValueError(f"back is a share of the way, above 0 and at most 1; got {back}")
        self.prompt, self.text, self.back = prompt, text, back

    def pose(self, data: Dataset, n: int, generator: torch.Generator) -> tuple[Examples, Examples]:
        """Recordings of ``n`` rows with the prompts of other speakers; truth are those who say the same.

        Where nobody else says the same, anybody else's recording of something else stands for the voice, and
        metrics that hear words go by the recording's own text.

        Raises:
            IncompatibleError: the data have no text, speaker or prompt, or one speaker.
        """
        _require_voices(data)
        rows = some_rows(data, n, generator).laid_out(data.spec)
        pool = some_rows(data, max(200, 4 * n), generator).laid_out(data.spec)
        other = rows.cond["speaker"][:, None] != pool.cond["speaker"]
        if not bool(other.any(1).all()):
            raise IncompatibleError(
                "convert-voice needs another speaker for every row, and the data have one; "
                "leave it out of tasks"
            )
        same = (rows.cond["text"][:, None] == pool.cond["text"]).all(2)
        partner = (other.float() + 2 * (other & same)).argmax(1)
        truth = pool.take(partner)
        truth = Examples(truth.x, {**truth.cond, "text": rows.cond["text"]}, truth.layout)
        told = {**rows.cond, "speaker": truth.cond["speaker"], "prompt": truth.cond["prompt"]}
        own = {_OWN + name: rows.cond[name] for name in ("prompt", "speaker")}
        return Examples(rows.x, {**told, **own}, rows.layout), truth

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """Waveforms of the same lengths, in the other voice."""
        if flow.codec is None or _OWN + "prompt" not in asked.cond:
            raise ShapeError("convert-voice takes recordings with two prompts, of a flow with a codec")
        if not len(asked):
            raise ShapeError("convert-voice takes at least one recording")
        known = flow.known_conditions()
        told = {name: v for name, v in asked.cond.items() if name in known}
        own = told | {name: asked.cond[_OWN + name] for name in ("prompt", "speaker") if name in told}
        device = flow.device
        with torch.no_grad(), flow.evaluating():
            here = Examples(waves_of(asked), {name: v for name, v in own.items()}).to(device)
            states = flow.encode(here, torch.Generator(device).manual_seed(seed))
        start, end = flow.field().span
        middle = end + self.back * (start - end)
        plain = ClassifierFree(1.0) if flow.guidance is not None else None
        noise = flow.solve(x0=states.x, span=(end, middle), cond=own, guidance=plain, seed=seed).x
        solution = flow.solve(x0=noise, span=(middle, end), cond=told, seed=seed)
        kept = {name: v for name, v in asked.cond.items() if not name.startswith(_OWN)}
        return heard(flow, solution, kept)

    def untouched(self, asked: Examples) -> Examples | None:
        """The recordings, in their own voice."""
        return asked

    def read(self, given: str, data: Dataset, n: int) -> Examples:
        """A sound file, whose text and wanted voice the arguments say.

        Raises:
            IncompatibleError: the data have no prompts, or the arguments are not given.
            DataError: a file cannot be read.
        """
        _require_voices(data)
        if not isinstance(data, Recordings) or self.prompt is None or not self.text:
            raise IncompatibleError(
                "convert-voice takes a sound file, with --prompt VOICE.wav and --set text='what it says'"
            )
        wave, mask = row_of(Path(given), data, n)
        cond = {
            "mask": mask,
            "text": data.frontend.padded(self.text, data.text_length).expand(n, -1),
            "prompt": voice_of(self.prompt, data, n),
            _OWN + "prompt": voice_of(Path(given), data, n),
        }
        return Examples(wave, cond).laid_out(data.spec)

    def write(self, answers: Examples, data: Dataset, file: Path) -> list[Path]:
        """A sound file for every answer: ``file``, and ``file`` with a number before its ending."""
        return write_answers(answers, data, file)


def _require_voices(data: Dataset) -> None:
    for name in ("text", "speaker", "prompt"):
        if name not in data.spec.conditions:
            # The only one of the three that recordings have when asked alone.
            hint = "; data of recordings have it with prompt: 0.5, its seconds" if name == "prompt" else ""
            raise IncompatibleError(f"convert-voice needs the condition '{name}', which the data lacks{hint}")
