"""A variational autoencoder of waveforms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom.draw import Draw
from flowloom.spec import Spec
from flowloom_audio.coders.base import Coded, WaveCoder

__all__ = ["WaveAutoencoder"]


class WaveAutoencoder(WaveCoder):
    r"""Frames are draws of a Gaussian posterior, held near the standard one (Stable Audio 2402.04825).

    What the bottleneck costs is :math:`KL(N(\mu, \sigma^2)\,\|\,N(0, I))` in nats, averaged over entries.

    Args:
        spec: see `WaveCoder`, as the others.
        width: see there.
        strides: see there.
        latent: see there.
    """

    def __init__(
        self, spec: Spec, width: int = 16, strides: Sequence[int] = (8, 4, 4), latent: int = 32
    ) -> None:
        super().__init__(spec, width, strides, latent, 2 * latent)

    def posterior(self, waves: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of every frame, ``(batch, frames, latent)`` each."""
        mean, log_var = self.encoded(waves).chunk(2, -1)
        return mean, log_var.clamp(-30, 20)

    def learn(self, waves: Tensor, generator: torch.Generator | None) -> Coded:
        """A draw, and its divergence."""
        mean, log_var = self.posterior(waves)
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean()
        noise = Draw.like(mean, generator).normal(tuple(mean.shape))
        return Coded(mean + (log_var / 2).exp() * noise, kl, {"kl": kl.detach()})

    def frames(self, waves: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A draw of every frame, or the mean."""
        mean, log_var = self.posterior(waves)
        if generator is None:
            return mean
        return mean + (log_var / 2).exp() * Draw.like(mean, generator).normal(tuple(mean.shape))
