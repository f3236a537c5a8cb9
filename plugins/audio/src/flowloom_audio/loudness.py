"""How loud a sound is from sample to sample, by its log-mel frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowloom_audio.between import between

__all__ = ["energy", "loudness"]


def energy(frames: Tensor) -> Tensor:
    """Root of the summed squares of a frame's magnitudes: ``(*batch, frames, bands) -> (*batch, frames)``."""
    return frames.exp().square().sum(-1).sqrt()


def loudness(frames: Tensor, largest: Tensor, floor: float, shape: Sequence[int]) -> Tensor:
    r"""Share of the loudest frame that samples have, interpolated: ``(batch, 1..., samples)`` in [floor, 1].

    .. math:: \sigma_k = \max(\mathrm{floor}, e_k / \max e) \quad\text{(PriorGrad 2106.06406)}

    Args:
        frames: logarithms of magnitudes ``(batch, frames, bands)``.
        largest: energy of the loudest frame there is.
        floor: least loudness.
        shape: of the waveforms ``(batch, ..., samples)`` that the frames are of.
    """
    shares = (energy(frames) / largest.to(frames)).clamp(floor, 1.0)
    places = torch.arange(shape[-1], device=frames.device) * (frames.shape[1] / shape[-1])
    return between(shares, places).view(len(frames), *[1] * (len(shape) - 2), -1)
