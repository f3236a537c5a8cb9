"""Pitch of waveforms, and how periodic they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Pitch", "pitch_of"]

_FINE = 16_000
"""Samples a second at which lags are looked at: a parabola through three of them then finds the rest."""
_DIP = 0.1
"""The first lag with so small a difference is the period (YIN, step 4); the least one where there is none."""
_QUIET = 1e-3
"""Root mean square below which a frame is silence, relative to the loudest one of its row: -60 dB."""
_ROWS = 2


@dataclass(frozen=True)
class Pitch:
    """What frames of waveforms sound like.

    Args:
        frequency: in Hz, ``(n, frames)``; of unvoiced frames as well, where it means nothing.
        periodicity: 1 where a frame repeats itself exactly, about 0 for noise, and 0 for silence.
        real: frames that lie within the real samples.
    """

    frequency: Tensor
    periodicity: Tensor
    real: Tensor


def pitch_of(
    waves: Tensor, lengths: Tensor, rate: int, lowest: float = 70.0, highest: float = 400.0
) -> Pitch:
    r"""The pitch of every frame by YIN (de Cheveigné and Kawahara, JASA 111(4), 2002).

    With :math:`d(\tau) = \sum_j (x_j - x_{j+\tau})^2` over a window of the longest period, the period is the
    first dip of :math:`d'(\tau) = d(\tau) \tau / \sum_{j \le \tau} d(j)` below a threshold, refined by a
    parabola; :math:`1 - d'` there is the periodicity. Frames stand every half of a window and see two of
    them. `librosa.yin` is the same search but keeps :math:`d'` to itself, and is not there after a plain
    installation.

    Args:
        waves: ``(n, samples)``.
        lengths: real samples of every row, ``(n,)``.
        rate: samples a second.
        lowest: pitch that is found, in Hz.
        highest: likewise.

    Raises:
        ValueError: ``highest`` is not between ``lowest`` and half the rate, or too near to ``lowest``.
    """
    times, size, low = lags(rate, lowest, highest)
    if not len(waves):
        none = waves.new_zeros(0, 0, dtype=torch.float64)
        return Pitch(none, none, none.bool())
    # About their mean: beside silence, a constant would ring where samples are made denser.
    real = torch.arange(waves.shape[1], device=waves.device) < lengths[:, None]
    waves = torch.where(real, waves.double(), 0.0)
    # A power of two of its peak, which costs no digits: below, what is silent is told by numbers.
    waves = torch.ldexp(waves, -torch.frexp(waves.abs().amax(1, keepdim=True)).exponent)
    middle = waves.sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp_min(1)
    waves = torch.where(real, waves - middle, 0.0)
    # Every sample stands in four frames: a few rows at a time, so that they stay in the cache.
    parts = [_found(rows, times, size, low) for rows in waves.split(_ROWS)]
    lag, periodicity = (torch.cat(part) for part in zip(*parts, strict=True))
    ends = torch.arange(lag.shape[1], device=lag.device) * _hop(size) + 2 * size + 1
    return Pitch(times * rate / lag, periodicity, ends <= times * lengths[:, None])


def lags(rate: int, lowest: float, highest: float) -> tuple[int, int, int]:
    """Dense samples for each one, and the longest and shortest period in dense samples.

    Raises:
        ValueError: see `pitch_of`.
    """
    if not 0 < lowest < highest <= rate / 2:
        raise ValueError(
            f"pitch is looked for from lowest to highest, at most half the rate: got {lowest:g} and "
            f"{highest:g} at {rate} Hz"
        )
    times = -(-_FINE // rate)
    size, low = round(times * rate / lowest), max(2, int(times * rate / highest))
    if low >= size:
        raise ValueError(f"between {lowest:g} and {highest:g} Hz there is no period of whole samples")
    return times, size, low


def _hop(size: int) -> int:
    return -(-size // 2)


def _found(waves: Tensor, times: int, size: int, low: int) -> tuple[Tensor, Tensor]:
    """Periods in dense samples, and periodicity, ``(n, frames)`` each."""
    fine = _denser(waves, times)
    fine = torch.nn.functional.pad(fine, (0, max(0, 2 * size + 1 - fine.shape[1])))
    frames = fine.unfold(1, 2 * size + 1, _hop(size))
    gap = _normalised(_differences(frames, size))
    lag = _first_dip(gap, low, size)
    before, here, after = (gap.gather(-1, (lag + k)[..., None])[..., 0] for k in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = torch.where(bend > 1e-12, 0.5 * (before - after) / bend.clamp_min(1e-12), 0.0).clamp(-1, 1)
    loud = frames.square().mean(-1).sqrt()
    heard = loud > _QUIET * loud.amax(1, keepdim=True).clamp_min(1e-9)
    return lag + shift, torch.where(heard, (1 - here).clamp(0, 1), 0.0)


def _denser(waves: Tensor, times: int) -> Tensor:
    """``times`` as many samples a second, by a spectrum with zeros behind it; ends are padded first."""
    room = 64
    padded = torch.nn.functional.pad(waves, (room, room))
    count = padded.shape[1]
    spectrum = torch.fft.rfft(padded)
    if count % 2 == 0:
        spectrum[:, -1] *= 0.5  # the highest frequency of an even number of samples stands for two
    return times * torch.fft.irfft(spectrum, times * count)[:, times * room : times * (room + waves.shape[1])]


def _differences(frames: Tensor, size: int) -> Tensor:
    """``d`` at lags from 0 to ``size``, ``(..., size + 1)``, of frames ``(..., 2 size + 1)``."""
    energy = torch.nn.functional.pad(frames.square().cumsum(-1), (1, 0))
    lags = torch.arange(size + 1)
    own = energy[..., size : size + 1] - energy[..., :1]
    other = energy[..., lags + size] - energy[..., lags]
    # At the longest lag the last entry is still within the frame, so that nothing comes round from its end.
    count = 1 << (2 * size).bit_length()
    first = torch.fft.rfft(frames[..., :size], count)
    both = torch.fft.irfft(first.conj() * torch.fft.rfft(frames, count), count)[..., : size + 1]
    return (own + other - 2 * both).clamp_min(0)


def _normalised(d: Tensor) -> Tensor:
    """Over the mean of all shorter lags; 1 at none."""
    lags = torch.arange(1, d.shape[-1], dtype=d.dtype)
    means = d[..., 1:].cumsum(-1) / lags
    rest = torch.where(means > 1e-12, d[..., 1:] / means.clamp_min(1e-12), 1.0)
    return torch.cat([torch.ones_like(d[..., :1]), rest], -1)


def _first_dip(gap: Tensor, low: int, high: int) -> Tensor:
    """The lag from ``low`` to ``high - 1`` of the first minimum that is deep enough, else of the deepest."""
    inner = gap[..., low:high]
    dip = (inner <= gap[..., low - 1 : high - 1]) & (inner <= gap[..., low + 1 : high + 1]) & (inner < _DIP)
    return low + torch.where(dip.any(-1), dip.int().argmax(-1), inner.argmin(-1))
