"""How far two recordings are apart by their spectra, row by row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["spectral_distance"]


def spectral_distance(
    x: Tensor, y: Tensor, windows: Sequence[int], lengths: Tensor, floor: float = 1e-5
) -> tuple[Tensor, Tensor]:
    """Spectral convergence and log-magnitude distance of every row, ``(n,)`` each, averaged over windows.

    Args:
        x: waveforms ``(n, samples)``, silent in padding.
        y: the truth; of silent rows the convergence is relative to the mean size of all.
        windows: in samples.
        lengths: real samples of every row; frames beyond them do not count.
        floor: smallest magnitude before the logarithm.
    """
    convergence, logarithm = [], []
    for window in windows:
        hop = window // 4
        a, b = (_magnitudes(v, window, hop) for v in (x, y))
        real = (torch.arange(a.shape[-1], device=a.device) <= (lengths // hop)[:, None])[:, None].to(a.dtype)
        a, b = a * real, b * real
        norm = b.square().sum((1, 2)).sqrt()
        # A silent truth has no size to be relative to: that of the others stands for it.
        usual = norm.mean()
        norm = torch.where(norm > 1e-4 * usual, norm, torch.where(usual > 0, usual, 1.0))
        convergence.append((a - b).square().sum((1, 2)).sqrt() / norm)
        gap = (a.clamp_min(floor).log() - b.clamp_min(floor).log()).abs() * real
        logarithm.append(gap.sum((1, 2)) / (real.sum((1, 2)) * a.shape[1]))
    return torch.stack(convergence).mean(0), torch.stack(logarithm).mean(0)


def _magnitudes(waves: Tensor, window: int, hop: int) -> Tensor:
    shape = torch.hann_window(window, dtype=waves.dtype, device=waves.device)
    return torch.stft(waves, window, hop, window=shape, return_complex=True, pad_mode="constant").abs()
