"""Rotary positions of patches on a plane."""

from __future__ import annotations

import torch
from torch import Tensor

from flowloom.models.attention import rotary

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
    rows, columns = grid

    def over(down: Tensor, across: Tensor) -> Tensor:
        every = [down[:, None].expand(-1, columns, -1), across[None].expand(rows, -1, -1)]
        return torch.cat(every, -1).flatten(0, 1)

    (cos_down, sin_down), (cos_across, sin_across) = (rotary(n, size, like) for n in grid)
    return over(cos_down, cos_across), over(sin_down, sin_across)
