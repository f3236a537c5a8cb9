"""Peptides as text of a PDB file: what other programs read, and what a 3D view draws."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom_molecules.peptides.atoms import heavy_atoms
from flowloom_molecules.peptides.form import ABSENT, Residues, pocket_of
from flowloom_molecules.peptides.quality import real_residues
from flowloom_molecules.peptides.residues import LETTERS, NAMES

__all__ = ["pdb_text", "sequence"]


def sequence(rows: Examples, i: int) -> str:
    """One-letter types of row ``i``."""
    x: Any = rows.x
    return "".join(LETTERS[k] for k in x["types"][i][real_residues(rows)[i]].tolist())


def pdb_text(rows: Examples, i: int) -> str:
    """Row ``i``: all heavy atoms of the peptide as chain A, of the pocket as chain B, with ideal bonds."""
    x: Any = rows.x
    own = {name: v[i] for name, v in x.items()}
    lines = list(_chain(own, real_residues(rows)[i], "A", 1))
    pocket = pocket_of(rows.cond)
    if pocket is not None:
        there = {name: v[i] for name, v in pocket.items()}
        lines += _chain(there, there["types"] != ABSENT, "B", len(lines) + 1, apart=2)
    return "\n".join([*lines, "END", ""])


def _chain(residues: Residues, real: Tensor, name: str, first: int, apart: int = 1) -> Iterable[str]:
    # Residues of a pocket are no chain: a gap in their numbers says so.
    number = 0
    for r in torch.arange(len(real))[real].tolist():
        number += apart
        kind = int(residues["types"][r])
        atoms = heavy_atoms(residues["pos"][r], residues["rot"][r], residues["angles"][r], kind)
        for atom, place in atoms.items():
            x, y, z = place.detach().tolist()
            yield (
                f"ATOM  {first:5d}  {atom:<3s} {NAMES[kind]} {name}{number:4d}    "
                f"{x:8.3f}{y:8.3f}{z:8.3f}{1:6.2f}{0:6.2f}          {atom[0]:>2s}"
            )
            first += 1
