"""Whether samples have the voice of a speaker, by an encoder of voices that this project did not train."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.libraries import torchaudio
from flowloom.metrics import Metric
from flowloom_audio.data.sound import at_level, resampled
from flowloom_audio.metrics.packages import lacking
from flowloom_audio.metrics.waves import sounds_of
from flowloom_audio.rates import rate_of
from flowloom_audio.waveforms import require_waves

__all__ = ["SpeakerSimilarity", "VoiceEncoder", "joined"]

_RATE, _HOP, _FRAMES, _STEP = 16_000, 160, 160, 77
"""Samples a second and between frames, frames of a piece and between pieces (1.3 pieces a second)."""
_LEVEL = 10 ** (-30 / 20)


class VoiceEncoder(nn.Module):
    """The generalised end-to-end encoder of voices (Wan et al. 1710.10467), with Resemblyzer's weights.

    Only the file of weights is read. The package itself cannot be imported beside a setuptools without
    ``pkg_resources``, and asks for 230 MB of others to make mel frames, which torchaudio makes as well.

    Args:
        weights: file of a checkpoint; None leaves the network as it is initialised.
    """

    def __init__(self, weights: Path | None) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
            self.linear = nn.Linear(256, 256)
        self._mel = torchaudio().transforms.MelSpectrogram(
            _RATE, 400, hop_length=_HOP, n_mels=40, pad_mode="constant", norm="slaney", mel_scale="slaney"
        )
        if weights is not None:
            state = torch.load(weights, map_location="cpu", weights_only=True)["model_state"]
            for name, part in (("lstm.", self.lstm), ("linear.", self.linear)):
                part.load_state_dict(
                    {key.removeprefix(name): v for key, v in state.items() if key.startswith(name)}
                )
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, sound: Tensor) -> Tensor:
        """A recording ``(samples,)`` at 16 kHz as a direction ``(256,)``.

        Mean of pieces of 1.6 s that overlap by half; a last piece of which less than three quarters would be
        real is left out, where it is not the only one.
        """
        count = len(sound) // _HOP + 1
        starts = list(range(0, max(1, count - _FRAMES + _STEP + 1), _STEP))
        if len(starts) > 1 and len(sound) - starts[-1] * _HOP < 0.75 * _FRAMES * _HOP:
            starts.pop()
        whole = F.pad(sound, (0, max(0, (starts[-1] + _FRAMES) * _HOP - len(sound))))
        mel = self._mel(whole).T
        _, (hidden, _) = self.lstm(torch.stack([mel[at : at + _FRAMES] for at in starts]))
        pieces = F.normalize(self.linear(hidden[-1]).relu(), dim=1)
        return F.normalize(pieces.mean(0), dim=0)


class SpeakerSimilarity(Metric):
    """Cosine of the voice of samples and of the speaker they were asked of, by Resemblyzer's encoder.

    Rows of a speaker are joined, in their order, until there are ``seconds`` of speech: one word does not
    tell a voice (equal error rate 0.25 of real spoken digits, of ten words 0.00). Every string is compared
    with the mean direction of the speaker's strings on the other side. ``speaker_similarity`` is the mean
    over strings. Its scale is the encoder's own: read it beside the column of training data.

    Args:
        seconds: least length of a string; a shorter rest goes with the string before it.
        against: ``truth`` compares with the held-out recordings of that speaker, ``prompt`` with the prompts
            that the samples were given.
        rate: samples a second; the data's own where None.

    Raises:
        MissingDependencyError: the package is not installed.
    """

    better: ClassVar = {"speaker_similarity": "higher"}
    silent: ClassVar[str] = "no speaker is on both sides"

    def __init__(
        self,
        seconds: float = 3.0,
        against: Literal["truth", "prompt"] = "truth",
        rate: int | None = None,
    ) -> None:
        if not seconds > 0:
            raise ValueError(f"seconds must be positive, got {seconds}")
        self.seconds, self.against, self.rate = seconds, against, rate
        self._weights = _weights()  # told before anything is trained

    def fit(self, train: Dataset) -> None:
        """Load the encoder.

        Raises:
            IncompatibleError: the data have no speaker, or no prompt where one is asked for.
        """
        require_waves(train.spec, "speaker-similarity")
        self._rate = rate_of(train.spec, self.rate, "speaker-similarity")
        for name in ("speaker", *(["prompt"] if self.against == "prompt" else [])):
            if name not in train.spec.conditions:
                raise IncompatibleError(f"metric speaker-similarity needs the condition '{name}' of a row")
        self._encoder = self.encoder()

    def encoder(self) -> nn.Module:
        """From a recording ``(samples,)`` at 16 kHz to a direction ``(width,)`` of length 1."""
        return VoiceEncoder(self._weights)

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``speaker_similarity``, over the speakers that both sides have."""
        self.require_rows(samples, real)
        other = real
        if self.against == "prompt":
            other = Examples(samples.cond["prompt"], {"speaker": samples.cond["speaker"]})
        found: list[Tensor] = []
        for speaker in samples.cond["speaker"].unique().tolist():
            ours, theirs = (self._voices(side, speaker) for side in (samples, other))
            if len(ours) and len(theirs):
                found.append(ours @ F.normalize(theirs.mean(0), dim=0))
        return {"speaker_similarity": float(torch.cat(found).mean())} if found else {}

    def _voices(self, examples: Examples, speaker: int) -> Tensor:
        """Of the strings of a speaker, ``(strings, width)``."""
        rows = (examples.cond["speaker"] == speaker).nonzero()[:, 0]
        strings = joined(sounds_of(examples.take(rows), least=1), round(self.seconds * self._rate))
        # As loud as the encoder's training data: how loud somebody is is no part of a voice.
        heard = [at_level(resampled(one, self._rate, _RATE), _LEVEL) for one in strings]
        return torch.stack([self._encoder(one) for one in heard]) if heard else torch.zeros(0, 1)


def joined(waves: list[Tensor], least: int) -> list[Tensor]:
    """Waveforms one after the other, in strings of ``least`` samples or more; a short rest ends the last."""
    strings: list[list[Tensor]] = []
    length = least
    for wave in waves:
        if length >= least:
            strings.append([])
            length = 0
        strings[-1].append(wave)
        length += len(wave)
    if len(strings) > 1 and length < least:
        rest = strings.pop()
        strings[-1] += rest
    return [torch.cat(one) for one in strings]


def _weights() -> Path:
    """The file in the package, which is not imported."""
    found = find_spec("resemblyzer")
    if found is None or found.origin is None:
        raise lacking("metric speaker-similarity", "resemblyzer", "--no-deps resemblyzer")
    return Path(found.origin).parent / "pretrained.pt"
