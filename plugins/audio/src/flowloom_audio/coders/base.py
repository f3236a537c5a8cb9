"""The contract of coders of sound, and the convolutions that all of them have."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.models.sizes import require_sizes
from flowloom.spec import Spec
from flowloom_audio.waveforms import require_waves

__all__ = ["Coded", "WaveCoder"]


@dataclass(frozen=True)
class Coded:
    """What passes between encoder and decoder while both learn.

    Args:
        frames: that the decoder sees, ``(batch, frames, latent)``, with a gradient to the encoder.
        cost: of the bottleneck, a scalar.
        told: named scalars to log.
    """

    frames: Tensor
    cost: Tensor
    told: Mapping[str, Tensor] = field(default_factory=dict)


class WaveCoder(nn.Module, ABC):
    """Waveforms ``(batch, samples)`` as frames ``(batch, samples / hop, latent)``, and back.

    Convolutions alone, so that recordings of any multiple of ``hop`` samples can be coded: strided ones, each
    behind two dilated residual units, and the mirror of them (SEANet, as in SoundStream 2107.03312 and
    EnCodec 2210.13438, without its recurrent layers; ELU). As a model it answers with the reconstruction,
    whatever the time.

    Args:
        spec: of the data: waveforms whose samples are a multiple of the hop; injected from the recipe.
        width: channels of the first convolution; every stride doubles them.
        strides: whose product is the hop.
        latent: numbers of a frame.
        coded: numbers that the encoder says of a frame, where they are others.

    Attributes:
        hop: samples of a frame.
        latent: see above.
        encodes: numbers that the encoder says of a frame.
        vocab: number of codes of a frame's tokens; None where frames are real numbers.

    Raises:
        IncompatibleError: the data are no waveforms, or of other lengths.
    """

    vocab: int | None = None

    def __init__(
        self,
        spec: Spec,
        width: int = 16,
        strides: Sequence[int] = (8, 4, 4),
        latent: int = 32,
        coded: int | None = None,
    ) -> None:
        super().__init__()
        require_sizes(width=width, latent=latent)
        if not strides or min(strides) < 2:
            raise ValueError(f"strides are at least 2 each, got {list(strides)}")
        require_waves(spec, "a coder of sound")
        self.spec, self.latent, self.hop = spec, latent, math.prod(strides)
        self.encodes = coded or latent
        if spec.shape[0] % self.hop:
            raise IncompatibleError(
                f"a coder of strides {list(strides)} takes multiples of {self.hop} samples, and the data "
                f"have {spec.shape[0]}; set data.seconds or the samples of view sound-piece so"
            )
        down: list[nn.Module] = [nn.Conv1d(1, width, 7, padding=3)]
        up: list[nn.Module] = []
        size = width
        for stride in strides:
            down += [Residual(size, 1), Residual(size, 3), nn.ELU()]
            down.append(nn.Conv1d(size, 2 * size, 2 * stride, stride, padding=-(-stride // 2)))
            grow = nn.ConvTranspose1d(
                2 * size, size, 2 * stride, stride, padding=-(-stride // 2), output_padding=stride % 2
            )
            up = [nn.ELU(), grow, Residual(size, 1), Residual(size, 3), *up]
            size *= 2
        self.encoder = nn.Sequential(*down, nn.ELU(), nn.Conv1d(size, self.encodes, 3, padding=1))
        self.decoder = nn.Sequential(
            nn.Conv1d(latent, size, 7, padding=3), *up, nn.ELU(), nn.Conv1d(width, 1, 7, padding=3)
        )

    @abstractmethod
    def learn(self, waves: Tensor, generator: torch.Generator | None) -> Coded:
        """Frames of waveforms as training decodes them, and what they cost.

        Args:
            waves: ``(batch, samples)``.
            generator: of everything drawn.
        """

    @abstractmethod
    def frames(self, waves: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Frames ``(batch, frames, latent)``, or their tokens ``(batch, frames, books)``.

        Args:
            waves: ``(batch, samples)``.
            generator: of everything drawn; the law's mean where None.
        """

    def encoded(self, waves: Tensor) -> Tensor:
        """What the encoder says of every frame, ``(batch, frames, coded)``."""
        found: Tensor = self.encoder(waves[:, None]).transpose(1, 2)
        return found

    def decode(self, frames: Tensor) -> Tensor:
        """Waveforms ``(batch, frames * hop)`` of frames, or of tokens where frames are tokens."""
        found: Tensor = self.decoder(frames.transpose(1, 2))[:, 0]
        return found

    def forward(self, x: Tensor, t: Tensor, /, **cond: Any) -> Tensor:
        """The reconstruction of waveforms ``(batch, samples)``."""
        layout = Layout.of(self.spec, cond)
        return self.decode(self.frames(x if layout is None else layout.zero(x)))


class Residual(nn.Module):
    """A dilated convolution and one of a single place, beside the identity."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ELU(),
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation),
            nn.ELU(),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Signals ``(batch, width, n)``."""
        answer: Tensor = x + self.body(x)
        return answer
