"""Planar modes of which nothing is told."""

from __future__ import annotations

import torch

from flowloom.data import EightGaussians, Examples
from flowloom.spec import Spec


class EightModes(EightGaussians):
    """Core's eight Gaussians (std 0.1 on a circle of radius 2) without their labels.

    Args:
        n: examples in every split.
        seed: of the draws.
    """

    @property
    def spec(self) -> Spec:
        """Points of shape ``(2,)``, no condition."""
        return Spec(shape=(2,))

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Points."""
        return Examples(self.draw(n, generator)[0])
