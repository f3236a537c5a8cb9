"""What tasks of speech share: prompts from files, answers as sound."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import DataError
from flowloom.flow import Flow
from flowloom.solvers import Solution
from flowloom.state import Cond
from flowloom_audio.data.recordings import Recordings, fill_up
from flowloom_audio.data.sound import SILENT, Notes, at_level, read_sound, without_silence, write_sound
from flowloom_audio.metrics.waves import sounds_of
from flowloom_audio.rates import rate_of

__all__ = ["SOUNDS", "heard", "row_of", "sound_of", "voice_of", "write_answers"]

SOUNDS = (".wav", ".flac", ".ogg")
"""Endings of sound files that answers are written to."""


def sound_of(file: Path, data: Recordings, what: str, *, trim: bool = True) -> Tensor:
    """A sound file as the recordings of ``data`` are: ``(n,)``, trimmed and as loud.

    Args:
        file: to read.
        data: says how recordings are treated.
        what: the file is, for messages.
        trim: False keeps silence at both ends, which the data may take off.

    Raises:
        DataError: it cannot be read, is silent, or is shorter than 50 ms.
    """
    notes = Notes()
    sound = read_sound(file, data.rate, notes)
    notes.tell()
    if float(sound.abs().max()) < SILENT:
        raise DataError(f"the {what} {file} is silent; give a recording of a voice")
    sound = without_silence(sound, data.rate) if data.trim and trim else sound
    least = data.rate // 20
    if len(sound) < least:
        raise DataError(
            f"the {what} {file} has {len(sound)} samples, less than a frame; give at least {least}"
        )
    return sound if data.level is None else at_level(sound, data.level)


def row_of(file: Path, data: Recordings, n: int, *, trim: bool = True) -> tuple[Tensor, Tensor]:
    """A recording from a file as rows, ``(n, samples)``, and marks of what is real; more is cut off.

    Args:
        file: to read; see `sound_of`.
        data: says how recordings are treated, and how long rows are.
        n: number of rows.
        trim: see `sound_of`.
    """
    sound = sound_of(file, data, "recording", trim=trim)
    if len(sound) > data.samples:
        warnings.warn(
            f"of the recording {file} the first {data.seconds:g} s are used, for the run was trained on "
            f"nothing longer; it has {len(sound) / data.rate:.2f} s",
            stacklevel=2,
        )
    sound = sound[: data.samples]
    wave = torch.nn.functional.pad(sound, (0, data.samples - len(sound)))
    return wave.expand(n, -1), (torch.arange(data.samples) < len(sound)).expand(n, -1)


def voice_of(file: Path, data: Recordings, n: int) -> Tensor:
    """A prompt from a file, ``(n, prompt samples)``: cut to what the data have, or repeated."""
    return fill_up(sound_of(file, data, "prompt"), data.prompt_samples).expand(n, -1)


def heard(flow: Flow, solution: Solution, asked: Cond) -> Examples:
    """What a solve drew as waveforms on the CPU, with marks of what is real.

    Args:
        flow: that drew.
        solution: of it.
        asked: conditions that are handed on.
    """
    with torch.no_grad(), flow.evaluating():
        said = flow.decode(Examples(solution.x, solution.cond)).to("cpu")
    made = {name: said.cond[name] for name in flow.objective.invents if name in said.cond}
    answers = Examples(said.x, {**asked, **made})
    return answers.laid_out(flow.codec.data_spec if flow.codec is not None else flow.spec)


def write_answers(answers: Examples, data: Dataset, file: Path) -> list[Path]:
    """A sound file for every answer: ``file``, and ``file`` with a number before its ending."""
    rate = rate_of(data.spec, None, "a sound file")
    written = []
    for i, sound in enumerate(sounds_of(answers, least=1)):
        place = file if i == 0 else file.with_stem(f"{file.stem}-{i + 1}")
        write_sound(place, sound, rate)
        written.append(place)
    return written
