"""Graphs as a chemist reads them, by RDKit: no valence is mended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from flowloom.data import Examples
from flowloom.errors import DataError
from flowloom.spec import Spec
from flowloom_molecules.molecules.perceived import Perceived

BONDS = ("none", "single", "double", "triple")
"""Kinds of bonds, in the order of their ids."""


def split_kind(kind: str) -> tuple[str, int]:
    """Element and formal charge of the name of a kind of atom: ``N+`` is ``("N", 1)``."""
    symbol, sign, size = re.fullmatch(r"([A-Za-z]+)([+-]?)(\d*)", kind).groups()  # type: ignore[union-attr]
    return symbol, (int(size or 1) if sign else 0) * (-1 if sign == "-" else 1)


class Bonded:
    """Reads states of one spec.

    Args:
        spec: of the data, whose ``types`` have kinds of atoms as tokens, and whose ``bonds`` those of bonds.

    Raises:
        DataError: the data has no such parts.
    """

    def __init__(self, spec: Spec) -> None:
        parts = spec.parts
        if (
            not {"types", "bonds"} <= set(parts)
            or parts["bonds"].tokens != BONDS
            or not parts["types"].tokens
        ):
            raise DataError(
                "molecular graphs are states with the parts types (tokens named by elements) and bonds "
                f"({', '.join(BONDS)}); this data has {', '.join(parts) or 'one tensor'}"
            )
        self.kinds = [split_kind(kind) for kind in parts["types"].tokens]

    def __call__(self, examples: Examples) -> list[Perceived]:
        """Every row."""
        x: Any = examples.x
        n = x["types"].shape[1]
        mask = examples.cond.get("atoms")
        types, bonds = x["types"].cpu().tolist(), x["bonds"].cpu().tolist()
        masks = [[True] * n] * len(types) if mask is None else mask.bool().cpu().tolist()
        found = []
        for kinds, orders, own in zip(types, bonds, masks, strict=True):
            kept = [
                o for (i, j), o in zip(combinations(range(n), 2), orders, strict=True) if own[i] and own[j]
            ]
            # A mask that has not been lifted is no kind of atom; it shows as a star.
            real = [k for k, there in zip(kinds, own, strict=True) if there]
            names = [self.kinds[k] if k < len(self.kinds) else ("*", 0) for k in real]
            found.append(molecule(names, [o if o < len(BONDS) else 0 for o in kept]))
        return found


def molecule(atoms: Sequence[tuple[str, int]], bonds: Sequence[int]) -> Perceived:
    """One molecule.

    Args:
        atoms: element and formal charge of each.
        bonds: ids of `BONDS`, of the pairs (0, 1), (0, 2) ... (1, 2) ...
    """
    from rdkit import Chem, rdBase

    orders = dict(
        zip(BONDS[1:], (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE), strict=True)
    )
    editable = Chem.RWMol()
    for symbol, charge in atoms:
        atom = Chem.Atom(symbol)
        atom.SetFormalCharge(charge)
        editable.AddAtom(atom)
    for (i, j), order in zip(combinations(range(len(atoms)), 2), bonds, strict=True):
        if order:
            editable.AddBond(i, j, orders[BONDS[order]])
    bare = editable.GetMol()
    bare.UpdatePropertyCache(strict=False)
    fragments = len(Chem.GetMolFrags(bare))
    if fragments != 1:
        return Perceived(bare, None, "", fragments)
    whole = Chem.Mol(bare)
    with rdBase.BlockLogs():
        if Chem.SanitizeMol(whole, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
            return Perceived(bare, None, "", fragments)
    if any(atom.GetNumRadicalElectrons() for atom in whole.GetAtoms()):
        return Perceived(bare, None, "", fragments)
    return Perceived(bare, whole, str(Chem.MolToSmiles(whole, isomericSmiles=False)), fragments)
