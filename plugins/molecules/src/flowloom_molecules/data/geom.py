"""GEOM-Drugs as its authors publish it: conformers by CREST, in one file of MessagePack."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.data.files import fetch, find, folders
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec
from flowloom.state import State
from flowloom_molecules.data.divided import InSplits
from flowloom_molecules.data.msgpack_stream import entries
from flowloom_molecules.data.on_disk import OnDisk, Rows, kept_on_disk
from flowloom_molecules.data.prepared import fingerprint
from flowloom_molecules.data.refused import Refusal, Refused, report
from flowloom_molecules.data.splits import divide_places
from flowloom_molecules.elements import NUMBERS

__all__ = ["GeomDrugs"]

HOME = ("https://dataverse.harvard.edu/api/access/datafile/4360331",)
"""``drugs_crude.msgpack.tar.gz`` of Harvard Dataverse, doi:10.7910/DVN/JNGTDF; about 50 GB unpacked."""
NAMES = ("drugs_crude.msgpack", "drugs_crude.msgpack.gz", "drugs_crude.msgpack.tar.gz")
# What occurs in GEOM-Drugs, in the order of atomic numbers, as EDM has it.
ELEMENTS = ("H", "B", "C", "N", "O", "F", "Al", "Si", "P", "S", "Cl", "As", "Br", "I", "Hg", "Bi")


class GeomDrugs(InSplits):
    """Conformers of drug-like molecules with hydrogens (GEOM, Axelrod and Gomez-Bombarelli 2006.05531).

    The state has the parts ``pos`` (``(atoms, 3)``, angstrom, centred) and ``types`` (``(atoms,)``, ids of
    ``elements``); the condition ``atoms`` says which exist. Formal charges are not in the file. Of every
    molecule the conformers of lowest energy are kept, 30 as in EDM (2203.17003). The file is read once, a
    molecule at a time, and what is kept lies in the user's cache folder and is read from there: memory holds
    two numbers a conformer. Molecules that cannot be used (unreadable entries, other elements, too large) are
    left out with a warning that names and counts them; a file that ends too early gives what came before.

    A molecule is in one split with all its conformers, which its SMILES decides. EDM's own splits are of
    conformers, so that a molecule may be in all three.

    Args:
        file: a path, or a name in the folder ``molecules`` of ``$FLOWLOOM_DATA``; ``.msgpack``, or packed as
            ``.gz`` or ``.tar.gz``.
        conformers: of every molecule at most, those of lowest energy.
        most_atoms: molecules of more atoms, hydrogens included, are left out.
        elements: symbols of the elements that may occur.
        val: share of the validation split.
        test: share of the test split.
        download: bring the published file, some 50 GB unpacked, where it is missing.
        root: folder to search instead of ``$FLOWLOOM_DATA``.

    Raises:
        DataError: the arguments make no data set, or there is no such file.
        MissingDependencyError: the package msgpack is not installed.
    """

    def __init__(
        self,
        file: str = NAMES[0],
        conformers: int = 30,
        most_atoms: int = 181,
        elements: Sequence[str] = ELEMENTS,
        val: float = 0.1,
        test: float = 0.1,
        download: bool = False,
        root: Path | None = None,
    ) -> None:
        super().__init__(val, test)
        unknown = [symbol for symbol in elements if symbol not in NUMBERS]
        if unknown or len(set(elements)) < len(elements) or not elements:
            raise DataError(f"elements are symbols such as C, N and O, each once; got {list(elements)}")
        if conformers < 1 or most_atoms < 1:
            raise DataError(
                f"conformers and most_atoms must be at least 1, got {conformers} and {most_atoms}"
            )
        self.file, self.download, self.root = file, download, root
        self.conformers, self.most_atoms, self.elements = conformers, most_atoms, tuple(elements)
        self._ids = {NUMBERS[symbol]: i for i, symbol in enumerate(self.elements)}
        self._all: OnDisk | None = None

    @property
    def called(self) -> str:
        """Its name in recipes."""
        return "geom-drugs"

    @property
    def prepared(self) -> OnDisk:
        """All rows, of all splits, on disk."""
        if self._all is None:
            file = self._found()
            told = [self.conformers, self.most_atoms, self.elements]
            mark = f"{file.resolve()}\0{file.stat().st_size}\0{file.stat().st_mtime_ns}".encode()
            name = f"geom-{fingerprint(mark, {'geom': told})}"
            kept = kept_on_disk(name, lambda into: self._read(file, into))
            report(kept.refused, kept.total, str(file))
            self._rows = divide_places(torch.from_numpy(kept.places), self.val, self.test)
            self._all = kept
        return self._all

    @property
    def spec(self) -> Spec:
        """The two parts, and ``atoms``."""
        n = int(self.prepared.sizes.max())
        parts = {
            "pos": Spec((n, 3)),
            "types": Spec((n,), vocab=len(self.elements), tokens=self.elements),
        }
        return Spec(
            parts=parts, conditions={"atoms": Condition(shape=(n,), role="real", of=", ".join(parts))}
        )

    def take(self, rows: Tensor) -> Examples:
        """Molecules, with zeros where there is no atom."""
        kept = self.prepared
        n = int(kept.sizes.max())
        pos, types = torch.zeros(len(rows), n, 3), torch.zeros(len(rows), n, dtype=torch.int64)
        real = torch.zeros(len(rows), n, dtype=torch.bool)
        for i, row in enumerate(self.own[rows].tolist()):
            places, kinds = kept.row(row)
            pos[i, : len(kinds)] = torch.from_numpy(places)
            types[i, : len(kinds)] = torch.from_numpy(kinds).long()
            real[i, : len(kinds)] = True
        x: State = {"pos": pos, "types": types}
        return Examples(x, {"atoms": real})

    def _found(self) -> Path:
        own, places = Path(self.file).expanduser(), folders(self.root, ("molecules", ""))
        published = self.file in NAMES
        file = own if own.is_file() else find(places, NAMES if published else [self.file])
        if file is None and published and self.download:
            file = fetch(HOME, None, places[0] / NAMES[-1])
        if file is None:
            bring = "add download: true to bring it (about 50 GB), " if published else ""
            raise DataError(
                f"there is no file {self.file}, here or in {places[0]}; "
                f"{bring}set FLOWLOOM_DATA, or give a path"
            )
        return file

    def _read(self, file: Path, into: Rows) -> None:
        for number, (smiles, told) in enumerate(entries(file), 1):
            try:
                if isinstance(told, Refusal):
                    raise told
                found = list(self._lowest(told))
            except Refusal as reason:
                into.refuse(Refused(number, smiles[:80], str(reason)))
                continue
            into.add(smiles, found)

    def _lowest(self, told: Any) -> Iterator[tuple[list[list[float]], list[int]]]:
        """Positions and types of the conformers of lowest energy.

        Raises:
            Refusal: one of them cannot be used.
        """
        given = told.get("conformers") if isinstance(told, Mapping) else None
        if not isinstance(given, list) or not given:
            raise Refusal("no conformers")
        if not all(isinstance(one, Mapping) and _is_number(one.get("totalenergy")) for one in given):
            raise Refusal("a conformer without an energy")
        # They are not in the order of their energies everywhere.
        for one in sorted(given, key=lambda one: float(one["totalenergy"]))[: self.conformers]:
            atoms = one.get("xyz")
            if not isinstance(atoms, list) or not atoms or not all(map(_is_atom, atoms)):
                raise Refusal("atoms that are not a number and three coordinates")
            if len(atoms) > self.most_atoms:
                raise Refusal(f"more than {self.most_atoms} atoms")
            if any(int(atom[0]) not in self._ids for atom in atoms):
                raise Refusal("an element that is not asked for")
            yield [atom[1:] for atom in atoms], [self._ids[int(atom[0])] for atom in atoms]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_atom(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))
