"""Log-mel frames in place of recordings: speech whose flow is judged where it lives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.spec import Spec
from flowloom.views import View
from flowloom_audio.codecs.mel import Mel
from flowloom_audio.rates import rate_of
from flowloom_audio.waveforms import require_waves

__all__ = ["SoundFrames"]


class SoundFrames(View):
    """Every recording as its log-mel frames, with those of other recordings among its conditions.

    The codec ``log-mel`` makes the same frames, and judges hear what it decodes, phases that Griffin-Lim
    found included. Here frames are the data, so that errors and distances are those of the flow itself.

    Args:
        rate: samples a second.
        bands: of a frame.
        window: samples that a frame sees.
        hop: samples from frame to frame.
        mean: taken off all log magnitudes.
        std: that they are then divided by.
        also: conditions that are recordings; those that the data lack are passed over.
    """

    random = False

    def __init__(
        self,
        rate: int = 8000,
        bands: int = 64,
        window: int = 512,
        hop: int = 128,
        mean: float = 0.0,
        std: float = 1.0,
        also: Sequence[str] = ("prompt", "degraded", "reference"),
    ) -> None:
        if not std > 0:
            raise ValueError(f"std must be positive, got {std}")
        self.mel, self.mean, self.std, self.also = Mel(rate, bands, window, hop), mean, std, tuple(also)

    def spec(self, spec: Spec) -> Spec:
        """Of frames."""
        require_waves(spec, "view sound-frames")
        known = [*spec.named("given"), *spec.named("values")]
        if known:
            raise IncompatibleError(
                f"view sound-frames has no frames of samples that are known ('{known[0]}'); use codec log-mel"
            )
        rate_of(spec, self.mel.rate, "view sound-frames")
        frames = self.mel.frames(spec.shape[0])
        conditions = dict(spec.conditions)
        for name, condition in spec.conditions.items():
            if condition.role == "real":
                conditions[name] = replace(condition, shape=(frames,))
            elif name in self.also:
                if condition.classes is not None or len(condition.shape) != 1:
                    raise IncompatibleError(
                        f"view sound-frames makes frames of recordings, and '{name}' is none; leave it "
                        "out of 'also'"
                    )
                shape = (self.mel.frames(condition.shape[0]), self.mel.bands)
                conditions[name] = replace(condition, shape=shape)
        return Spec((frames, self.mel.bands), conditions=conditions)

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """Frames."""
        x = examples.x
        assert isinstance(x, Tensor)
        cond = dict(examples.cond)
        for name, value in examples.cond.items():
            if name in self.also:
                cond[name] = self._frames(value)
            elif value.dtype == torch.bool and value.shape == x.shape:
                cond[name] = self._whole(value).unflatten(1, (-1, self.mel.hop)).any(2)
        return Examples(self._frames((examples.layout or Layout()).zero(x)), cond)

    def _frames(self, waves: Tensor) -> Tensor:
        with torch.no_grad():
            return (self.mel(self._whole(waves).float()) - self.mean) / self.std

    def _whole(self, values: Tensor) -> Tensor:
        """Padded to whole hops."""
        return torch.nn.functional.pad(values, (0, -values.shape[-1] % self.mel.hop))
