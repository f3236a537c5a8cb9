"""Peptides of PDB and mmCIF files, alone or with the pocket that they lie in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.data.files import files_below, find, folders
from flowloom.errors import DataError, MissingDependencyError
from flowloom.spec import Spec
from flowloom_molecules.data.divided import Divided
from flowloom_molecules.data.prepared import Prepared, fingerprint, prepared
from flowloom_molecules.data.refused import Refused, report
from flowloom_molecules.peptides.chains import Alternates, Limits, peptides_in
from flowloom_molecules.peptides.form import PARTS, examples, peptide_spec

__all__ = ["PeptideFiles"]

_ENDINGS = (".pdb", ".ent", ".cif", ".mmcif")
_PEPTIDE, _RECEPTORS = "peptide.pdb", ("receptor.pdb", "pocket.pdb")
_Pair: TypeAlias = tuple[Path, Path | None]


class PeptideFiles(Divided):
    """Chains of PDB and mmCIF files that are peptides, each about the mean of its CA, kept on disk.

    A folder that holds ``peptide.pdb`` is one complex, as in PepBDB and in PepFlow's own PepMerge: its
    receptor is ``receptor.pdb`` beside it, or ``pocket.pdb`` where there is none, and other files in it are
    left alone.
    Of every file the first model is read. Chains that cannot be used (too long or short, residues missing or
    unknown, backbone or side-chain atoms missing, overlapping or without a place, two residues at one place)
    are left out with a warning that names and counts them, as are files that cannot be read. With a pocket,
    chains longer than ``longest`` are receptors, and residues of all other chains near the peptide are told
    beside it. Peptides of one sequence are never torn apart by the splits.

    Args:
        files: paths of files and folders, or names in the folder ``peptides`` of ``$FLOWLOOM_DATA``.
        shortest: residues.
        longest: residues; states are padded to so many.
        pocket: residues of the receptor at most, the nearest within 10 angstrom; none where 0.
        alternates: of residues in several places, take the most ``occupied``, or ``refuse`` the chain.
        val: share of the validation split.
        test: share of the test split.
        root: folder to search instead of ``$FLOWLOOM_DATA``.

    Raises:
        DataError: there are no such peptides.
    """

    def __init__(
        self,
        files: Sequence[str] = ("pepbdb",),
        shortest: int = 3,
        longest: int = 25,
        pocket: int = 0,
        alternates: Alternates = "occupied",
        val: float = 0.1,
        test: float = 0.1,
        root: Path | None = None,
    ) -> None:
        super().__init__(val, test)
        if not 2 <= shortest <= longest or pocket < 0:
            raise DataError(
                "peptides have 2 residues or more, the longest not less than the shortest, and pockets 0 or "
                f"more; got shortest {shortest}, longest {longest}, pocket {pocket}"
            )
        self.files, self.root = tuple(files), root
        self.limits = Limits(shortest, longest, pocket, alternates)

    @property
    def called(self) -> str:
        """Its name in recipes."""
        return "peptide-files"

    @property
    def spec(self) -> Spec:
        """See `form.peptide_spec`."""
        return peptide_spec(self.limits.longest, self.limits.pocket)

    def take(self, rows: Tensor) -> Examples:
        """Peptides, padded."""
        kept, n, chosen = self.prepared, self.limits.longest, self.own[rows]
        chain = {part: kept.padded(part, n, chosen) for part in PARTS}
        pocket = {part: kept.fixed[part][chosen] for part in PARTS} if self.limits.pocket else None
        return examples(chain, kept.real(n, chosen), pocket)

    def prepare(self) -> Prepared:
        """The peptides of all files."""
        try:
            import gemmi
        except ImportError as error:
            raise MissingDependencyError("peptide-files needs gemmi; pip install gemmi") from error
        del gemmi
        files = list(self._found())
        mark = "\0".join(
            f"{file}\0{file.stat().st_size}\0{file.stat().st_mtime_ns}"
            for pair in files
            for file in pair
            if file is not None
        )
        told = {**vars(self.limits), "peptides": 4, "gemmi": version("gemmi")}
        kept = prepared(f"peptides-{fingerprint(mark.encode(), told)}", lambda: self._made(files))
        report(kept.refused, kept.total, ", ".join(self.files))
        return kept

    def _found(self) -> Iterator[_Pair]:
        """Files of peptides, each with that of its receptor where it has one of its own."""
        if not self.files:
            raise DataError("peptide-files needs files; give files: [mine.pdb, a-folder]")
        for name in self.files:
            own, places = Path(name).expanduser(), folders(self.root, ("peptides", ""))
            there = own if own.exists() else find(places, [name])
            there = there or next((p / name for p in places if (p / name).is_dir()), None)
            if there is None:
                raise DataError(
                    f"there is no file or folder {name}, here or in {places[0]}; set FLOWLOOM_DATA, or give "
                    "a path"
                )
            if not there.is_dir():
                yield there, None
                continue
            inside = [f for f in files_below(there) if f.name.lower().removesuffix(".gz").endswith(_ENDINGS)]
            if not inside:
                raise DataError(f"{there} holds no files that end on {', '.join(_ENDINGS)}, perhaps gzipped")
            yield from _paired(inside)

    def _made(self, files: Sequence[_Pair]) -> Prepared:
        refused: list[Refused] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = [one for file, other in files for one in peptides_in(file, self.limits, refused, other)]
        chains, pockets = [one[1] for one in found], [one[2] for one in found]
        return Prepared(
            ragged={part: torch.cat([c[part] for c in chains]) for part in PARTS} if chains else {},
            fixed={part: torch.stack([p[part] for p in pockets]) for part in PARTS}
            if pockets and self.limits.pocket
            else {},
            sizes=torch.tensor([len(c["types"]) for c in chains], dtype=torch.int64),
            keys=tuple(sequence for sequence, _, _ in found),
            refused=tuple(refused),
            total=len(found) + len(refused),
        )


def _paired(files: Sequence[Path]) -> Iterator[_Pair]:
    """Peptides of complexes with their receptors, and all files of other folders alone."""
    plain = {file: file.name.lower().removesuffix(".gz") for file in files}
    complexes = {file.parent for file in files if plain[file] == _PEPTIDE}
    beside = {(file.parent, plain[file]): file for file in files if file.parent in complexes}
    for file in files:
        if file.parent not in complexes:
            yield file, None
        elif plain[file] == _PEPTIDE:
            yield file, next((beside[file.parent, r] for r in _RECEPTORS if (file.parent, r) in beside), None)
