"""A population that branches: snapshots in time, and the couplings that made them."""

from __future__ import annotations

import torch

from flowloom.data import Drawn, Examples
from flowloom.errors import DataError
from flowloom.spec import Spec

__all__ = ["Branching"]


class Branching(Drawn):
    r"""Cells of one kind become two: each walks from the stem to the left or the right branch.

    A cell starts at :math:`(0, 0)` with deviation 0.15 and moves to :math:`(\pm 1.2\,s^2, 2 s)` at
    pseudo-time s, keeping its own offset, which leans it to its branch: offsets to the left go left with
    probability 0.9. So the way of every cell is known at all ``times``, and with it the true coupling between
    snapshots.

    States are whole ways ``(times, 2)``; a snapshot is ``x[:, k]``.

    Args:
        n: cells in every split.
        seed: of the draws.
        times: snapshots, evenly spaced from 0 to 1.
        noise: deviation of independent noise in every snapshot.
    """

    def __init__(self, n: int = 5000, seed: int = 0, times: int = 5, noise: float = 0.03) -> None:
        if times < 2 or noise < 0:
            raise DataError(f"times is at least 2 and noise not negative, got {times}, {noise}")
        super().__init__(n, seed)
        self.times, self.noise = times, noise

    @property
    def spec(self) -> Spec:
        """Ways ``(times, 2)``."""
        return Spec((self.times, 2))

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Cells on their way."""
        s = torch.linspace(0, 1, self.times)
        offset = 0.15 * torch.randn(n, 1, 2, generator=generator)
        leans = (offset[:, 0, 0] > 0).long()
        branch = torch.where(torch.rand(n, generator=generator) < 0.9, leans, 1 - leans)
        side = (2 * branch - 1)[:, None].float()
        way = torch.stack([1.2 * side * s.square(), (2 * s).expand(n, -1)], -1)
        noise = self.noise * torch.randn(way.shape, generator=generator)
        return Examples(way + offset + noise)
