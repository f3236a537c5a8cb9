"""A residual vector-quantised coder of waveforms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowloom.draw import Draw
from flowloom.spec import Spec
from flowloom_audio.coders.base import Coded, WaveCoder
from flowloom_audio.coders.residual import ResidualQuantiser

__all__ = ["WaveQuantiser"]


class WaveQuantiser(WaveCoder):
    r"""Frames are sums of codebook entries (SoundStream 2107.03312, EnCodec 2210.13438).

    The decoder's gradient passes the quantiser as if it were not there, and the encoder is held to what it
    chose (1711.00937): the bottleneck costs :math:`\sum_b \|z_b - \mathrm{sg}(e_b)\|^2` a frame, averaged
    over entries, with :math:`z_b` what is left before book b. Of a share of the frames the decoder sees the
    first books alone, as many as are drawn, so that these say most (quantiser dropout). Logs ``used``, the
    share of entries that a batch asks for.

    Args:
        spec: see `WaveCoder`, as the others.
        width: see there.
        strides: see there.
        latent: see there.
        books: codebooks.
        entries: of each.
        decay: of their averages; see `ResidualQuantiser`.
        dropout: share of recordings that are decoded from the first books alone.
    """

    def __init__(
        self,
        spec: Spec,
        width: int = 16,
        strides: Sequence[int] = (8, 4, 4),
        latent: int = 32,
        books: int = 4,
        entries: int = 64,
        decay: float = 0.99,
        dropout: float = 0.25,
    ) -> None:
        super().__init__(spec, width, strides, latent)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        self.quantiser = ResidualQuantiser(latent, books, entries, decay)
        self.vocab, self.books, self.dropout = entries, books, dropout

    def learn(self, waves: Tensor, generator: torch.Generator | None) -> Coded:
        """Quantised frames with the gradient of those that were not; in training, codebooks follow them."""
        frames = self.encoded(waves)
        if self.training:
            self.quantiser.follow(frames.flatten(0, 1), generator)
        tokens, left, said = self.quantiser.steps(frames)
        commitment = (left - said.detach()).square().mean((1, 2, 3)).sum()
        draw = Draw.like(frames, generator)
        kept = torch.full((len(waves),), self.books, device=frames.device)
        few = 1 + draw.integers(self.books, (len(waves),))
        if self.training:
            kept = torch.where(draw.uniform((len(waves),)) < self.dropout, few, kept)
        shown = torch.arange(self.books, device=frames.device)[:, None] < kept
        quantised = (said * shown[:, :, None, None]).sum(0)
        asked = nn.functional.one_hot(tokens, self.quantiser.entries).flatten(0, 1).amax(0)
        used = asked.float().mean()
        told = {"commitment": commitment.detach(), "used": used}
        return Coded(frames + (quantised - frames).detach(), commitment, told)

    def frames(self, waves: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Tokens ``(batch, frames, books)``, int64."""
        return self.quantiser.tokens(self.encoded(waves))

    def decode(self, frames: Tensor) -> Tensor:
        """Waveforms of tokens, or of frames where they are real numbers."""
        real = frames if frames.is_floating_point() else self.quantiser.vectors(frames)
        return super().decode(real)
