"""Molecules as graphs: what their heavy atoms are, and how any two of them are bonded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec
from flowloom.state import State
from flowloom_molecules.bonded.reading import BONDS, molecule, split_kind
from flowloom_molecules.data.conform import tidied
from flowloom_molecules.data.divided import Divided
from flowloom_molecules.data.homes import smiles_of
from flowloom_molecules.data.prepared import Prepared, fingerprint, joined, prepared
from flowloom_molecules.data.refused import Refusal, Refused, report
from flowloom_molecules.elements import NUMBERS

KINDS = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I", "N+", "O-", "S-")


class MolecularGraphs(Divided):
    """Graphs of the molecules in files of SMILES, heavy atoms alone; hydrogens follow from the valences.

    The state has the parts ``types`` (``(atoms,)``, ids of ``kinds``) and ``bonds``
    (``(atoms (atoms - 1) / 2,)``: the upper triangle of the adjacency matrix, row by row, of none, single,
    double and triple; aromatic rings are written in the order of Kekule). Each pair of atoms stands there
    once, so that no noise, path or jump can tell (i, j) from (j, i). The conditions ``atoms`` and ``pairs``
    say which exist.

    Rows that cannot be used (unparsable, salts unless they are stripped, radicals, too large, atoms or bonds
    of other kinds, hydrogens that do not follow from the graph) are left out with a warning that names and
    counts them. Stereo marks and isotopes are dropped.

    Args:
        files: ``nci`` (shipped by RDKit), ``qm9``, ``zinc250k``, ``components``, or files; see
            `flowloom_molecules.data.homes.smiles_of`.
        most_heavy: molecules of more heavy atoms are left out.
        kinds: elements, each with a formal charge behind it where it has one: ``C``, ``N+``, ``O-``.
        salts: ``refuse`` molecules of several fragments, or ``strip`` them to the largest.
        val: share of the validation split.
        test: share of the test split.
        root: folder to search instead of ``$FLOWLOOM_DATA``.
    """

    def __init__(
        self,
        files: Sequence[str] = ("nci",),
        most_heavy: int = 9,
        kinds: Sequence[str] = KINDS,
        salts: Literal["refuse", "strip"] = "refuse",
        val: float = 0.1,
        test: float = 0.1,
        root: Path | None = None,
    ) -> None:
        super().__init__(val, test)
        if most_heavy < 2:
            raise DataError(f"most_heavy is at least 2, got {most_heavy}")
        if not files:
            raise DataError("molecular-graphs needs files; give files: [mine.csv]")
        elements = {kind: re.sub(r"[+-]\d*$", "", kind) for kind in kinds}
        wrong = [kind for kind, symbol in elements.items() if symbol not in NUMBERS]
        # C+1 and C+ are one kind under two names.
        if wrong or len({split_kind(kind) for kind in kinds}) < len(kinds) or not kinds:
            given = ", ".join(wrong) or list(kinds)
            raise DataError(
                f"kinds are elements with their charge, such as C, N+ and O-, each once; got {given}"
            )
        self.files, self.kinds, self.root = tuple(files), tuple(kinds), root
        self.settings = {
            "most_heavy": most_heavy,
            "elements": sorted(set(elements.values())),
            "salts": salts,
        }

    @property
    def spec(self) -> Spec:
        """The two parts, and what is real of each."""
        n = self.most
        pairs = n * (n - 1) // 2
        return Spec(
            parts={
                "types": Spec((n,), vocab=len(self.kinds), tokens=self.kinds),
                "bonds": Spec((pairs,), vocab=len(BONDS), tokens=BONDS),
            },
            conditions={
                "atoms": Condition(shape=(n,), role="real", of="types"),
                "pairs": Condition(shape=(pairs,), role="real", of="bonds"),
            },
        )

    def take(self, rows: Tensor) -> Examples:
        """Graphs, with zeros where there is no atom."""
        kept, n, chosen = self.prepared, self.most, self.own[rows]
        real = kept.real(n, chosen)
        a, b = torch.triu_indices(n, n, offset=1)
        bonds = kept.padded("bonds", n, chosen)[:, a, b].long()
        x: State = {"types": kept.padded("types", n, chosen), "bonds": bonds}
        return Examples(x, {"atoms": real, "pairs": real[:, a] & real[:, b]})

    def keys(self) -> list[str]:
        """Canonical SMILES of the rows of this split, without stereo marks."""
        return [self.prepared.keys[int(i)] for i in self.own]

    def prepare(self) -> Prepared:
        """The molecules of all files."""
        return joined([self._prepared(name) for name in self.files])

    def _prepared(self, name: str) -> Prepared:
        import rdkit

        rows = smiles_of(name, self.root)
        told = {**self.settings, "kinds": self.kinds, "rdkit": rdkit.__version__, "graphs": 1}
        mark = fingerprint("\n".join(rows).encode(), told)
        kept = prepared(f"graphs-{mark}", lambda: self._make(rows))
        report(kept.refused, kept.total, name)
        return kept

    def _make(self, rows: Sequence[str]) -> Prepared:
        from rdkit import rdBase

        found: list[tuple[str, list[int], Tensor]] = []
        refused: list[Refused] = []
        with rdBase.BlockLogs():
            for i, smiles in enumerate(rows, 1):
                try:
                    found.append(self._graph(smiles))
                except Refusal as reason:
                    refused.append(Refused(i, smiles[:80], str(reason)))
        most = self.settings["most_heavy"]
        return Prepared(
            ragged={
                "types": torch.tensor([k for _, kinds, _ in found for k in kinds], dtype=torch.int64),
                "bonds": torch.cat([bonds for *_, bonds in found])
                if found
                else torch.zeros(0, int(most), dtype=torch.uint8),  # type: ignore[call-overload]
            },
            fixed={},
            sizes=torch.tensor([len(kinds) for _, kinds, _ in found], dtype=torch.int64),
            keys=tuple(key for key, *_ in found),
            refused=tuple(refused),
            total=len(rows),
        )

    def _graph(self, smiles: str) -> tuple[str, list[int], Tensor]:
        """Name, kinds of the atoms, and rows of the adjacency matrix ``(atoms, most)``.

        Raises:
            Refusal: it cannot be used.
        """
        from rdkit import Chem

        mol, reason = tidied(smiles, self.settings)
        if reason:
            raise Refusal(reason)
        key = str(Chem.MolToSmiles(mol, isomericSmiles=False))
        Chem.Kekulize(mol, clearAromaticFlags=True)
        told = [(atom.GetSymbol(), atom.GetFormalCharge()) for atom in mol.GetAtoms()]
        known = {split_kind(kind): i for i, kind in enumerate(self.kinds)}
        if any(one not in known for one in told):
            raise Refusal("an atom of a kind that is not asked for")
        most = int(self.settings["most_heavy"])  # type: ignore[call-overload]
        bonds = torch.zeros(len(told), most, dtype=torch.uint8)
        for bond in mol.GetBonds():
            order = str(bond.GetBondType()).lower()
            if order not in BONDS[1:]:
                raise Refusal(f"a bond that is {order}")
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            bonds[i, j] = bonds[j, i] = BONDS.index(order)
        a, b = torch.triu_indices(len(told), len(told), offset=1)
        if molecule(told, bonds[a, b].tolist()).smiles != key:
            raise Refusal("hydrogens that do not follow from the graph")
        return key, [known[one] for one in told], bonds
