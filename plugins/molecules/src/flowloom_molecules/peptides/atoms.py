"""Frames and torsions to atoms, and back; ideal lengths and angles between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flowloom_molecules.peptides.residues import TORSIONS, chi_atoms, side_chain

__all__ = [
    "PEPTIDE_BOND",
    "backbone",
    "beta_direction",
    "dihedral",
    "frames",
    "grown",
    "heavy_atoms",
    "phi_psi",
    "placed",
    "torsions_of",
]

PEPTIDE_BOND = 1.329
"""Length of the bond from C to the next N, angstrom (Engh and Huber 1991)."""
_N_CA, _CA_C, _C_O = 1.458, 1.525, 1.231
_N_CA_C, _CA_C_N, _C_N_CA, _CA_C_O = (math.radians(d) for d in (111.0, 117.2, 121.7, 120.1))


def frames(n: Tensor, ca: Tensor, c: Tensor) -> Tensor:
    """Rotations ``(..., 3, 3)`` whose columns are the axes of residues: to C, to N within the plane, and up.

    Gram-Schmidt of AlphaFold 2 (supplement, algorithm 21); the origin is CA.

    Args:
        n: atoms ``(..., 3)``.
        ca: atoms.
        c: atoms.
    """
    first = torch.nn.functional.normalize(c - ca, dim=-1)
    way = n - ca
    second = torch.nn.functional.normalize(way - (way * first).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def backbone(pos: Tensor, rot: Tensor) -> Tensor:
    """N, CA and C of residues ``(..., 3, 3)``, at ideal places in their frames.

    Args:
        pos: CA ``(..., 3)``, angstrom.
        rot: frames ``(..., 3, 3)``.
    """
    local = pos.new_tensor(
        [[_N_CA * math.cos(_N_CA_C), _N_CA * math.sin(_N_CA_C), 0], [0, 0, 0], [_CA_C, 0, 0]]
    )
    return pos[..., None, :] + local @ rot.mT


def beta_direction(rot: Tensor) -> Tensor:
    """Unit vectors ``(..., 3)`` from CA to where CB stands, or would: a residue's outward side."""
    n, ca, c = backbone(rot.new_zeros(rot.shape[:-1]), rot).unbind(-2)
    beta = side_chain(0)[0]
    return placed(c, n, ca, beta.length, beta.angle, rot.new_tensor(beta.offset)) / beta.length


def placed(a: Tensor, b: Tensor, c: Tensor, length: float, angle: float, torsion: Tensor | float) -> Tensor:
    """The atom d bonded to c with the angle b-c-d and the torsion a-b-c-d (NeRF, Parsons et al. 2005).

    Args:
        a: ``(..., 3)``.
        b: ``(..., 3)``.
        c: ``(..., 3)``.
        length: of the bond.
        angle: at c, radians.
        torsion: ``(...,)``, radians.
    """
    turn = torch.as_tensor(torsion, dtype=c.dtype, device=c.device).expand(c.shape[:-1])[..., None]
    along = torch.nn.functional.normalize(c - b, dim=-1)
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, along), dim=-1)
    side = torch.linalg.cross(normal, along)
    out = -math.cos(angle) * along + math.sin(angle) * (turn.cos() * side + turn.sin() * normal)
    return c + length * out


def dihedral(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The torsion a-b-c-d in ``(-pi, pi]``, radians (IUPAC's sign): ``(..., 3) -> (...,)``."""
    along = torch.nn.functional.normalize(c - b, dim=-1)
    first, last = a - b, d - c
    first = first - (first * along).sum(-1, keepdim=True) * along
    last = last - (last * along).sum(-1, keepdim=True) * along
    return torch.atan2((torch.linalg.cross(along, first) * last).sum(-1), (first * last).sum(-1))


def phi_psi(pos: Tensor, rot: Tensor) -> tuple[Tensor, Tensor]:
    """phi of residues 1 to n - 1 and psi of residues 0 to n - 2, each ``(..., n - 1)``, from frames alone."""
    n, ca, c = backbone(pos, rot).unbind(-2)
    phi = dihedral(c[..., :-1, :], n[..., 1:, :], ca[..., 1:, :], c[..., 1:, :])
    psi = dihedral(n[..., :-1, :], ca[..., :-1, :], c[..., :-1, :], n[..., 1:, :])
    return phi, psi


def grown(phi: Tensor, psi: Tensor) -> Tensor:
    """N, CA and C ``(batch, n, 3, 3)`` of chains with flat trans peptide bonds.

    Args:
        phi: ``(batch, n)``, radians; the first is not looked at.
        psi: ``(batch, n)``; the last is not looked at.
    """
    batch, length = phi.shape
    n = phi.new_zeros(batch, 3)
    ca = n + phi.new_tensor([_N_CA, 0, 0])
    c = ca + _CA_C * phi.new_tensor([-math.cos(_N_CA_C), math.sin(_N_CA_C), 0])
    atoms = [n, ca, c]
    for i in range(1, length):
        n, ca, c = atoms[-3:]
        atoms.append(placed(n, ca, c, PEPTIDE_BOND, _CA_C_N, psi[:, i - 1]))
        atoms.append(placed(ca, c, atoms[-1], _N_CA, _C_N_CA, math.pi))
        atoms.append(placed(c, atoms[-2], atoms[-1], _CA_C, _N_CA_C, phi[:, i]))
    return torch.stack(atoms, 1).reshape(batch, length, 3, 3)


def heavy_atoms(pos: Tensor, rot: Tensor, angles: Tensor, kind: int) -> dict[str, Tensor]:
    """Every heavy atom of one residue by its name, ``(3,)`` each, with ideal lengths and angles.

    Args:
        pos: CA ``(3,)``, angstrom.
        rot: frame ``(3, 3)``.
        angles: psi and chi 1 to 4, ``(5,)``, radians.
        kind: id of the type.
    """
    n, ca, c = backbone(pos, rot).unbind(-2)
    # The oxygen lies across from the next nitrogen.
    oxygen = placed(n, ca, c, _C_O, _CA_C_O, angles[0] + math.pi)
    atoms = {"N": n, "CA": ca, "C": c, "O": oxygen}
    for one in side_chain(kind):
        turn = one.offset + (angles[one.chi] if one.chi else 0.0)
        a, b, last = (atoms[name] for name in one.after)
        atoms[one.name] = placed(a, b, last, one.length, one.angle, turn)
    return atoms


def torsions_of(atoms: Mapping[str, Any], kind: int, following: Any = None) -> Tensor:
    """psi and chi 1 to 4 of a residue's atoms, ``(5,)`` in ``(-pi, pi]``; 0 where there is none.

    Args:
        atoms: places by name, those of the chis among them.
        kind: id of the type.
        following: N of the next residue; without one psi is told by the oxygen.
    """
    found = torch.zeros(TORSIONS, dtype=torch.float64)
    where = {name: torch.as_tensor(v, dtype=torch.float64) for name, v in atoms.items()}
    if following is not None:
        after = torch.as_tensor(following, dtype=torch.float64)
        found[0] = dihedral(where["N"], where["CA"], where["C"], after)
    elif "O" in where:
        found[0] = dihedral(where["N"], where["CA"], where["C"], where["O"]) + math.pi
    for k, names in enumerate(chi_atoms(kind), 1):
        found[k] = dihedral(*(where[name] for name in names))
    return found
