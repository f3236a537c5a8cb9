"""Small laws that the field tests ideas on, drawn once from a seed: planar densities, toy molecules."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from flowloom.data.base import Examples
from flowloom.data.drawn import Drawn
from flowloom.spec import Condition, Spec


class _Planar(Drawn):
    """Points of a planar density.

    Args:
        labelled: whether the index of their component comes with them as ``label``.
    """

    classes = 1

    def __init__(self, n: int = 20_000, seed: int = 0, labelled: bool = True) -> None:
        super().__init__(n, seed)
        self.labelled = labelled

    @property
    def spec(self) -> Spec:
        """Points of shape ``(2,)`` with the index of their component as ``label``."""
        return Spec(shape=(2,), conditions={"label": Condition(self.classes)} if self.labelled else {})

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points ``(n, 2)`` and component indices ``(n,)``."""

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Points and their labels."""
        x, label = self.draw(n, generator)
        return Examples(x, {"label": label} if self.labelled else {})


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


class Molecules(Drawn):
    """Zigzag chains of 2 to 6 atoms in the plane: positions and types side by side, padded to 6 atoms.

    Bonds have length 1 and turn by 60 degrees to the left and right in turn; the chain is centred, turned by
    a random angle and jittered (std 0.05). Ends are hydrogen (0), inner atoms carbon (1), but the second
    atom of a chain of more than three is oxygen (2), which tells the two ends apart.
    """

    atoms = 6

    @property
    def spec(self) -> Spec:
        """``pos`` of shape ``(6, 2)`` and ``types`` of shape ``(6,)``; ``mask`` tells atoms from padding."""
        return Spec(
            parts={
                "pos": Spec((self.atoms, 2)),
                "types": Spec((self.atoms,), vocab=3, tokens=("H", "C", "O")),
            },
            conditions={"mask": Condition(shape=(self.atoms,), role="real", of="pos, types")},
        )

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Chains, with zeros where there is no atom."""
        size = torch.randint(2, self.atoms + 1, (n, 1), generator=generator)
        index = torch.arange(self.atoms)
        mask = index < size
        angle = torch.rand(n, 1, generator=generator) * (2 * math.pi)
        bond = angle + (index % 2) * (math.pi / 3)
        steps = torch.stack([bond.cos(), bond.sin()], -1) * mask[..., None]
        pos = steps.cumsum(1) - steps
        pos = pos - (pos * mask[..., None]).sum(1, keepdim=True) / size[..., None]
        pos = pos + 0.05 * torch.randn(n, self.atoms, 2, generator=generator)
        inner = (index > 0) & (index < size - 1)
        oxygen = (index == 1) & (size > 3)
        types = (inner.long() + (inner & oxygen).long()) * mask
        return Examples({"pos": pos * mask[..., None], "types": types}, {"mask": mask})


def endless_gaussians(start: int, chunk: int = 64) -> Iterator[Examples]:
    """The eight Gaussians as a stream without an end, for ``feed: {use: stream}``.

    Row k is the same whatever row the stream is read from.

    Args:
        start: first row.
        chunk: rows that are drawn together.
    """
    law = EightGaussians(1)
    while True:
        block, offset = divmod(start, chunk)
        examples = law.draw_examples(chunk, torch.Generator().manual_seed(block))
        yield examples.take(torch.arange(offset, chunk))
        start += chunk - offset
