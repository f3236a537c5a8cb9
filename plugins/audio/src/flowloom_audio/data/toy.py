"""Speech from a source and a filter: words of known sounds and voices, for tests and demonstrations."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from flowloom.seeds import derive
from flowloom_audio.data.clips import Clip
from flowloom_audio.data.recordings import Recordings
from flowloom_audio.data.sound import Notes

__all__ = ["ToySpeech"]

_VOWELS = {
    "a": (750.0, 1200.0, 2500.0),
    "e": (500.0, 1800.0, 2500.0),
    "i": (300.0, 2200.0, 2900.0),
    "o": (450.0, 850.0, 2400.0),
    "u": (320.0, 800.0, 2250.0),
    "m": (250.0, 1000.0, 2200.0),
    "n": (250.0, 1500.0, 2600.0),
}
"""Formants in Hz (of an adult, after Peterson and Barney 1952), nasals among them."""
_NOISES = {"s": (3300.0, 900.0), "f": (1900.0, 1700.0), "t": (2700.0, 700.0), "k": (1500.0, 500.0)}
"""Centre and width in Hz of the noise of unvoiced sounds."""


class ToySpeech(Recordings):
    """Words said by a source-filter synthesiser: harmonics of the speaker's pitch, or noise, behind formants.

    A speaker is a pitch and a length of the vocal tract, which scales all formants; every take has a pitch
    contour, a pace and a level of its own. Nothing is read from disk, so that whatever is made for recordings
    can be tried anywhere.

    Args:
        words: what is said.
        voices: number of speakers.
        takes: recordings of every word by every speaker; a fifth of them are ``test``.
        rate: samples a second.
        seconds: longest example.
        join: most words joined to one example; see `Recordings`.
        rows: examples where words are joined.
        prompt: seconds of the prompt, 0 for none.
        mix: ratios in dB at which another speaker is added, as the condition ``degraded``; see `Recordings`.
        seed: of the takes.
    """

    def __init__(
        self,
        words: tuple[str, ...] = ("masa", "nito", "fuke", "sone", "kima", "tafu"),
        voices: int = 3,
        takes: int = 10,
        rate: int = 8000,
        seconds: float = 0.768,
        join: int = 1,
        rows: int = 2000,
        prompt: float = 0.0,
        mix: tuple[float, float] | None = None,
        seed: int = 0,
    ) -> None:
        if not words or not all(words):
            raise ValueError(f"words are one or more, none of them empty, got {list(words)}")
        room = sum(map(len, words)) if not join else join * (max(map(len, words)) + 1)
        super().__init__(
            rate=rate,
            seconds=seconds,
            join=join,
            rows=rows,
            pause=0.05,
            prompt=prompt,
            text_length=room,
            trim=False,
            mix=mix,
            seed=seed,
        )
        if voices < 1 or takes < 2:
            raise ValueError(f"voices must be at least 1 and takes at least 2, got {voices} and {takes}")
        unknown = sorted({c for word in words for c in word} - set(_VOWELS) - set(_NOISES))
        if unknown:
            raise ValueError(
                f"words are of the sounds {''.join((*_VOWELS, *_NOISES))}, not {''.join(unknown)}"
            )
        self.lexicon, self.voices, self.takes = tuple(words), voices, takes

    def clips(self) -> list[Clip]:
        """Every word by every speaker, several times."""
        return [
            Clip(Path(f"{word}-{voice}-{take}"), word, f"voice{voice}", take)
            for word in self.lexicon
            for voice in range(self.voices)
            for take in range(self.takes)
        ]

    def belongs(self, clip: Clip, split: str) -> bool:
        """Every fifth take is test."""
        return (clip.take % 5 == 0) == (split == "test")

    def sound(self, clip: Clip, notes: Notes) -> Tensor:
        """Made on the spot; the same for the same clip."""
        draws = torch.Generator().manual_seed(derive(self.seed, f"toy-speech/{clip.file}"))
        voice = int(clip.speaker.removeprefix("voice"))
        pitch = 90.0 * (2.0 ** (voice / max(1, self.voices - 1))) if self.voices > 1 else 120.0
        tract = 1.0 + 0.12 * voice
        bend, pace = (2 * torch.rand(2, generator=draws) - 1).tolist()
        each = round((0.075 + 0.015 * pace) * self.rate)
        return _said(clip.text, self.rate, each, pitch, 0.2 * bend, tract, draws)


def _said(
    text: str, rate: int, each: int, pitch: float, bend: float, tract: float, draws: torch.Generator
) -> Tensor:
    """A word: harmonics under formants that glide, and noise in bands.

    Args:
        text: of known sounds.
        rate: samples a second.
        each: samples of one sound.
        pitch: in Hz, in the middle.
        bend: how much of it the pitch rises from first to last.
        tract: factor of all formants.
        draws: of the noise.
    """
    n = each * len(text)
    time = torch.arange(n, dtype=torch.float64)
    track = pitch * (1 + bend * (time / n - 0.5))
    phase = 2 * torch.pi * track.cumsum(0) / rate
    fade = _smooth(n, each, [1.0 if c in _VOWELS else 0.0 for c in text])
    formants = torch.stack(
        [_smooth(n, each, [_VOWELS.get(c, _VOWELS["e"])[k] * tract for c in text]) for k in range(3)]
    )
    voiced = torch.zeros(n, dtype=torch.float64)
    for harmonic in range(1, int(rate / 2 / (pitch * 1.2)) + 1):
        frequency = harmonic * track
        near = (1 / (1 + ((frequency - formants) / torch.tensor([[80.0], [110.0], [160.0]])) ** 2)).sum(0)
        voiced += near * harmonic**-0.5 * (harmonic * phase).sin() * (frequency < rate / 2)
    sound = fade * voiced
    for i, c in enumerate(text):
        if c in _NOISES:
            centre, width = _NOISES[c]
            white = torch.randn(each, generator=draws, dtype=torch.float64)
            spectrum = torch.fft.rfft(white)
            frequency = torch.fft.rfftfreq(each, 1 / rate)
            band = (-0.5 * ((frequency - min(centre, 0.45 * rate)) / width) ** 2).exp()
            burst = 1.0 if c in "sf" else (-torch.arange(each) / (0.2 * each)).exp()
            sound[i * each : (i + 1) * each] += 0.8 * torch.fft.irfft(spectrum * band, each) * burst
    return (0.1 * sound).float()


def _smooth(n: int, each: int, values: list[float]) -> Tensor:
    """One value for every sound, gliding over a third of it."""
    steps = torch.tensor(values, dtype=torch.float64).repeat_interleave(each)
    half = max(1, each // 6)
    padded = torch.nn.functional.pad(steps[None, None], (half, half), mode="replicate")
    return torch.nn.functional.avg_pool1d(padded, 2 * half + 1, 1)[0, 0, :n]
