"""Perovskites drawn from a seed: cells for a first look and for checks, where no file is needed."""

from __future__ import annotations

import torch

from flowloom.data import Drawn, Examples
from flowloom.spec import Spec
from flowloom.state import State
from flowloom_molecules.data.cells import spec_of_cells
from flowloom_molecules.elements import NUMBERS

_PLACES = ((0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))
_A = ("Ca", "Sr", "Ba", "Na", "K", "La")
_B = ("Ti", "Zr", "Nb", "Fe", "Mn", "Al")
_X = ("O", "F", "S", "Cl")
_RADII = {
    "Ca": 1.34, "Sr": 1.44, "Ba": 1.61, "Na": 1.39, "K": 1.64, "La": 1.36, "Ti": 0.61, "Zr": 0.72, "Nb": 0.64,
    "Fe": 0.65, "Mn": 0.58, "Al": 0.54, "O": 1.40, "F": 1.33, "S": 1.84, "Cl": 1.81,
}  # fmt: skip


class Perovskites(Drawn):
    """Cubic cells ABX3 at a random place of the torus, each as long as its ionic radii ask, atoms displaced.

    Cells are ``sqrt(2) (r_A + r_X) / 2 + (r_B + r_X)`` long (Shannon's radii; half from each rule of touching
    spheres); fractional coordinates are jittered (std 0.01). In one cell of four, an X is missing. Parts and
    condition as of `flowloom_molecules.data.crystals.Crystals`.

    Args:
        n: cells of every split.
        seed: of the draws.
    """

    def __init__(self, n: int = 512, seed: int = 0) -> None:
        super().__init__(n, seed)

    @property
    def spec(self) -> Spec:
        """Five atoms a cell."""
        return spec_of_cells(5)

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Cells, with zeros where there is no atom."""
        chosen = [torch.randint(len(kinds), (n,), generator=generator) for kinds in (_A, _B, _X)]
        radii = [
            torch.tensor([_RADII[s] for s in kinds])[i] for kinds, i in zip((_A, _B, _X), chosen, strict=True)
        ]
        ids = [
            torch.tensor([NUMBERS[s] - 1 for s in kinds])[i]
            for kinds, i in zip((_A, _B, _X), chosen, strict=True)
        ]
        a, b, x = radii
        length = 2**0.5 * (a + x) / 2 + (b + x)
        real = torch.ones(n, 5, dtype=torch.bool)
        real[:, 4] = torch.rand(n, generator=generator) >= 0.25
        shift = torch.rand(n, 1, 3, generator=generator)
        frac = torch.tensor(_PLACES) + shift + 0.01 * torch.randn(n, 5, 3, generator=generator)
        types = torch.stack([ids[0], ids[1], ids[2], ids[2], ids[2]], 1)
        state: State = {
            "frac": (frac % 1.0) * real[..., None],
            "lengths": length[:, None].expand(n, 3).clone(),
            "angles": torch.full((n, 3), 90.0),
            "types": types * real,
        }
        return Examples(state, {"atoms": real})
