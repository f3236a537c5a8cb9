"""Torsion angles of conformers: points of tori, one circle for every rotatable bond."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec
from flowloom_molecules.data.conform import KINDS
from flowloom_molecules.data.conformers import conformers
from flowloom_molecules.data.divided import Divided
from flowloom_molecules.data.molecules import find_smiles, read_smiles
from flowloom_molecules.data.prepared import Prepared, fingerprint, joined, prepared
from flowloom_molecules.data.refused import Refused, report


class Torsions(Divided):
    r"""Torsions of RDKit's conformers of the molecules of SMILES files, in :math:`[0, 2\pi)`.

    A bond is rotatable that is single, in no ring, and between two atoms that each hold another heavy one.
    States have shape ``(bonds,)``, padded to the molecule with most rotatable bonds; the condition ``bonds``
    says which exist, and ``kinds`` ``(bonds, 18)`` what the two atoms of each are (element, hybridisation,
    aromatic, in a ring, crowded). Conformers are ETKDGv3's, relaxed by MMFF94: their law is that of RDKit's
    knowledge of crystals, not a Boltzmann law. All conformers of one molecule are in one split.

    Args:
        files: names in the folder ``molecules`` of ``$FLOWLOOM_DATA``, or paths.
        most_heavy: molecules of more heavy atoms are left out.
        most_bonds: molecules of more rotatable bonds are left out.
        conformers: of every molecule.
        workers: processes, one a core where None.
        val: share of the validation split.
        test: share of the test split.
        seed: of the embedding.
        root: folder to search instead of ``$FLOWLOOM_DATA``.
    """

    def __init__(
        self,
        files: Sequence[str] = ("esol.csv", "freesolv.csv"),
        most_heavy: int = 12,
        most_bonds: int = 5,
        conformers: int = 10,
        workers: int | None = None,
        val: float = 0.1,
        test: float = 0.1,
        seed: int = 0,
        root: Path | None = None,
    ) -> None:
        if min(most_heavy, most_bonds, conformers) < 1:
            raise DataError(
                "most_heavy, most_bonds and conformers must be at least 1, got "
                f"{most_heavy}, {most_bonds} and {conformers}"
            )
        super().__init__(val, test)
        self.files, self.root, self.workers = tuple(files), root, workers
        self.settings: dict[str, Any] = {
            "most_heavy": most_heavy,
            "hydrogens": True,
            "elements": ["C", "N", "O", "F", "P", "S", "Cl", "Br", "I"],
            "salts": "refuse",
            "conformers": conformers,
            "optimise": "mmff",
            "seed": seed,
            "seconds": 60,
            "most_bonds": most_bonds,
        }

    @property
    def spec(self) -> Spec:
        """Angles, with ``bonds`` and ``kinds``."""
        n = self.most
        conditions = {
            "bonds": Condition(shape=(n,), role="real"),
            "kinds": Condition(shape=(n, 2 * len(KINDS))),
        }
        return Spec((n,), conditions=conditions)

    @property
    def called(self) -> str:
        """As recipes do."""
        return "torsions"

    def take(self, rows: Tensor) -> Examples:
        """Angles, with zeros where there is no bond."""
        kept, n, chosen = self.prepared, self.most, self.own[rows]
        cond = {"bonds": kept.real(n, chosen), "kinds": kept.padded("kinds", n, chosen)}
        return Examples(kept.padded("angles", n, chosen), cond)

    def prepare(self) -> Prepared:
        """The torsions of all files."""
        if not self.files:
            raise DataError("torsions needs files; give files: [mine.csv]")
        return joined([self._prepared(find_smiles(name, self.root)) for name in self.files])

    def _prepared(self, file: Path) -> Prepared:
        import rdkit

        rows = read_smiles(file)
        told = {**self.settings, "rdkit": rdkit.__version__}
        mark = fingerprint("\n".join(rows).encode(), told)
        kept = prepared(f"torsions-{mark}", lambda: self._make(rows))
        report(kept.refused, kept.total, str(file))
        return kept

    def _make(self, rows: Sequence[str]) -> Prepared:
        refused: list[Refused] = []
        angles, kinds, sizes, keys = [], [], [], []
        for i, answer in enumerate(conformers(rows, self.settings, self.workers)):
            reason = answer.get("reason", "")
            if reason:
                refused.append(Refused(i + 1, rows[i][:80], reason))
                continue
            for one in answer["angles"]:
                angles.extend(one)
                kinds.extend(answer["kinds"])
                sizes.append(len(one))
                keys.append(answer["key"])
        return Prepared(
            ragged={
                "angles": torch.tensor(angles, dtype=torch.float32) % (2 * torch.pi),
                "kinds": torch.tensor(kinds, dtype=torch.float32).reshape(len(angles), 2 * len(KINDS)),
            },
            fixed={},
            sizes=torch.tensor(sizes, dtype=torch.int64),
            keys=tuple(keys),
            refused=tuple(refused),
            total=len(rows),
        )
