"""Distances in the features of self-supervised speech: HuBERT, WavLM, wav2vec 2.0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom.metrics.frechet import frechet_distance
from flowloom.seeds import derive
from flowloom_audio.codecs.pretrained import model_of
from flowloom_audio.data.sound import resampled
from flowloom_audio.metrics.waves import sounds_of
from flowloom_audio.rates import rate_of
from flowloom_audio.waveforms import require_waves

__all__ = ["SpeechFrechet"]

_RATE = 16_000
"""What all of them were trained at, in samples a second."""
_KINDS = ("hubert", "wavlm", "wav2vec2")


class SpeechFrechet(Metric):
    """Fréchet distance between features of samples and of real recordings, as an encoder hears them.

    A recording is the mean over time of one layer's states. The encoder is HuBERT (2106.07447), WavLM
    (2110.13900) or wav2vec 2.0 (2006.11477) of the transformers library, at 16 kHz; it is frozen, and was
    trained on other data. Give it many more rows than its layers are wide, and compare equal numbers only.

    Args:
        pretrained: folder (or name on the hub) of trained weights.
        config: instead, an encoder with random weights: ``model_type`` (``hubert``, ``wavlm`` or
            ``wav2vec2``) and settings of its configuration. Random features compare as well, but coarsely.
        layer: whose states are taken, from 0 (what enters the first one); -1 is the last.
        normalise: whether waveforms are brought to mean 0 and deviation 1, as most checkpoints expect.
        rate: samples a second; the data's own where None.
        seed: of random weights.
    """

    better: ClassVar = {"speech_frechet": "lower"}

    def __init__(
        self,
        pretrained: str | None = None,
        config: Mapping[str, Any] | None = None,
        layer: int = -1,
        normalise: bool = True,
        rate: int | None = None,
        seed: int = 0,
    ) -> None:
        self.rate, self.layer, self.normalise = rate, layer, normalise
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "speech-frechet"))
            self.body = model_of("metric speech-frechet", pretrained, config).requires_grad_(False).eval()
        kind = str(self.body.config.model_type)
        if kind not in _KINDS:
            raise IncompatibleError(f"metric speech-frechet is of {', '.join(_KINDS)}, not {kind}")
        layers = int(self.body.config.num_hidden_layers)
        if not -layers - 1 <= layer <= layers:
            raise IncompatibleError(f"this encoder has layers 0 to {layers}, not {layer}")

    def fit(self, train: Dataset) -> None:
        """Learn the rate."""
        require_waves(train.spec, "speech-frechet")
        self._rate = rate_of(train.spec, self.rate, "metric speech-frechet")

    def __call__(self, samples: Examples, real: Examples) -> dict[str, float]:
        """``speech_frechet``."""
        self.require_rows(samples, real)
        return {"speech_frechet": frechet_distance(self.features(samples), self.features(real))}

    @torch.no_grad()
    def features(self, examples: Examples) -> Tensor:
        """Of every recording, ``(n, width)``."""
        # One by one: the first layer of most is normalised over time, padding included.
        return torch.stack([self._of(sound) for sound in sounds_of(examples, least=1)])

    def _of(self, wave: Tensor) -> Tensor:
        sound = resampled(wave, self._rate, _RATE)
        least = self._least()
        sound = torch.nn.functional.pad(sound, (0, max(0, least - len(sound))))
        if self.normalise:
            sound = (sound - sound.mean()) / (sound.var(correction=0) + 1e-7).sqrt()
        states: Tensor = self.body(sound[None], output_hidden_states=True).hidden_states[self.layer]
        return states[0].mean(0)

    def _least(self) -> int:
        """Samples of which the encoder makes one frame."""
        size = 1
        pairs = zip(self.body.config.conv_kernel, self.body.config.conv_stride, strict=True)
        for kernel, stride in reversed(list(pairs)):
            size = (size - 1) * stride + kernel
        return size
