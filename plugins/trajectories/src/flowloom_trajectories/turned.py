"""Points of the plane, turned row by row."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["turned"]


def turned(x: Tensor, turn: Tensor) -> Tensor:
    """``p @ turn`` of the first two numbers p along the last dimension; those after them stay.

    Args:
        x: ``(batch, ..., channels)``, of points or of one.
        turn: one matrix ``(2, 2)`` for every row, ``(batch, 2, 2)``, or one for all, ``(1, 2, 2)``.
    """
    flat = x.reshape(len(x), -1, x.shape[-1])  # a row may be one point
    return torch.cat([flat[..., :2] @ turn.to(x.dtype), flat[..., 2:]], -1).reshape(x.shape)
