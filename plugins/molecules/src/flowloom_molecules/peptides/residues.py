"""The twenty amino acids: names, torsions, and where each heavy atom stands beside those before it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

__all__ = [
    "LETTERS",
    "NAMES",
    "TORSIONS",
    "Placed",
    "chi_atoms",
    "folded",
    "has_torsion",
    "side_chain",
    "symmetric",
]

NAMES = (
    "ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE",
    "LEU", "LYS", "MET", "PHE", "PRO", "SER", "THR", "TRP", "TYR", "VAL",
)  # fmt: skip
"""Three letters of every type, in the order of their ids."""
LETTERS = "ARNDCQEGHILKMFPSTWYV"
"""One letter of every type."""
TORSIONS = 5
"""psi, and chi 1 to 4."""

# Heavy atoms behind CB: name, the atom it is bonded to and the two before that, bond length (angstrom), bond
# angle (degrees), and the torsion about the middle bond: chi k, chi k plus degrees, or degrees alone. Lengths
# and angles are near those of small-molecule crystals (Engh and Huber, Acta Cryst. A47, 392, 1991).
_TABLE = """
ARG CG N CA CB 1.52 114.0 x1; CD CA CB CG 1.52 111.3 x2; NE CB CG CD 1.46 112.0 x3; CZ CG CD NE 1.33 124.2 x4;
    NH1 CD NE CZ 1.33 120.0 0; NH2 CD NE CZ 1.33 119.7 180
ASN CG N CA CB 1.52 112.6 x1; OD1 CA CB CG 1.23 120.8 x2; ND2 CA CB CG 1.33 116.4 x2+180
ASP CG N CA CB 1.52 112.6 x1; OD1 CA CB CG 1.25 118.4 x2; OD2 CA CB CG 1.25 118.4 x2+180
CYS SG N CA CB 1.81 114.4 x1
GLN CG N CA CB 1.52 114.0 x1; CD CA CB CG 1.52 112.6 x2; OE1 CB CG CD 1.23 120.8 x3;
    NE2 CB CG CD 1.33 116.4 x3+180
GLU CG N CA CB 1.52 114.0 x1; CD CA CB CG 1.52 112.6 x2; OE1 CB CG CD 1.25 118.4 x3;
    OE2 CB CG CD 1.25 118.4 x3+180
HIS CG N CA CB 1.50 113.8 x1; ND1 CA CB CG 1.38 122.7 x2; CD2 CA CB CG 1.36 131.2 x2+180;
    CE1 CB CG ND1 1.32 109.3 180; NE2 CB CG CD2 1.37 107.2 180
ILE CG1 N CA CB 1.53 110.4 x1; CG2 N CA CB 1.53 110.5 x1-122.6; CD1 CA CB CG1 1.51 113.8 x2
LEU CG N CA CB 1.53 116.3 x1; CD1 CA CB CG 1.52 110.7 x2; CD2 CA CB CG 1.52 110.7 x2+122.9
LYS CG N CA CB 1.52 114.0 x1; CD CA CB CG 1.52 111.3 x2; CE CB CG CD 1.52 111.3 x3; NZ CG CD CE 1.49 111.9 x4
MET CG N CA CB 1.52 114.1 x1; SD CA CB CG 1.80 112.7 x2; CE CB CG SD 1.79 100.9 x3
PHE CG N CA CB 1.50 113.8 x1; CD1 CA CB CG 1.39 120.7 x2; CD2 CA CB CG 1.39 120.7 x2+180;
    CE1 CB CG CD1 1.39 120.7 180; CE2 CB CG CD2 1.39 120.7 180; CZ CG CD1 CE1 1.39 120.0 0
PRO CG N CA CB 1.49 104.5 x1; CD CA CB CG 1.50 106.1 x2
SER OG N CA CB 1.42 111.1 x1
THR OG1 N CA CB 1.43 109.6 x1; CG2 N CA CB 1.53 111.1 x1-120.0
TRP CG N CA CB 1.50 113.6 x1; CD1 CA CB CG 1.36 126.9 x2; CD2 CA CB CG 1.43 126.8 x2+180;
    NE1 CB CG CD1 1.38 110.2 180; CE2 CB CG CD2 1.41 107.2 180; CE3 CB CG CD2 1.40 133.9 0;
    CZ2 CG CD2 CE2 1.39 122.4 180; CZ3 CG CD2 CE3 1.39 118.6 180; CH2 CD2 CE2 CZ2 1.37 117.5 0
TYR CG N CA CB 1.51 113.9 x1; CD1 CA CB CG 1.39 120.8 x2; CD2 CA CB CG 1.39 120.8 x2+180;
    CE1 CB CG CD1 1.38 121.2 180; CE2 CB CG CD2 1.38 121.2 180; CZ CG CD1 CE1 1.38 119.6 0;
    OH CD1 CE1 CZ 1.38 119.9 180
VAL CG1 N CA CB 1.53 110.5 x1; CG2 N CA CB 1.53 110.5 x1+122.6
"""


@dataclass(frozen=True)
class Placed:
    """One heavy atom beside three that stand already.

    Args:
        name: as the PDB has it.
        after: three atoms, the last of which it is bonded to.
        length: of the bond, angstrom.
        angle: at that atom, radians.
        chi: which chi turns it, 1 to 4; 0 where it is rigid.
        offset: of the torsion, or added to the chi, radians.
    """

    name: str
    after: tuple[str, str, str]
    length: float
    angle: float
    chi: int
    offset: float


def _read(line: str) -> Placed:
    name, a, b, c, length, angle, turn = line.split()
    chi, offset = 0, turn
    if turn.startswith("x"):
        chi, offset = int(turn[1]), turn[2:] or "0"
    return Placed(
        name, (a, b, c), float(length), math.radians(float(angle)), chi, math.radians(float(offset))
    )


@cache
def side_chain(kind: int) -> tuple[Placed, ...]:
    """Heavy atoms behind CA of a type by its id, each after those it needs; glycine has none."""
    name = NAMES[kind]
    if name == "GLY":
        return ()
    beta = Placed("CB", ("C", "N", "CA"), 1.53, math.radians(110.5), 0, math.radians(-122.6))
    return (beta, *_rows().get(name, ()))


@cache
def _rows() -> dict[str, tuple[Placed, ...]]:
    found: dict[str, str] = {}
    name = ""
    for line in _TABLE.strip().splitlines():
        if not line.startswith(" "):
            name, line = line[:3], line[3:]
        found[name] = found.get(name, "") + line
    return {name: tuple(_read(one) for one in text.split(";") if one.strip()) for name, text in found.items()}


def chi_atoms(kind: int) -> tuple[tuple[str, str, str, str], ...]:
    """The four atoms of every chi of a type, in order."""
    first = {p.chi: (*p.after, p.name) for p in reversed(side_chain(kind)) if p.chi and p.offset == 0}
    return tuple(first[k] for k in sorted(first))


@cache
def _has() -> Tensor:
    counts = [1 + len(chi_atoms(kind)) for kind in range(len(NAMES))]
    return torch.arange(TORSIONS) < torch.tensor(counts)[:, None]


def has_torsion(types: Tensor) -> Tensor:
    """Which of psi and chi 1 to 4 a residue has: boolean ``(..., 5)`` of type ids ``(...,)``."""
    # Of one id alone, indexing would hand out a part of the table itself.
    return _has().to(types.device)[types].clone()


# Halves that look alike after half a turn, with the middle of the half turn that is kept: a ring is seen at a
# right angle most often, a carboxylate flat.
_ALIKE = {("ASP", 2): 0.0, ("GLU", 3): 0.0, ("PHE", 2): 90.0, ("TYR", 2): 90.0}


@cache
def _symmetric() -> tuple[Tensor, Tensor]:
    alike = torch.zeros(len(NAMES), TORSIONS, dtype=torch.bool)
    middle = torch.zeros(len(NAMES), TORSIONS)
    for (name, chi), degrees in _ALIKE.items():
        alike[NAMES.index(name), chi] = True
        middle[NAMES.index(name), chi] = math.radians(degrees)
    return alike, middle


def symmetric(types: Tensor) -> Tensor:
    """Which torsions look alike after half a turn: boolean ``(..., 5)`` of type ids ``(...,)``."""
    return _symmetric()[0].to(types.device)[types].clone()


def folded(angles: Tensor, types: Tensor) -> Tensor:
    """Torsions ``(..., 5)`` in ``[0, 2 pi)``: of those alike after half a turn one, absent ones 0."""
    alike, middle = (table.to(angles.device)[types] for table in _symmetric())
    half = (angles - middle + math.pi / 2).remainder(math.pi) + middle - math.pi / 2
    found = torch.where(alike, half, angles).remainder(2 * math.pi)
    return torch.where(has_torsion(types), found, 0.0)
