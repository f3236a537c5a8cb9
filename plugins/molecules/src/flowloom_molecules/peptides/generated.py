"""Peptides drawn from a law: for tests, for a first look, and where the truth has to be known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowloom.data import Drawn, Examples
from flowloom.errors import DataError
from flowloom.spec import Spec
from flowloom_molecules.peptides.atoms import beta_direction, frames, grown
from flowloom_molecules.peptides.form import examples, peptide_spec
from flowloom_molecules.peptides.residues import LETTERS, TORSIONS, folded

__all__ = ["PARTNERS", "REACH", "GeneratedPeptides"]

# phi and psi in degrees, and the types that a region likes (eight times as much as others): helix, strand,
# polyproline.
_REGIONS = (((-63, -43), "AELMQKRHW"), ((-120, 130), "VIYFTCW"), ((-70, 147), "PGNDS"))
_LIKED, _STAY, _SPREAD = 8.0, 0.85, 9.0
_FIRST = (0.95, 0.1, 0.7)
"""Share of a type's first rotamer in every region."""
# Two rotamers a type (degrees), near common ones of the penultimate rotamer library (Lovell et al. 2000).
_ROTAMERS = {
    "R": ((-65, 180, 180, 180), (180, 180, 65, 85)), "N": ((-65, -30), (180, 30)),
    "D": ((-70, -15), (180, 0)),
    "C": ((-65,), (180,)), "Q": ((-65, 180, 20), (180, 180, -20)), "E": ((-65, 180, 10), (180, 180, -10)),
    "H": ((-65, -70), (180, 80)), "I": ((-65, 170), (-57, -60)), "L": ((-65, 175), (180, 65)),
    "K": ((-65, 180, 180, 180), (180, 180, 180, 65)), "M": ((-65, 180, 75), (180, 65, 75)),
    "F": ((-65, 95), (180, 80)), "P": ((27, -37), (-27, 37)), "S": ((-65,), (62,)), "T": ((-65,), (62,)),
    "W": ((-65, 95), (180, -105)), "Y": ((-65, 100), (180, 75)), "V": ((175,), (-60,)),
}  # fmt: skip
_KINDS = ("AVLIMFWYCPG", "KRH", "DE", "STNQ")
_FACES = (0, 2, 1, 3)
"""Which of the four kinds a pocket shows to each: greasy to greasy, negative to positive, polar to polar."""
REACH = 7.5
"""How far from a CA, along its residue's outward side, a residue of the pocket stands, angstrom."""


def _partners() -> Tensor:
    kind = torch.tensor([next(k for k, some in enumerate(_KINDS) if one in some) for one in LETTERS])
    return kind[None] == torch.tensor(_FACES)[kind][:, None]


PARTNERS = _partners()
"""Whether a type of the pocket (second index) goes with a type of the peptide (first): ``(20, 20)``."""


class GeneratedPeptides(Drawn):
    r"""Peptides with ideal bonds whose types, torsions and pockets know of each other.

    A chain of regions (helix, strand, polyproline; the next residue stays with probability 0.85) draws
    :math:`\phi, \psi` about the region's middle (9 degrees), a type that the region likes, and one of two
    rotamers of that type (9 degrees), the first of them mostly in helices. Backbones are grown with flat
    trans bonds. Of a pocket, each residue stands `REACH` in front of a residue of the peptide (0.4 angstrom),
    turned at random, with a type that goes with it.

    Args:
        n: peptides of every split.
        seed: of the draws.
        shortest: residues of the shortest.
        longest: residues of the longest.
        pocket: residues of the pocket; none where 0.

    Raises:
        DataError: there are no such peptides.
    """

    def __init__(
        self, n: int = 4000, seed: int = 0, shortest: int = 5, longest: int = 8, pocket: int = 4
    ) -> None:
        super().__init__(n, seed)
        if not 2 <= shortest <= longest or not 0 <= pocket <= shortest:
            raise DataError(
                "peptides have 2 residues or more, the longest not less than the shortest, and a pocket "
                f"of at most as many as it; got shortest {shortest}, longest {longest}, pocket {pocket}"
            )
        self.shortest, self.longest, self.pocket = shortest, longest, pocket

    @property
    def spec(self) -> Spec:
        """See `form.peptide_spec`."""
        return peptide_spec(self.longest, self.pocket)

    def draw_examples(self, n: int, generator: torch.Generator) -> Examples:
        """Peptides with their pockets."""
        length = torch.randint(self.shortest, self.longest + 1, (n,), generator=generator)
        real = torch.arange(self.longest) < length[:, None]
        region = _regions(n, self.longest, generator)
        middle = torch.deg2rad(torch.tensor([r[0] for r in _REGIONS], dtype=torch.float32))[region]
        phi, psi = (middle + _noise(middle.shape, generator)).unbind(-1)
        types = _drawn(_likes()[region], generator)
        first = torch.rand(region.shape, generator=generator) < torch.tensor(_FIRST)[region]
        chi = _rotamers()[types, (~first).long()]
        torsions = torch.cat([psi[..., None], chi + _noise(chi.shape, generator)], -1)
        atoms = grown(phi, psi)
        nitrogen, ca, c = atoms.unbind(-2)
        chain = {"pos": ca, "rot": frames(nitrogen, ca, c), "angles": folded(torsions, types), "types": types}
        pocket = self._pocket(chain, real, generator) if self.pocket else None
        return examples(chain, real, pocket)

    def _pocket(
        self, chain: dict[str, Tensor], real: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        score = torch.rand(real.shape, generator=generator).masked_fill(~real, -1)
        faced = score.topk(self.pocket, 1).indices
        rows = torch.arange(len(real))[:, None]
        ahead = chain["pos"] + REACH * beta_direction(chain["rot"])
        pos = ahead[rows, faced] + 0.4 * torch.randn((*faced.shape, 3), generator=generator)
        types = _drawn(PARTNERS[chain["types"][rows, faced]].float(), generator)
        chi = _rotamers()[types, torch.randint(2, types.shape, generator=generator)]
        psi = torch.rand((*types.shape, 1), generator=generator) * 2 * math.pi
        torsions = torch.cat([psi, chi + _noise(chi.shape, generator)], -1)
        axes = torch.randn((3, *types.shape, 3), generator=generator)
        return {
            "pos": pos,
            "rot": frames(axes[0], axes[1], axes[2]),
            "angles": folded(torsions, types),
            "types": types,
        }


def _regions(n: int, length: int, generator: torch.Generator) -> Tensor:
    fresh = torch.randint(len(_REGIONS), (n, length), generator=generator)
    stays = torch.rand((n, length), generator=generator) < _STAY
    for i in range(1, length):
        fresh[:, i] = torch.where(stays[:, i], fresh[:, i - 1], fresh[:, i])
    return fresh


def _likes() -> Tensor:
    return torch.tensor([[_LIKED if one in liked else 1.0 for one in LETTERS] for _, liked in _REGIONS])


def _rotamers() -> Tensor:
    """chi 1 to 4 of both rotamers of every type, radians: ``(20, 2, 4)``."""
    table = torch.zeros(len(LETTERS), 2, TORSIONS - 1)
    for letter, both in _ROTAMERS.items():
        for i, one in enumerate(both):
            table[LETTERS.index(letter), i, : len(one)] = torch.deg2rad(
                torch.tensor(one, dtype=torch.float32)
            )
    return table


def _drawn(weights: Tensor, generator: torch.Generator) -> Tensor:
    flat = torch.multinomial(weights.flatten(0, -2), 1, generator=generator)
    return flat.reshape(weights.shape[:-1])


def _noise(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return math.radians(_SPREAD) * torch.randn(shape, generator=generator)
