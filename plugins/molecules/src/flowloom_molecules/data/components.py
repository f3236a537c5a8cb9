"""The component dictionary of the Protein Data Bank, as the package biotite ships it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from flowloom.errors import DataError, MissingDependencyError
from flowloom_molecules.data.molecules import Conformed, packed
from flowloom_molecules.data.prepared import Prepared, fingerprint, prepared
from flowloom_molecules.data.refused import Refusal, Refused, report
from flowloom_molecules.elements import NUMBERS

ORGANIC = ("H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I")


class Components(Conformed):
    """Ligands, residues and other small molecules of the PDB, with hydrogens and positions: some 20,000.

    Positions are the dictionary's ideal ones, computed and not measured, or those of a model in the PDB. No
    file is needed: the dictionary (wwPDB) is inside the wheel of biotite. Components that cannot be used (too
    large, other elements or charges, without carbon, obsolete, without positions, several fragments,
    radicals, missing hydrogens, not to be sanitised) are left out with a warning that names and counts them.

    Args:
        most_atoms: components of more atoms, hydrogens included, are left out.
        elements: symbols of the elements that may occur.
        charges: formal charges that may occur.
        positions: ``ideal``, or of a ``model``.
        val: share of the validation split.
        test: share of the test split.
    """

    def __init__(
        self,
        most_atoms: int = 40,
        elements: Sequence[str] = ORGANIC,
        charges: Sequence[int] = (0, -1, 1),
        positions: Literal["ideal", "model"] = "ideal",
        val: float = 0.1,
        test: float = 0.1,
    ) -> None:
        super().__init__(elements, charges, val, test)
        if most_atoms < 1:
            raise DataError(f"most_atoms is at least 1, got {most_atoms}")
        self.most_atoms, self.positions = most_atoms, positions

    def prepare(self) -> Prepared:
        """The components that can be used.

        Raises:
            MissingDependencyError: biotite is not installed.
        """
        import rdkit

        told = [self.most_atoms, self.elements, self.charges, self.positions, rdkit.__version__]
        mark = fingerprint(_biotite().encode(), {"components": told})
        kept = prepared(f"components-{mark}", self._make)
        report(kept.refused, kept.total, "components")
        return kept

    def _make(self) -> Prepared:
        from rdkit import rdBase

        found: list[tuple[dict[str, Any], Any]] = []
        refused: list[Refused] = []
        with rdBase.BlockLogs():
            for one in _dictionary(self.positions):
                try:
                    found.append(self._molecule(one))
                except Refusal as reason:
                    refused.append(Refused(one["id"], one["id"], str(reason)))
        return packed(found, self.elements, self.charges, refused, len(found) + len(refused))

    def _molecule(self, one: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """What `packed` takes of a component.

        Raises:
            Refusal: it cannot be used.
        """
        from rdkit import Chem

        symbols = [str(s).capitalize() for s in one["symbols"]]
        if len(symbols) > self.most_atoms:
            raise Refusal(f"more than {self.most_atoms} atoms")
        if not set(symbols) <= set(self.elements):
            raise Refusal("an element that is not asked for")
        if "C" not in symbols:
            raise Refusal("no carbon")
        if one["obsolete"]:
            raise Refusal("obsolete")
        if not set(one["charges"]) <= set(self.charges):
            raise Refusal("a charge that is not asked for")
        if not np.isfinite(one["pos"]).all() or (len(symbols) > 1 and np.ptp(one["pos"], 0).max() < 0.5):
            raise Refusal("no positions")
        mol = _joined(symbols, one)
        if len(Chem.GetMolFrags(mol)) > 1:
            raise Refusal("several fragments")
        if Chem.SanitizeMol(mol, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
            raise Refusal("valences that cannot be")
        if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
            raise Refusal("a radical")
        if any(atom.GetNumImplicitHs() for atom in mol.GetAtoms()):
            raise Refusal("missing hydrogens")
        key = Chem.MolToSmiles(Chem.RemoveHs(mol), isomericSmiles=False)
        numbers = [NUMBERS[s] for s in symbols]
        return {"key": key, "numbers": numbers, "charges": list(one["charges"])}, one["pos"].tolist()


def _joined(symbols: Sequence[str], one: dict[str, Any]) -> Any:
    from rdkit import Chem

    orders = {"SING": Chem.BondType.SINGLE, "DOUB": Chem.BondType.DOUBLE, "TRIP": Chem.BondType.TRIPLE}
    editable = Chem.RWMol()
    for symbol, charge in zip(symbols, one["charges"], strict=True):
        atom = Chem.Atom(symbol)
        atom.SetFormalCharge(charge)
        editable.AddAtom(atom)
    place = {name: i for i, name in enumerate(one["names"])}
    for a, b, order in one["bonds"]:
        if order not in orders or a not in place or b not in place:
            raise Refusal("a bond of an unknown kind")
        editable.AddBond(place[a], place[b], orders[order])
    return editable.GetMol()


def _dictionary(positions: str) -> Iterator[dict[str, Any]]:
    """Every component as the dictionary has it."""
    _biotite()
    from biotite.structure.info.ccd import get_ccd

    tables = get_ccd()
    atoms, bonds, whole = tables["chem_comp_atom"], tables["chem_comp_bond"], tables["chem_comp"]
    where = {"ideal": "pdbx_model_Cartn_{}_ideal", "model": "model_Cartn_{}"}[positions]
    pos = np.stack([_numbers(atoms[where.format(axis)]) for axis in "xyz"], 1)
    symbols, names = atoms["type_symbol"].as_array(), atoms["atom_id"].as_array()
    charges = atoms["charge"].as_array(int)
    columns = ("atom_id_1", "atom_id_2", "value_order")
    ends, others, orders = (bonds[name].as_array() for name in columns)
    joined = _runs(bonds["comp_id"].as_array())
    status = whole["pdbx_release_status"].as_array() == "OBS"
    obsolete = dict(zip(whole["id"].as_array().tolist(), status.tolist(), strict=True))
    for name, own in _runs(atoms["comp_id"].as_array()).items():
        pairs = joined.get(name, slice(0, 0))
        yield {
            "id": name,
            "symbols": symbols[own].tolist(),
            "names": names[own].tolist(),
            "charges": charges[own].tolist(),
            "pos": pos[own],
            "bonds": zip(ends[pairs].tolist(), others[pairs].tolist(), orders[pairs].tolist(), strict=True),
            "obsolete": obsolete.get(name, False),
        }


def _numbers(column: Any) -> Any:
    """Numbers of a column, not a number where the dictionary has none."""
    values = np.asarray(column.data.array, dtype=np.float64)
    return values if column.mask is None else np.where(column.mask.array == 0, values, np.nan)


def _runs(ids: Any) -> dict[str, slice]:
    """Where the rows of every component stand, which follow each other."""
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    return {str(ids[a]): slice(int(a), int(b)) for a, b in zip(starts, [*starts[1:], len(ids)], strict=True)}


def _biotite() -> str:
    """Its version."""
    try:
        import biotite
    except ImportError as error:
        raise MissingDependencyError(
            "data components need the package biotite; pip install biotite, or flowloom-molecules[components]"
        ) from error
    return str(biotite.__version__)
