"""Equal pieces of the time from source to data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Segments"]


@dataclass(frozen=True)
class Segments:
    """``count`` equal pieces of [0, 1].

    Args:
        count: how many.

    Raises:
        ValueError: there is none.
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"segments must be at least 1, got {self.count}")

    def which(self, t: Tensor) -> Tensor:
        """The number of the piece that holds t, from 0: a boundary is the later one's, 1 the last one's."""
        # Boundaries such as 2/3 are rounded down in some precisions.
        near = max(1e-5, self.count * torch.finfo(t.dtype).eps)
        return (t * self.count + near).floor().clamp(0, self.count - 1).long()

    def end(self, t: Tensor) -> Tensor:
        """The end of the piece that holds t; 1 belongs to the last one."""
        return ((t * self.count).floor() + 1).clamp(max=self.count) / self.count
