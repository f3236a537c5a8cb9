"""Molecules with conformers, from files of SMILES."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.data.files import find, folders
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec
from flowloom.state import State
from flowloom_molecules.data.conformers import conformers
from flowloom_molecules.data.divided import Divided
from flowloom_molecules.data.prepared import Prepared, fingerprint, joined, prepared
from flowloom_molecules.data.refused import Refused, report
from flowloom_molecules.elements import NUMBERS, SYMBOLS


class Conformed(Divided):
    """Molecules in space: positions, elements and formal charges, padded to the largest.

    The state has the parts ``pos`` (``(atoms, 3)``, angstrom, centred), ``types`` (``(atoms,)``, ids of
    ``elements``) and ``charges`` (``(atoms,)``, ids of ``charges``). The condition ``atoms`` says which
    exist.
    Subclasses prepare the rows, with ragged ``pos``, ``types`` and ``charges``.

    Args:
        elements: symbols of the elements that may occur.
        charges: formal charges that may occur.
        val: share of the validation split.
        test: share of the test split.
    """

    def __init__(self, elements: Sequence[str], charges: Sequence[int], val: float, test: float) -> None:
        unknown = [symbol for symbol in elements if symbol not in NUMBERS]
        if unknown or len(set(elements)) < len(elements) or not elements:
            given = ", ".join(unknown) or list(elements)
            raise DataError(f"elements are symbols such as C, N and O, each once; got {given}")
        if 0 not in charges:
            raise DataError(f"charges are formal charges, 0 among them; got {list(charges)}")
        super().__init__(val, test)
        self.elements, self.charges = tuple(elements), tuple(charges)

    @property
    def spec(self) -> Spec:
        """The three parts, and ``atoms``."""
        n = self.most
        parts = {
            "pos": Spec((n, 3)),
            "types": Spec((n,), vocab=len(self.elements), tokens=self.elements),
            "charges": Spec((n,), vocab=len(self.charges), tokens=tuple(f"{c:+d}" for c in self.charges)),
        }
        return Spec(
            parts=parts, conditions={"atoms": Condition(shape=(n,), role="real", of=", ".join(parts))}
        )

    def take(self, rows: Tensor) -> Examples:
        """Molecules, with zeros where there is no atom."""
        kept, n, chosen = self.prepared, self.most, self.own[rows]
        x: State = {name: kept.padded(name, n, chosen) for name in ("pos", "types", "charges")}
        return Examples(x, {"atoms": kept.real(n, chosen)})

    def keys(self) -> list[str]:
        """Canonical SMILES of the rows of this split."""
        return [self.prepared.keys[int(i)] for i in self.own]


class Conformers(Conformed):
    """Conformers of the molecules in CSV files with a column ``smiles``, made by RDKit and kept on disk.

    Embedded by ETKDGv3 in parallel processes, then relaxed by MMFF94 where it has parameters. Rows that
    cannot be used (unparsable, salts unless they are stripped, radicals, too large, other elements, no
    conformer found) are left out with a warning that names and counts them. Stereo marks steer the
    conformer; isotopes are dropped; charges are kept.

    Args:
        files: names in the folder ``molecules`` of ``$FLOWLOOM_DATA``, or paths.
        most_heavy: molecules of more heavy atoms are left out.
        hydrogens: keep hydrogen atoms.
        elements: symbols of the heavy elements that may occur; hydrogen is added where it is kept.
        charges: formal charges that may occur.
        salts: ``refuse`` molecules of several fragments, or ``strip`` them to the largest.
        conformers: of every molecule.
        optimise: ``mmff``, or ``none``.
        workers: processes, one a core where None.
        val: share of the validation split.
        test: share of the test split.
        seed: of the embedding.
        root: folder to search instead of ``$FLOWLOOM_DATA``.
    """

    def __init__(
        self,
        files: Sequence[str] = ("esol.csv", "freesolv.csv"),
        most_heavy: int = 9,
        hydrogens: bool = True,
        elements: Sequence[str] = ("C", "N", "O", "F", "P", "S", "Cl", "Br", "I"),
        charges: Sequence[int] = (0, -1, 1),
        salts: Literal["refuse", "strip"] = "refuse",
        conformers: int = 1,
        optimise: Literal["mmff", "none"] = "mmff",
        workers: int | None = None,
        val: float = 0.1,
        test: float = 0.1,
        seed: int = 0,
        root: Path | None = None,
    ) -> None:
        if most_heavy < 1 or conformers < 1:
            raise DataError(
                f"most_heavy and conformers must be at least 1, got {most_heavy} and {conformers}"
            )
        heavy = [symbol for symbol in elements if symbol != "H"]
        super().__init__(("H", *heavy) if hydrogens else heavy, charges, val, test)
        self.files, self.root, self.workers = tuple(files), root, workers
        self.settings: dict[str, Any] = {
            "most_heavy": most_heavy,
            "hydrogens": hydrogens,
            "elements": heavy,
            "salts": salts,
            "conformers": conformers,
            "optimise": optimise,
            "seed": seed,
            "seconds": 30,
        }

    def prepare(self) -> Prepared:
        """The molecules of all files."""
        if not self.files:
            raise DataError("molecules needs files; give files: [mine.csv]")
        return joined([self._prepared(find_smiles(name, self.root)) for name in self.files])

    def _prepared(self, file: Path) -> Prepared:
        import rdkit

        rows = read_smiles(file)
        told = {**self.settings, "charges": self.charges, "rdkit": rdkit.__version__}
        mark = fingerprint("\n".join(rows).encode(), told)
        kept = prepared(f"molecules-{mark}", lambda: self._make(rows))
        report(kept.refused, kept.total, str(file))
        return kept

    def _make(self, rows: Sequence[str]) -> Prepared:
        refused: list[Refused] = []
        found: list[tuple[dict[str, Any], Any]] = []
        for i, answer in enumerate(conformers(rows, self.settings, self.workers)):
            reason = answer.get("reason", "")
            if not reason and any(charge not in self.charges for charge in answer["charges"]):
                reason = "a charge that is not asked for"
            if reason:
                refused.append(Refused(i + 1, rows[i][:80], reason))
            else:
                found.extend((answer, pos) for pos in answer["pos"])
        return packed(found, self.elements, self.charges, refused, len(rows))


def packed(
    found: Sequence[tuple[dict[str, Any], Any]],
    elements: Sequence[str],
    charges: Sequence[int],
    refused: Sequence[Refused],
    total: int,
) -> Prepared:
    """Molecules side by side, each about its own centre.

    Args:
        found: ``numbers``, ``charges`` and ``key`` of molecules, each with positions.
        elements: symbols, in the order of ids.
        charges: in the order of ids.
        refused: what was left out.
        total: rows read.
    """
    points = [torch.tensor(pos, dtype=torch.float32).reshape(-1, 3) for _, pos in found]
    numbers = [elements.index(SYMBOLS[z - 1]) for one, _ in found for z in one["numbers"]]
    told = [list(charges).index(c) for one, _ in found for c in one["charges"]]
    return Prepared(
        ragged={
            "pos": torch.cat([p - p.mean(0) for p in points]) if points else torch.zeros(0, 3),
            "types": torch.tensor(numbers, dtype=torch.int64),
            "charges": torch.tensor(told, dtype=torch.int64),
        },
        fixed={},
        sizes=torch.tensor([len(p) for p in points], dtype=torch.int64),
        keys=tuple(one["key"] for one, _ in found),
        refused=tuple(refused),
        total=total,
    )


def find_smiles(name: str, root: Path | None = None) -> Path:
    """The file of a path, of a name in the folder ``molecules`` of ``root`` or ``$FLOWLOOM_DATA``, or here.

    ``small.csv`` ships with the plugin: 70 common molecules of at most 7 heavy atoms.

    Raises:
        DataError: there is none.
    """
    own, places = Path(name).expanduser(), folders(root, ("molecules", ""))
    found = own if own.is_file() else find([*places, Path(__file__).parent], [name])
    if found is None:
        raise DataError(f"there is no file {name}, here or in {places[0]}; set FLOWLOOM_DATA, or give a path")
    return found


def read_smiles(file: Path) -> list[str]:
    """The column ``smiles`` of a CSV file, whatever case its name is in.

    Raises:
        DataError: it cannot be read, or has no such column.
    """
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            there = [name.strip().lower() for name in rows.fieldnames or ()]
            names = dict(zip(there, rows.fieldnames or (), strict=True))
            if there.count("smiles") > 1:
                raise DataError(f"{file}: column 'smiles' is there twice, in whatever case")
            if "smiles" not in names:
                raise DataError(f"{file} has no column 'smiles'; it has: {', '.join(names) or 'nothing'}")
            return [(row[names["smiles"]] or "").strip() for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is no CSV in UTF-8: {error}") from error
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error
