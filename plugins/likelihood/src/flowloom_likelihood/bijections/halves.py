"""The two halves of an image, by colours of a checkerboard or by channels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Split = Literal["checkerboard", "channels"]


def halves(x: Tensor, split: Split) -> tuple[Tensor, Tensor]:
    """Images ``(batch, C, H, W)`` as two of ``(batch, C, H, W/2)``, or of ``(batch, C/2, H, W)``."""
    if split == "channels":
        first, second = x.chunk(2, 1)
        return first, second
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return _crossed(even, odd)


def joined(first: Tensor, second: Tensor, split: Split) -> Tensor:
    """The image whose halves they are."""
    if split == "channels":
        return torch.cat([first, second], 1)
    return torch.stack(_crossed(first, second), -1).flatten(-2)


def _crossed(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """In every other row each in the place of the other, which undoes itself."""
    crossed = torch.arange(first.shape[-2], device=first.device)[:, None] % 2 == 1
    return torch.where(crossed, second, first), torch.where(crossed, first, second)
