"""Two laws in the plane whose product has four corners of unlike weight."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.data import Dataset, Drawn, Examples
from flowloom.spec import Condition, Spec

__all__ = ["CrossedBars"]

_PLACE, _THIN, _LONG, _BROAD = 1.5, 0.25, 1.2, 2.0
_SHARE = 0.82
"""Of the heavier bar, in either law; the corners of the product then have 0.67, 0.15, 0.15 and 0.03."""


class CrossedBars(Drawn):
    r"""Two upright bars, two level bars and a broad Gaussian to compose; held-out rows are their product.

    With A and B mixtures of two long Gaussians each, of weights 0.82 and 0.18, and R the broad one, rows of
    the
    splits ``val`` and ``test`` are of the law :math:`A(x)\,B(x) / R(x)`, drawn by rejection. Their labels say
    nothing: a composition asks for classes of its own, and the floor of a table, training rows of the same
    label, is none here.

    Args:
        n: examples in every split.
        seed: of the draws.
        alone: instead, training rows of the product itself, without those of one corner: what a model that
            composes nothing could be given.
    """

    names = ("upright", "level", "broad")

    def __init__(self, n: int = 20_000, seed: int = 0, alone: bool = False) -> None:
        super().__init__(n, seed)
        self.alone, self.held = alone, False

    @property
    def spec(self) -> Spec:
        """Points of the plane with their class."""
        return Spec((2,), conditions={"label": Condition(3, names=self.names)})

    def split(self, name: str) -> Dataset:
        """``train``, or further draws of the product."""
        other = super().split(name)
        if other is not self:
            other.held = True  # type: ignore[attr-defined]
        return other

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Points and classes."""
        label = torch.randint(3, (n,), generator=generator)
        if self.held or self.alone:
            return Examples(self._product(n, generator), {"label": label})
        noise = torch.randn(n, 2, generator=generator)
        side = _PLACE * (1 - 2 * (torch.rand(n, generator=generator) >= _SHARE).float())
        bar = torch.stack([side + _THIN * noise[:, 0], _LONG * noise[:, 1]], 1)
        x = torch.where((label == 1)[:, None], bar.flip(1), bar)
        return Examples(torch.where((label == 2)[:, None], _BROAD * noise, x), {"label": label})

    def log_density(self, x: Tensor, label: int) -> Tensor:
        """Log density of one of the three components at points ``(n, 2)``."""
        if label == 2:
            return _normal(x[:, 0], _BROAD) + _normal(x[:, 1], _BROAD)
        thin, long = (x[:, 0], x[:, 1]) if label == 0 else (x[:, 1], x[:, 0])
        sides = torch.stack(
            [
                _normal(thin - _PLACE, _THIN) + math.log(_SHARE),
                _normal(thin + _PLACE, _THIN) + math.log(1 - _SHARE),
            ]
        )
        return sides.logsumexp(0) + _normal(long, _LONG)

    def _product(self, n: int, generator: torch.Generator) -> Tensor:
        """By rejection from Gaussians at the corners, which bound the product up to a factor."""
        found, count = [], 0
        while count < n:
            sides = torch.randint(2, (4 * n, 2), generator=generator) * 2 - 1
            x = _PLACE * sides + 1.5 * _THIN * torch.randn(4 * n, 2, generator=generator)
            made = torch.stack(
                [
                    _normal(x[:, 0] - a * _PLACE, 1.5 * _THIN) + _normal(x[:, 1] - b * _PLACE, 1.5 * _THIN)
                    for a in (-1, 1)
                    for b in (-1, 1)
                ]
            ).logsumexp(0)
            wanted = self.log_density(x, 0) + self.log_density(x, 1) - self.log_density(x, 2)
            off = wanted - made
            kept = x[torch.rand(4 * n, generator=generator).log() < off - off.max()]
            if self.alone and not self.held:
                kept = kept[(kept[:, 0] > 0) | (kept[:, 1] < 0)]
            found.append(kept)
            count += len(kept)
        return torch.cat(found)[:n]


def _normal(x: Tensor, std: float) -> Tensor:
    return -0.5 * (x / std).square() - math.log(std * math.sqrt(2 * math.pi))
