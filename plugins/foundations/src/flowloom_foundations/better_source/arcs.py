"""The planar data of 2512.18184: three arcs, inside the circle that noise comes from."""

from __future__ import annotations

import math

import torch

from flowloom.data import Drawn, Examples
from flowloom.spec import Spec
from flowloom_foundations.better_source.chi_sphere import chi_radii


class ChiArcs(Drawn):
    """Three arcs of 20 degrees with weights 0.05, 0.3 and 0.65, at radii of a chi law of 625 degrees.

    The unit is the root mean square radius of 3,072 degrees, so the arcs are at 0.45. Few examples on
    purpose: a sample has failed where it is far from all of them.

    Args:
        n: examples in every split.
        seed: of the draws.
    """

    def __init__(self, n: int = 1024, seed: int = 0) -> None:
        super().__init__(n, seed)

    @property
    def spec(self) -> Spec:
        """Points of shape ``(2,)``."""
        return Spec(shape=(2,))

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Points."""
        weights = torch.tensor([0.05, 0.3, 0.65])
        arc = torch.multinomial(weights, n, replacement=True, generator=generator)
        middle = torch.tensor([60.0, 100.0, 140.0])[arc]
        angle = (middle + 20 * torch.rand(n, generator=generator) - 10) * (math.pi / 180)
        radius = chi_radii(torch.rand(n, generator=generator, dtype=torch.float64), 625) / math.sqrt(3072)
        return Examples(radius.float()[:, None] * torch.stack([angle.cos(), angle.sin()], 1))
