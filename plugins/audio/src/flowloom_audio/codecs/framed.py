"""What codecs of waveforms share: marks of samples as marks of frames, and waveforms beside the state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from flowloom.codecs import Codec
from flowloom.data import Examples
from flowloom.layout import Layout
from flowloom.spec import Condition, Spec
from flowloom.state import Cond
from flowloom_audio.waveforms import require_waves

__all__ = ["FramedCodec"]


class FramedCodec(Codec):
    """Waveforms ``(samples,)`` as frames of numbers or tokens, one for every ``hop`` samples or so.

    Marks of real samples become marks of real frames; the conditions named in ``also`` are waveforms too and
    are coded alike.

    Args:
        spec: of the data.
        also: further conditions that are waveforms; those that the data lack are passed over.
        who: the codec, for messages.

    Raises:
        IncompatibleError: the data are no waveforms.
    """

    lossy: ClassVar[bool] = True

    def __init__(self, spec: Spec, also: Sequence[str], who: str) -> None:
        super().__init__(spec)
        require_waves(spec, who)
        self.also = tuple(name for name in also if name in spec.conditions)

    @abstractmethod
    def count(self, samples: int) -> int:
        """Frames of so many samples."""

    @abstractmethod
    def coded(self, waves: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Waveforms ``(n, samples)`` to frames ``(n, frames, entries)``."""

    @abstractmethod
    def sound(self, frames: Tensor, samples: int) -> Tensor:
        """Frames back to waveforms ``(n, samples)``."""

    @property
    @abstractmethod
    def entries(self) -> int:
        """Numbers or tokens of a frame."""

    @property
    @abstractmethod
    def vocab(self) -> int | None:
        """Number of ids of a token; None where frames are numbers."""

    @property
    def spec(self) -> Spec:
        """Of the frames, with marks over them."""
        (samples,) = self.data_spec.shape
        shape, conditions = (self.count(samples), self.entries), dict[str, Condition]()
        for name, condition in self.data_spec.conditions.items():
            if name in self.also:
                own = (self.count(condition.shape[0]), self.entries)
                conditions[name] = replace(condition, shape=own, classes=self.vocab)
            elif condition.role in ("real", "given"):
                conditions[name] = replace(condition, shape=shape[:1])
            elif condition.role not in ("values", "start"):
                conditions[name] = condition
        return Spec(shape, vocab=self.vocab, conditions=conditions)

    def encode(self, examples: Examples, generator: torch.Generator | None = None) -> Examples:
        """Frames, with conditions over frames."""
        waves: Any = examples.x
        layout = Layout.of(self.data_spec, examples.cond)
        waves = waves if layout is None else layout.zero(waves)
        with torch.no_grad():
            frames = self.coded(waves, generator)
        return Examples(frames, dict(self.encode_conditions(examples.cond)))

    def encode_conditions(self, cond: Cond) -> Cond:
        """Marks of frames: one is real where any of its samples is, given where all are; coded waveforms."""
        found = dict(cond)
        for name, condition in self.data_spec.conditions.items():
            if name not in found:
                continue
            if name in self.also:
                with torch.no_grad():
                    found[name] = self.coded(found[name])
            elif condition.role in ("real", "given"):
                blocks = self._blocks(found[name].bool(), condition.role == "given")
                found[name] = blocks.all(2) if condition.role == "given" else blocks.any(2)
        return found

    def decode(self, examples: Examples) -> Examples:
        """Waveforms, silent in padding, with marks of samples."""
        frames: Any = examples.x
        (samples,), whole = self.data_spec.shape, self.count(self.data_spec.shape[0])
        # A batch that was cut to its longest row stays as short.
        samples = samples if frames.shape[1] >= whole else samples * frames.shape[1] // whole
        waves = self.sound(frames, samples)
        cond = dict(examples.cond)
        for name, condition in self.data_spec.conditions.items():
            if condition.role in ("real", "given") and name in cond:
                size = -(-samples // frames.shape[1])
                cond[name] = cond[name].repeat_interleave(size, 1)[:, :samples]
        layout = Layout.of(self.data_spec, cond)
        return Examples(waves if layout is None else layout.zero(waves), cond)

    def _blocks(self, marks: Tensor, filled: bool) -> Tensor:
        frames = self.count(marks.shape[1])
        size = -(-marks.shape[1] // frames)
        short = size * frames - marks.shape[1]
        return torch.nn.functional.pad(marks, (0, short), value=filled).unflatten(1, (frames, size))
