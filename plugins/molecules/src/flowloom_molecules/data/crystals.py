"""Crystals from CIF files, and from CSV files with CIF in a column (perov-5, carbon-24, MP-20)."""

from __future__ import annotations

import copy
import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowloom.data import Dataset, Examples
from flowloom.data.files import fetch, find, folders, is_hidden
from flowloom.errors import DataError
from flowloom.spec import Spec
from flowloom.state import State
from flowloom_molecules.data import cif
from flowloom_molecules.data.cells import spec_of_cells
from flowloom_molecules.data.prepared import Prepared, fingerprint, prepared
from flowloom_molecules.data.refused import Refusal, Refused, report
from flowloom_molecules.data.splits import SPLITS, divide, no_split, require_shares

_HOME = "https://raw.githubusercontent.com/txie-93/cdvae/main/data"
_KNOWN = ("perov_5", "carbon_24", "mp_20")


class Crystals(Dataset):
    r"""Unit cells: fractional coordinates, lattice parameters and elements, padded to the largest cell.

    The state has the parts ``frac`` (``(atoms, 3)``, in [0, 1)), ``lengths`` (``(3,)``, angstrom), ``angles``
    (``(3,)``, degrees, of the Niggli cell) and ``types`` (``(atoms,)``, atomic number minus 1). The condition
    ``atoms`` says which atoms exist. Rows that cannot be used (unparsable, without volume, overlapping atoms,
    partly occupied, too large) are left out with a warning that names and counts them.

    Splits have files of their own, ``NAME_train.csv``, ``NAME_val.csv`` and ``NAME_test.csv`` in the folder
    ``crystals`` of ``$FLOWLOOM_DATA``; where only some are there, the others are cut from that for training,
    or from the largest, by the ids of its rows. perov-5, carbon-24 and MP-20 (Xie et al. 2110.06197) are
    downloaded where none is there.

    Args:
        name: of the files, or the path of one CSV or CIF file, or of a folder of CIF files.
        most_atoms: larger cells are left out; states are padded to so many atoms. The largest cell of all
            splits where None.
        val: share of the validation split, where it has no file.
        test: share of the test split, where it has no file.
        root: folder to search instead of ``$FLOWLOOM_DATA``.
    """

    def __init__(
        self,
        name: str = "perov_5",
        most_atoms: int | None = None,
        val: float = 0.1,
        test: float = 0.1,
        root: Path | None = None,
    ) -> None:
        if most_atoms is not None and most_atoms < 1:
            raise DataError(f"most_atoms must be at least 1, got {most_atoms}")
        if not name:
            raise DataError("name is that of the files, or a path; got ''")
        require_shares(val, test)
        self.name, self.most_atoms, self.val, self.test, self.root = name, most_atoms, val, test, root
        self._split = "train"
        self._splits: dict[str, tuple[Prepared, Tensor]] = {}
        self._atoms = 0

    @property
    def spec(self) -> Spec:
        """The four parts, and ``atoms``."""
        return spec_of_cells(self._load())

    def __len__(self) -> int:
        self._load()
        return len(self._splits[self._split][1])

    def take(self, rows: Tensor) -> Examples:
        """Cells, with zeros where there is no atom."""
        n = self._load()
        kept, mine = self._splits[self._split]
        chosen = mine[rows]
        x: State = {
            "frac": kept.padded("frac", n, chosen),
            "lengths": kept.fixed["lengths"][chosen],
            "angles": kept.fixed["angles"][chosen],
            "types": kept.padded("types", n, chosen),
        }
        return Examples(x, {"atoms": kept.real(n, chosen)})

    def split(self, name: str) -> Dataset:
        """``train``, ``val`` or ``test``.

        Raises:
            DataError: there is no such split, or it is empty.
        """
        self._load()
        if name not in self._splits or len(self._splits[name][1]) == 0:
            raise no_split(self.name, name, {k: len(rows) for k, (_, rows) in self._splits.items()})
        other = copy.copy(self)
        other._split = name
        return other

    def _load(self) -> int:
        if not self._splits:
            files = self._files()
            kept = {name: self._prepared(file) for name, file in files.items()}
            source = "train" if "train" in kept else max(kept, key=lambda name: len(kept[name]))
            # The file named for training, or else the largest, also holds what has no file of its own.
            cut = {"train", source} | {name for name in SPLITS if name not in kept}
            one = kept[source]
            shares = divide(one.keys, self.val * ("val" in cut), self.test * ("test" in cut))
            self._splits = {
                name: (one, shares[name]) if name in cut else (kept[name], torch.arange(len(kept[name])))
                for name in SPLITS
            }
            self._atoms = self.most_atoms or max(int(one.sizes.max()) for one in kept.values())
        return self._atoms

    def _files(self) -> dict[str, Path]:
        own = Path(self.name).expanduser()
        if own.suffix or own.is_dir():
            if not own.exists():
                raise DataError(f"there is no file {own}")
            return {"train": own}
        places = folders(self.root, ("crystals", ""))
        found = {s: file for s in SPLITS if (file := find(places, [f"{self.name}_{s}.csv"])) is not None}
        if not found:
            if self.name not in _KNOWN:
                raise DataError(
                    f"no {self.name}_train.csv, _val.csv or _test.csv in {places[0]}; known to download: "
                    f"{', '.join(_KNOWN)}"
                )
            for s in SPLITS:
                target = places[0] / f"{self.name}_{s}.csv"
                found[s] = fetch([f"{_HOME}/{self.name}/{s}.csv"], None, target)
        return found

    def _prepared(self, file: Path) -> Prepared:
        texts = dict(_texts(file))
        contents = "\0".join(f"{row}\0{key}\0{text}" for row, (key, text) in texts.items()).encode()
        mark = fingerprint(contents, {"crystals": 3, "most": self.most_atoms})
        kept = prepared(f"crystals-{mark}", lambda: _make(texts, self.most_atoms))
        report(kept.refused, kept.total, str(file))
        return kept


def _texts(file: Path) -> Iterator[tuple[int | str, tuple[str, str]]]:
    """``(row, (key, CIF))`` of a folder, a CIF file or a CSV."""
    if file.is_dir():
        for one in sorted(file.iterdir()):
            if one.suffix.lower() == ".cif" and one.is_file() and not is_hidden(one.name):
                yield one.name, (one.stem, _text(one))
        return
    if file.suffix.lower() == ".cif":
        yield file.name, (file.stem, _text(file))
        return
    csv.field_size_limit(2**24)
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            if list(rows.fieldnames or ()).count("cif") > 1:
                raise DataError(f"{file}: column 'cif' is there twice")
            if "cif" not in (rows.fieldnames or ()):
                raise DataError(f"{file} has no column 'cif'; it has: {', '.join(rows.fieldnames or ())}")
            for i, row in enumerate(rows, 1):
                yield i, (row.get("material_id") or str(i), row["cif"] or "")
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is no CSV in UTF-8: {error}") from error
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error


def _text(file: Path) -> str:
    try:
        # Editors put a mark of the byte order in front, which is no CIF.
        return file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error


def _make(texts: Mapping[int | str, tuple[str, str]], most: int | None) -> Prepared:
    found, keys, refused = [], [], []
    for row, (key, text) in texts.items():
        try:
            found.append(cif.read(text, most))
            keys.append(key)
        except Refusal as reason:
            refused.append(Refused(row, key, str(reason)))

    def flat(arrays: list[np.ndarray], width: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        joined = np.concatenate(arrays) if arrays else np.zeros((0, *width))
        return torch.from_numpy(np.ascontiguousarray(joined)).to(dtype)

    return Prepared(
        ragged={
            "frac": flat([c.frac for c in found], (3,), torch.float32) % 1.0,
            "types": flat([c.numbers - 1 for c in found], (), torch.int64),
        },
        fixed={
            "lengths": flat([c.lengths[None] for c in found], (3,), torch.float32),
            "angles": flat([c.angles[None] for c in found], (3,), torch.float32),
        },
        sizes=torch.tensor([len(c.numbers) for c in found], dtype=torch.int64),
        keys=tuple(keys),
        refused=tuple(refused),
        total=len(texts),
    )
