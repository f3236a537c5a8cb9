"""Rotary positions of patches on a plane."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["plane_angles"]


def plane_angles(grid: tuple[int, int], size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines ``(rows * columns, size)`` of the angles of every patch, row by row.

    Half of the pairs turn with the row and half with the column (2104.09864 applied to either axis); see
    `flowloom.models.attention.turn`.

    Args:
        grid: rows and columns.
        size: pairs of features of a head, even.
        like: whose device and precision are meant.
    """
    frequency = 10_000.0 ** -(torch.arange(0, size, 2, device=like.device, dtype=torch.float32) / size)
    rows, columns = (torch.arange(n, device=like.device)[:, None] * frequency for n in grid)
    down, across = rows[:, None].expand(-1, len(columns), -1), columns[None].expand(len(rows), -1, -1)
    angle = torch.cat([down, across], -1).flatten(0, 1)
    return angle.cos().to(like.dtype), angle.sin().to(like.dtype)
