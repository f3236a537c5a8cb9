"""Frames read between the places where they stand."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["between"]


def between(frames: Tensor, places: Tensor) -> Tensor:
    """Linear interpolation; before the first frame and after the last one, these go on.

    What is read at a place depends on that place alone, not on how many are asked for. Frame k of `Mel`
    stands in the middle of its window, at sample ``k hop``: sample j is at place ``j / hop``.

    Args:
        frames: ``(*batch, n)``.
        places: ``(count,)``, in frames.

    Returns:
        ``(*batch, count)``.
    """
    most = frames.shape[-1] - 1
    places = places.clamp(0, most)
    low = places.floor().long().clamp(max=max(0, most - 1))
    share = (places - low).to(frames.dtype)
    return torch.lerp(frames[..., low], frames[..., (low + 1).clamp(max=most)], share)
