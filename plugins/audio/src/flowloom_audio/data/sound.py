"""Sound files as samples: one channel, one rate, and what was done to them counted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowloom.errors import DataError

__all__ = ["SILENT", "Notes", "at_level", "read_sound", "resampled", "write_sound"]

SILENT = 1e-4
"""Largest magnitude of a recording that is silence: less than three steps of 16 bits."""
CLIPPED = 0.999
"""Magnitude from which a sample counts as clipped: the largest value of 16 bits, and a little less."""


_MOST = 2.0**32
"""Whole numbers of any width are smaller, divided by their range or not; squares of 1e30 would overflow."""


_NO_LENGTH = 0x7F000000
"""Bytes from which the length in a WAV header stands for none."""


@dataclass
class Notes:
    """What was noticed about files, told once for every kind and not once a file.

    Args:
        found: files by what was noticed.
    """

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, file: Path | str) -> None:
        """One file more of which ``what`` is true."""
        self.found.setdefault(what, []).append(str(file))

    def tell(self) -> None:
        """Warn of every kind in one line, with the number of files and the first of them; then forget."""
        for what, files in self.found.items():
            some = "1 file" if len(files) == 1 else f"{len(files)} files"
            warnings.warn(f"{some} {what}, such as {files[0]}", stacklevel=3)
        self.found.clear()


def read_sound(file: Path, rate: int, notes: Notes | None = None) -> Tensor:
    """Samples of a WAV, FLAC or OGG file as one channel at ``rate``: float32 ``(n,)`` of order 1.

    Channels are averaged; whole numbers of any width are divided by their range.

    Args:
        file: to read.
        rate: samples a second of what is returned.
        notes: told of other rates, of several channels, of clipping and of files that were cut off.

    Raises:
        DataError: it cannot be read, is empty or too short for a sample at ``rate``, or holds numbers that
            are not finite or far out of range; names it.
    """
    import soundfile

    notes = notes if notes is not None else Notes()
    try:
        samples, own = soundfile.read(file, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        if not file.is_file():
            raise DataError(f"there is no file {file}") from error
        raise DataError(f"cannot read {file}: {_reason(error)}") from error
    if not len(samples):
        raise DataError(f"{file} holds no samples")
    if not np.abs(samples).max() < _MOST:
        raise DataError(f"{file} holds samples that are not finite, or far out of range")
    found = resampled(torch.from_numpy(samples.mean(1)), own, rate)
    if not len(found):
        raise DataError(f"{file} is too short for a sample at {rate} Hz")
    if samples.shape[1] > 1:
        notes.add("with several channels, which were averaged", file)
    loud = np.abs(samples)
    if float(np.mean(loud >= CLIPPED)) > 1e-3 and loud.max() <= 1:  # numbers beyond 1 were not cut
        notes.add("clipped in more than a thousandth of the samples", file)
    if _cut_off(file):
        notes.add("shorter than their header says, and used as far as they go", file)
    if own != rate:
        notes.add(f"resampled to {rate} Hz", f"{file} ({own} Hz)")
    return found


def _cut_off(file: Path) -> bool:
    """Whether a WAV file ends before its data do; those written into a pipe tell no length, or the most."""
    with file.open("rb") as opened:
        head = opened.read(8)
    told = int.from_bytes(head[4:], "little") + 8
    return head[:4] == b"RIFF" and told < _NO_LENGTH and told > file.stat().st_size


def resampled(samples: Tensor, rate: int, wanted: int) -> Tensor:
    """Samples ``(n,)`` at another rate, by soxr's high-quality filter."""
    if rate == wanted:
        return samples
    import soxr

    return torch.from_numpy(np.ascontiguousarray(soxr.resample(samples.numpy(), rate, wanted)))


def at_level(samples: Tensor, level: float) -> Tensor:
    """Samples scaled to a root mean square; as quiet as 1e-5, they are noise and grow no further."""
    return samples * (level / samples.square().mean().sqrt().clamp_min(1e-5))


def write_sound(file: Path | str, samples: Tensor, rate: int) -> None:
    """Write samples ``(n,)`` as 16 bits; what is louder than the range is scaled down to it.

    The file's ending says its format: ``.wav``, ``.flac`` or ``.ogg``.

    Raises:
        DataError: the samples are not finite, the ending is of no format that is known, or the file cannot be
            written.
    """
    import soundfile

    if not bool(samples.isfinite().all()):
        raise DataError(f"cannot write {file}: its samples are not finite")
    values = _in_range(samples)
    known = {f".{name.lower()}" for name in soundfile.available_formats()}
    if Path(file).suffix.lower() not in known:
        raise DataError(f"cannot write {file}: name a file that ends in .wav, .flac or .ogg")
    try:
        soundfile.write(file, values.numpy(), rate)
    except (OSError, RuntimeError) as error:
        raise DataError(f"cannot write {file}: {_reason(error)}") from error


def as_wav(samples: Tensor, rate: int) -> bytes:
    """A WAV file of 16 bits in memory, for reports; what is not finite is silent."""
    from io import BytesIO

    import soundfile

    buffer = BytesIO()
    soundfile.write(buffer, _in_range(samples.nan_to_num(0.0, 0.0, 0.0)).numpy(), rate, format="WAV")
    return buffer.getvalue()


def without_silence(samples: Tensor, rate: int, below: float = 40.0) -> Tensor:
    """Samples between the first and the last moment that is less than ``below`` dB under the loudest.

    Moments are 10 ms long; one is kept on either side.
    """
    hop = max(1, rate // 100)
    if len(samples) < 2 * hop:
        return samples
    power = samples[: len(samples) // hop * hop].reshape(-1, hop).square().mean(1)
    loud = (power > power.max() * 10 ** (-below / 10)).nonzero().flatten()
    if not len(loud):
        return samples
    return samples[max(0, int(loud[0]) - 1) * hop : (int(loud[-1]) + 2) * hop]


def _in_range(samples: Tensor) -> Tensor:
    values = samples.detach().cpu().float()
    return values / values.abs().amax().clamp_min(1.0)


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
