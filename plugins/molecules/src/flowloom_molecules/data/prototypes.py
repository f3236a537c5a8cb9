"""Layered binary crystals of three invented prototypes, drawn from a seed: a law for demonstrations."""

from __future__ import annotations

import torch

from flowloom.data import Drawn, Examples
from flowloom.spec import Spec
from flowloom.state import State
from flowloom_molecules.data.cells import spec_of_cells
from flowloom_molecules.elements import NUMBERS

_PLACES = (
    ((0.00, 0.00), (0.45, 0.50), (0.72, 0.20), (0.18, 0.72)),
    ((0.00, 0.00), (0.30, 0.42), (0.62, 0.72), (0.68, 0.25)),
    ((0.00, 0.00), (0.55, 0.12), (0.25, 0.45), (0.78, 0.60)),
)
"""In the layer, of two atoms of either element, by prototype: invented, so that no two axes are alike."""
_SHAPES = ((1.2, 1.3, 0.9), (1.2, 1.4, 0.8), (1.35, 1.2, 0.9))
_A = (("Na", "K", "Rb"), ("Mg", "Ca", "Sr"), ("Zn", "Cd", "Cu"))
"""What stands at the first two places tells the prototype."""
_B = ("F", "Cl", "Br", "O", "S", "Se")
_RADII = {
    "Na": 1.02, "K": 1.38, "Rb": 1.52, "Mg": 0.72, "Ca": 1.00, "Sr": 1.18, "Zn": 0.74, "Cd": 0.95, "Cu": 0.77,
    "F": 1.33, "Cl": 1.81, "Br": 1.96, "O": 1.40, "S": 1.84, "Se": 1.98,
}  # fmt: skip


class Prototypes(Drawn):
    """Cells AABB of flat layers, of three invented prototypes at a random place of the torus.

    Crystals of two dimensions in cells of three: the atoms of a cell stand at one height, and the next layer
    a length of the cell above. The first element tells the prototype, equal atoms come in any order. Cells
    are orthogonal and as long as ``1.5 (r_A + r_B)`` times the prototype's shape (Shannon's radii), each
    length but for 2 % (std); fractional coordinates are jittered (std 0.01). Parts and condition as of
    `flowloom_molecules.data.crystals.Crystals`.

    Args:
        n: cells of every split.
        seed: of the draws.
    """

    def __init__(self, n: int = 512, seed: int = 0) -> None:
        super().__init__(n, seed)

    @property
    def spec(self) -> Spec:
        """Four atoms a cell."""
        return spec_of_cells(4)

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Cells; all atoms are real."""
        which = torch.randint(len(_A), (n,), generator=generator)
        a = torch.randint(len(_A[0]), (n,), generator=generator)
        b = torch.randint(len(_B), (n,), generator=generator)
        number_a = torch.tensor([[NUMBERS[s] - 1 for s in kinds] for kinds in _A])[which, a]
        number_b = torch.tensor([NUMBERS[s] - 1 for s in _B])[b]
        radius_a = torch.tensor([[_RADII[s] for s in kinds] for kinds in _A])[which, a]
        size = 1.5 * (radius_a + torch.tensor([_RADII[s] for s in _B])[b])
        lengths = size[:, None] * torch.tensor(_SHAPES)[which]
        lengths = lengths * (0.02 * torch.randn(n, 3, generator=generator)).exp()
        layers = torch.tensor(_PLACES)
        places = torch.cat([layers, torch.zeros_like(layers[..., :1])], -1)[which]
        swap = torch.rand(n, 2, generator=generator) < 0.5
        order = torch.arange(4).expand(n, 4).clone()
        order[:, :2] = torch.where(swap[:, :1], order[:, :2].flip(1), order[:, :2])
        order[:, 2:] = torch.where(swap[:, 1:], order[:, 2:].flip(1), order[:, 2:])
        places = places.gather(1, order[..., None].expand(n, 4, 3))
        shift = torch.rand(n, 1, 3, generator=generator)
        state: State = {
            "frac": (places + shift + 0.01 * torch.randn(n, 4, 3, generator=generator)) % 1.0,
            "lengths": lengths,
            "angles": torch.full((n, 3), 90.0),
            "types": torch.stack([number_a, number_a, number_b, number_b], 1),
        }
        return Examples(state, {"atoms": torch.ones(n, 4, dtype=torch.bool)})
