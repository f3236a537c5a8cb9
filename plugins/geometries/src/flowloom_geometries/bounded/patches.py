"""Planar data whose mass lies against the walls of a square."""

from __future__ import annotations

import torch

from flowloom.data import Drawn, Examples
from flowloom.spec import Condition, Spec

_LOW = torch.tensor([[-1.0, -1.0], [0.75, 0.1], [-0.6, 0.75]])
_HIGH = torch.tensor([[-0.7, -0.3], [1.0, 0.6], [0.1, 1.0]])


class WalledPatches(Drawn):
    """Three uniform rectangles in ``[-1, 1]^2`` with their index as ``label``, each against a wall or two.

    Some 40 % of the mass is within 0.1 of a wall.

    Args:
        n: examples in every split.
        seed: of the draws.
        labelled: whether the index is told.
    """

    def __init__(self, n: int = 20_000, seed: int = 0, labelled: bool = True) -> None:
        super().__init__(n, seed)
        self.labelled = labelled

    @property
    def spec(self) -> Spec:
        """Points of shape ``(2,)``."""
        return Spec(shape=(2,), conditions={"label": Condition(3)} if self.labelled else {})

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Points, strictly inside."""
        label = torch.randint(3, (n,), generator=generator)
        unit = torch.rand(n, 2, generator=generator).clamp(1e-6, 1 - 1e-6)
        x = _LOW[label] + unit * (_HIGH - _LOW)[label]
        return Examples(x, {"label": label} if self.labelled else {})
