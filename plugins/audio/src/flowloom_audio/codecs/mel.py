"""Log-mel frames of waveforms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowloom.libraries import torchaudio

__all__ = ["FLOOR", "Mel"]

FLOOR = 1e-3
"""Smallest magnitude of a band before the logarithm: -60 dB."""


class Mel(nn.Module):
    """Log magnitudes of mel bands, one frame every ``hop`` samples.

    Frame k is of the samples around ``k hop``; beyond both ends is silence, so that a row's frames do not
    depend on how far it is padded. Bands are those of Slaney, normalised by their width.

    Args:
        rate: samples a second.
        bands: of a frame.
        window: samples that a frame sees.
        hop: samples from frame to frame.
    """

    def __init__(self, rate: int = 8000, bands: int = 64, window: int = 512, hop: int = 128) -> None:
        super().__init__()
        if not 0 < hop <= window or bands < 1:
            raise ValueError(
                f"hop must lie in [1, window], got {hop} and {window}; bands at least 1, got {bands}"
            )
        if window % 2 or window < 4:
            raise ValueError(f"window must be even and at least 4, got {window}")
        self.rate, self.bands, self.window, self.hop = rate, bands, window, hop
        # Bands are laid by looking at numbers, which parts that are only planned (meta device) have none of.
        with torch.device("cpu"):
            self.spectrum = torchaudio().transforms.MelSpectrogram(
                rate,
                n_fft=window,
                hop_length=hop,
                n_mels=bands,
                power=1.0,
                pad_mode="constant",
                norm="slaney",
                mel_scale="slaney",
            )
        # Fixed by the numbers above, so that nothing of it belongs into a checkpoint.
        for module in self.spectrum.modules():
            module._non_persistent_buffers_set |= set(module._buffers)

    def forward(self, waves: Tensor) -> Tensor:
        """Waveforms ``(*batch, samples)``, a multiple of ``hop``, to ``(*batch, samples / hop, bands)``."""
        bands = self.spectrum(waves)[..., : waves.shape[-1] // self.hop]
        return bands.clamp_min(FLOOR).log().transpose(-1, -2)

    def frames(self, samples: int) -> int:
        """Frames that so many samples have."""
        return -(-samples // self.hop)
