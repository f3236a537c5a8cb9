"""Pieces of recordings, and their log-mel frames beside them: what a vocoder learns from."""

from __future__ import annotations

from dataclasses import replace

import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.spec import Condition, Spec
from flowloom.views import View
from flowloom.views.base import plus
from flowloom_audio.codecs.mel import Mel
from flowloom_audio.rates import rate_of
from flowloom_audio.waveforms import require_waves

__all__ = ["MelBeside", "Piece"]


class Piece(View):
    """A piece of every recording, from a place drawn among those where it is real; silence behind its end.

    Waveforms among the conditions are cut at the same place; marks of samples are gone, for all of a piece
    counts. Whatever else is known of a recording is handed on as it is.

    Args:
        samples: of a piece.
    """

    def __init__(self, samples: int = 8192) -> None:
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        self.samples = samples

    def spec(self, spec: Spec) -> Spec:
        """Of pieces."""
        require_waves(spec, "view sound-piece")
        conditions = {}
        for name, condition in spec.conditions.items():
            if condition.role in ("real", "given"):
                continue
            wave = condition.shape == spec.shape and condition.classes is None
            conditions[name] = replace(condition, shape=(self.samples,)) if wave else condition
        return replace(spec, shape=(self.samples,), conditions=conditions)

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """Pieces."""
        x = examples.x
        assert isinstance(x, torch.Tensor)
        layout = examples.layout or Layout()
        lengths = layout.real.sum(1) if layout.real is not None else torch.full((len(x),), x.shape[1])
        room = (lengths - self.samples).clamp_min(0) + 1
        start = (torch.rand(len(x), generator=generator) * room).long()
        places = start[:, None] + torch.arange(self.samples)

        def piece(wave: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.pad(wave, (0, self.samples)).gather(1, places)

        cond = {}
        for name, value in examples.cond.items():
            if value.shape == x.shape and value.dtype != torch.bool:
                cond[name] = piece(value)
            elif value.shape != x.shape:
                cond[name] = value
        return Examples(piece(layout.zero(x)), cond)


class MelBeside(View):
    """The log-mel frames of every recording, as the condition ``mel`` that a vocoder is given.

    Args:
        rate: samples a second.
        bands: of a frame.
        window: samples that a frame sees.
        hop: samples from frame to frame; a recording has a multiple of them.
        name: of the condition.
    """

    random = False

    def __init__(
        self, rate: int = 8000, bands: int = 64, window: int = 512, hop: int = 128, name: str = "mel"
    ) -> None:
        self.mel, self.name = Mel(rate, bands, window, hop), name

    def spec(self, spec: Spec) -> Spec:
        """With the frames."""
        if spec.parts or spec.vocab is not None or len(spec.shape) != 1 or spec.shape[0] % self.mel.hop:
            raise IncompatibleError(
                f"view mel-beside is for waveforms of a multiple of {self.mel.hop} samples, "
                f"not {spec.event_shape()}; cut pieces first (view sound-piece)"
            )
        rate_of(spec, self.mel.rate, "view mel-beside")
        frames = self.mel.frames(spec.shape[0])
        return plus(spec, "mel-beside", **{self.name: Condition(shape=(frames, self.mel.bands))})

    def __call__(self, examples: Examples, generator: torch.Generator) -> Examples:
        """With the frames."""
        clean = (examples.layout or Layout()).zero(examples.x)
        with torch.no_grad():
            frames = self.mel(clean)
        return Examples(examples.x, {**examples.cond, self.name: frames})
