"""Molecules with positions of their own: SDF files, QM9's among them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flowloom.data.files import find, folders
from flowloom.errors import DataError
from flowloom_molecules.data.homes import qm9, records
from flowloom_molecules.data.molecules import Conformed, packed
from flowloom_molecules.data.overlap import overlapping
from flowloom_molecules.data.prepared import Prepared, fingerprint, prepared
from flowloom_molecules.data.refused import Refused, report


class MoleculeFile(Conformed):
    """Molecules of an SDF file, with the positions and hydrogens that it gives them.

    QM9 is ``gdb9.sdf``, which torch-geometric's own downloader brings where it is missing (from MoleculeNet's
    deepchemdata.s3-us-west-1.amazonaws.com/datasets/molnet_publish/qm9.zip). Records that cannot be used
    (unreadable, without positions, without hydrogens that valences ask for, overlapping atoms, too large,
    other elements or charges) are left out with a warning that names and counts them.

    Args:
        file: a path, or a name in the folder ``molecules`` of ``$FLOWLOOM_DATA``.
        most_atoms: molecules of more atoms, hydrogens included, are left out.
        elements: symbols of the elements that may occur.
        charges: formal charges that may occur.
        missing_hydrogens: ``refuse`` molecules that lack them, or ``accept`` them as they are.
        val: share of the validation split.
        test: share of the test split.
        root: folder to search instead of ``$FLOWLOOM_DATA``.
    """

    def __init__(
        self,
        file: str = "gdb9.sdf",
        most_atoms: int = 29,
        elements: Sequence[str] = ("H", "C", "N", "O", "F"),
        charges: Sequence[int] = (0, -1, 1),
        missing_hydrogens: str = "refuse",
        val: float = 0.1,
        test: float = 0.1,
        root: Path | None = None,
    ) -> None:
        super().__init__(elements, charges, val, test)
        if most_atoms < 1 or missing_hydrogens not in ("refuse", "accept"):
            raise DataError(
                "most_atoms is at least 1 and missing_hydrogens is refuse or accept, got "
                f"{most_atoms} and {missing_hydrogens!r}"
            )
        self.file, self.root = file, root
        self.most_atoms, self.missing_hydrogens = most_atoms, missing_hydrogens

    def prepare(self) -> Prepared:
        """The records of the file."""
        import rdkit

        own, places = Path(self.file).expanduser(), folders(self.root, ("molecules", ""))
        file = own if own.is_file() else find(places, [self.file])
        if file is None and self.file == "gdb9.sdf":
            file = qm9(self.root)
        if file is None:
            raise DataError(
                f"there is no file {self.file}, here or in {places[0]}; set FLOWLOOM_DATA, or give a path"
            )
        settings = [self.most_atoms, self.elements, self.charges, self.missing_hydrogens, rdkit.__version__]
        mark = fingerprint(file.read_bytes(), {"sdf": settings})
        kept = prepared(f"sdf-{mark}", lambda: self._make(file))
        report(kept.refused, kept.total, str(file))
        return kept

    def _make(self, file: Path) -> Prepared:
        from rdkit import Chem, rdBase

        refused: list[Refused] = []
        found: list[tuple[dict[str, Any], Any]] = []
        with rdBase.BlockLogs():
            for row, mol in enumerate(records(file, hydrogens=True), 1):
                reason = self._fault(mol)
                if reason:
                    refused.append(Refused(row, _name(mol), reason))
                    continue
                answer = {
                    "key": Chem.MolToSmiles(Chem.RemoveHs(mol), isomericSmiles=False),
                    "numbers": [atom.GetAtomicNum() for atom in mol.GetAtoms()],
                    "charges": [atom.GetFormalCharge() for atom in mol.GetAtoms()],
                }
                found.append((answer, mol.GetConformer().GetPositions().tolist()))
        return packed(found, self.elements, self.charges, refused, len(found) + len(refused))

    def _fault(self, mol: Any) -> str:
        """Why a record cannot be used, empty where it can."""
        if mol is None or not mol.GetNumAtoms():
            return "unreadable record"
        if mol.GetNumAtoms() > self.most_atoms:
            return f"more than {self.most_atoms} atoms"
        place = mol.GetConformer().GetPositions() if mol.GetNumConformers() else None
        if place is None or (mol.GetNumAtoms() > 1 and not mol.GetConformer().Is3D()):
            return "no positions in space"
        atoms = list(mol.GetAtoms())
        if any(atom.GetSymbol() not in self.elements for atom in atoms):
            return "an element that is not asked for"
        if any(atom.GetFormalCharge() not in self.charges for atom in atoms):
            return "a charge that is not asked for"
        if self.missing_hydrogens == "refuse" and any(atom.GetTotalNumHs() for atom in atoms):
            return "missing hydrogens"
        if overlapping(place):
            return "overlapping atoms"
        return ""


def _name(mol: Any) -> str:
    """What a record is called, empty where it cannot be read, or is not in UTF-8."""
    try:
        return "" if mol is None else str(mol.GetProp("_Name"))
    except UnicodeDecodeError:
        return ""
