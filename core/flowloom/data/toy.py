"""Planar densities that the field tests ideas on, drawn once from a seed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.data.base import Dataset, Examples
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec


class _Planar(Dataset):
    """``n`` points of a planar density; the test split is another draw of the same size."""

    classes = 1

    def __init__(self, n: int = 20_000, seed: int = 0) -> None:
        if n < 1:
            raise DataError(f"n must be at least 1, got {n}")
        self.n, self.seed = n, seed
        self._drawn: Examples | None = None

    @property
    def spec(self) -> Spec:
        """Points of shape ``(2,)`` with the index of their component as ``label``."""
        return Spec(shape=(2,), conditions={"label": Condition(self.classes)})

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points ``(n, 2)`` and component indices ``(n,)``."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.n

    def take(self, rows: Tensor) -> Examples:
        """The examples at ``rows``."""
        if self._drawn is None:
            x, label = self.draw(self.n, torch.Generator().manual_seed(self.seed))
            self._drawn = Examples(x, {"label": label})
        return self._drawn.take(rows)

    def split(self, name: str) -> Dataset:
        """``train`` (itself), or ``val`` and ``test``: independent draws."""
        offset = {"train": 0, "val": 1_000_003, "test": 2_000_003}
        if name not in offset:
            return super().split(name)
        return self if name == "train" else type(self)(self.n, self.seed + offset[name])


class EightGaussians(_Planar):
    """Eight Gaussians (std 0.1) on a circle of radius 2, as in the flow-matching literature."""

    classes = 8

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points and the index of their Gaussian."""
        label = torch.randint(8, (n,), generator=generator)
        angle = label * (math.pi / 4)
        centre = 2.0 * torch.stack([angle.cos(), angle.sin()], -1)
        return centre + 0.1 * torch.randn(n, 2, generator=generator), label


class Moons(_Planar):
    """Two interleaved half circles with Gaussian noise of std 0.1, centred on the origin."""

    classes = 2

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points and the index of their moon."""
        label = torch.randint(2, (n,), generator=generator)
        angle = torch.rand(n, generator=generator) * math.pi
        upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], -1)
        lower = torch.stack([0.5 - angle.cos(), 0.25 - angle.sin()], -1)
        moon = torch.where(label[:, None] == 0, upper, lower)
        return moon + 0.1 * torch.randn(n, 2, generator=generator), label


class Checkerboard(_Planar):
    """Uniform on the eight dark squares (side 1) of a 4 x 4 board on ``[-2, 2]^2``."""

    classes = 8

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points and the index of their square."""
        label = torch.randint(8, (n,), generator=generator)
        row = label // 2
        column = 2 * (label % 2) + row % 2
        corner = torch.stack([column, row], -1) - 2.0
        return corner + torch.rand(n, 2, generator=generator), label
