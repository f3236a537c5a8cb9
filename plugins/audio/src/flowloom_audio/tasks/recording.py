"""Recordings that a person names, made anew: denoised, dereverberated, separated, filled in, vocoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.digits import are_digits
from flowloom.errors import IncompatibleError
from flowloom.flow import Flow
from flowloom.metrics import Metric
from flowloom.solvers import Solver
from flowloom.tasks import Predict
from flowloom.views import Viewed
from flowloom_audio.data.recordings import Recordings
from flowloom_audio.tasks.voices import SOUNDS, row_of, sound_of, voice_of, write_answers
from flowloom_audio.views import MelBeside
from flowloom_audio.vocoder import Vocoder

__all__ = ["FromRecording", "Vocode"]


class _OfSounds(Predict):
    """Predicts recordings, and takes rows by their number or sound files; answers are sound files."""

    writes = SOUNDS

    def write(self, answers: Examples, data: Dataset, file: Path) -> list[Path]:
        """A sound file for every answer: ``file``, and ``file`` with a number before its ending."""
        return write_answers(answers, data, file)


class FromRecording(_OfSounds):
    """Predicts recordings from copies of them to which something was done, as task ``predict`` does.

    A sound file in place of a row is the copy: noisy, of a room or of two voices, or silent where something
    is to be filled in. Its silence at both ends is kept.

    Args:
        prompt: a sound file of the wanted voice, for flows that separate; silence where None.
        solver: in place of the flow's own.
        metrics: judges of the answers; in a recipe, the recipe's own where none are named.
        draws: answers to every question; as many as the metrics want where None.
        name: what it is called in tables and files.
    """

    def __init__(
        self,
        prompt: Path | None = None,
        solver: Solver | None = None,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(solver, metrics, draws, name)
        self.prompt = prompt

    def example(self, data: Dataset) -> str:
        """A row, which has a prompt of its own."""
        return super().example(data) if self.prompt is None else ""

    def read(self, given: str, data: Dataset, n: int) -> Examples:
        """The copy that is in a sound file, or that of a row by its number, ``n`` times.

        Raises:
            IncompatibleError: the data know no copies of recordings, or no prompts; there is no such row.
            DataError: a file cannot be read.
        """
        if are_digits(given):
            if self.prompt is not None:
                raise IncompatibleError("a row of the data has a prompt of its own; leave out the prompt")
            return super().read(given, data, n)
        recordings, spec = _recordings(data, "from-recording"), data.spec
        copies = [
            name
            for name in spec.named("inform")
            if spec.conditions[name].shape == spec.shape and spec.conditions[name].classes is None
        ]
        if len(copies) != 1 or spec.shape != recordings.spec.shape:
            raise IncompatibleError(
                "from-recording takes sound files where the data are recordings beside one copy of each; "
                f"these have {', '.join(copies) or 'none'}"
            )
        wave, mask = row_of(Path(given), recordings, n, trim=False)
        cond = {copies[0]: wave, "mask": mask}
        if "prompt" in spec.conditions:
            silence = torch.zeros(n, recordings.prompt_samples)
            cond["prompt"] = silence if self.prompt is None else voice_of(self.prompt, recordings, n)
        elif self.prompt is not None:
            raise IncompatibleError("this run was trained without prompts; leave out the prompt")
        return Examples(torch.zeros_like(wave), cond).laid_out(spec)


class Vocode(_OfSounds):
    """Predicts recordings from their log-mel frames, as task ``predict`` does, by the flow of a `Vocoder`.

    A sound file in place of a row may have any length.

    Args:
        chunk: frames that a sound file is vocoded in at a time, as frames that arrive would be; all at once
            where 0. See `Vocoder.chunks`.
        context: frames on either side that a chunk is solved with.
        solver: in place of the flow's own.
        metrics: judges of the answers; in a recipe, the recipe's own where none are named.
        draws: answers to every question; as many as the metrics want where None.
        name: what it is called in tables and files.
    """

    def __init__(
        self,
        chunk: int = 0,
        context: int = 16,
        solver: Solver | None = None,
        metrics: Sequence[Metric] = (),
        draws: int | None = None,
        name: str = "",
    ) -> None:
        super().__init__(solver, metrics, draws, name)
        if chunk < 0 or context < 0:
            raise ValueError(f"chunk and context count frames, got {chunk} and {context}")
        self.chunk, self.context = chunk, context

    def read(self, given: str, data: Dataset, n: int) -> Examples:
        """The frames of a sound file, or those of a row by its number, ``n`` times.

        Raises:
            IncompatibleError: the data have no frames beside them, or there is no such row.
            DataError: the file cannot be read.
        """
        if are_digits(given):
            return super().read(given, data, n)
        recordings = _recordings(data, "vocode")
        beside = [view for view in getattr(data, "views", ()) if isinstance(view, MelBeside)]
        if not beside:
            raise IncompatibleError("vocode takes sound files where the data have the view mel-beside")
        sound, mel = sound_of(Path(given), recordings, "recording", trim=False), beside[-1].mel
        wave = torch.nn.functional.pad(sound, (0, -len(sound) % mel.hop)).expand(n, -1)
        with torch.no_grad():
            return Examples(torch.zeros_like(wave), {beside[-1].name: mel(wave)})

    def __call__(self, flow: Flow, asked: Examples, *, seed: int = 0) -> Examples:
        """Waveforms of all frames."""
        assert isinstance(asked.x, Tensor)
        if asked.x.shape[1:] == flow.spec.shape and not self.chunk:
            return super().__call__(flow, asked, seed=seed)
        vocoder = Vocoder(flow, self.solver)
        frames = asked.cond[vocoder.model.name]
        if not self.chunk:
            return Examples(vocoder(frames, seed=seed).cpu(), asked.cond)
        pieces = vocoder.chunks(frames, size=self.chunk, context=self.context, seed=seed)
        return Examples(torch.cat(list(pieces), 1).cpu(), asked.cond)


def _recordings(data: Dataset, who: str) -> Recordings:
    """The data behind their views."""
    behind = data.data if isinstance(data, Viewed) else data
    if not isinstance(behind, Recordings):
        raise IncompatibleError(f"{who} takes sound files of recordings; {type(behind).__name__} is none")
    return behind
