"""SMILES by the name of a collection, from where it is at home, or from a file of one's own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flowloom.data.files import data_home, fetch, find, folders
from flowloom.errors import DataError
from flowloom_molecules.data.components import Components
from flowloom_molecules.data.molecules import find_smiles, read_smiles

ZINC = (
    "https://raw.githubusercontent.com/aspuru-guzik-group/chemical_vae/master/models/zinc_properties/"
    "250k_rndm_zinc_drugs_clean_3.csv",
)
"""249,455 molecules of ZINC, as Gomez-Bombarelli et al. (1610.02415) drew them."""


def smiles_of(name: str, root: Path | None = None) -> list[str]:
    """SMILES of a collection or a file, one a molecule.

    Args:
        name: ``nci`` (4,999 molecules that RDKit ships), ``zinc250k`` (downloaded where it is missing),
            ``qm9`` (by torch-geometric's own downloader where it is missing), ``components`` (some 20,000 of
            the PDB, which biotite ships), or a file: CSV with a column ``smiles``, ``.smi`` with a molecule
            first in every line, SDF.
        root: folder to search instead of ``$FLOWLOOM_DATA``.

    Raises:
        DataError: there is no such file, or it cannot be had or read.
    """
    if name in COLLECTIONS:
        return COLLECTIONS[name](root)
    file = find_smiles(name, root)
    if file.suffix.lower() == ".sdf":
        return _of_sdf(file)
    return _of_lines(file) if file.suffix.lower() == ".smi" else read_smiles(file)


def qm9(root: Path | None = None) -> Path:
    """``gdb9.sdf`` of QM9, found, or downloaded by torch-geometric into the folder ``molecules`` of the data.

    Raises:
        DataError: it is not there and cannot be downloaded.
    """
    home = Path(root).expanduser() if root else data_home() / "molecules"
    found = find([*folders(root, ("molecules", "")), home / "raw"], ["gdb9.sdf"])
    if found is not None:
        return found
    from torch_geometric.datasets import QM9

    target = home / "gdb9.sdf"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home, prefix=".qm9.") as folder:
            # The class would also process all molecules into graphs of its own; only its download is wanted.
            asked = QM9.__new__(QM9)
            asked.root = folder
            Path(asked.raw_dir).mkdir()
            asked.download()
            shutil.move(Path(asked.raw_dir) / target.name, target)
    except OSError as error:
        raise DataError(
            f"could not download QM9 ({getattr(error, 'reason', None) or error}); get gdb9.sdf by other "
            f"means and put it into {home}"
        ) from error
    return target


def _nci(root: Path | None) -> list[str]:
    from rdkit import RDConfig

    return _of_lines(Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi")


def _zinc(root: Path | None) -> list[str]:
    home = Path(root).expanduser() if root else data_home() / "molecules"
    file = find(folders(root, ("molecules", "")), ["zinc250k.csv", Path(ZINC[0]).name])
    return read_smiles(file or fetch(ZINC, None, home / "zinc250k.csv"))


COLLECTIONS: Mapping[str, Callable[[Path | None], list[str]]] = {
    "nci": _nci,
    "zinc250k": _zinc,
    "qm9": lambda root: _of_sdf(qm9(root)),
    "components": lambda root: list(Components().prepared.keys),
}
"""Collections that are known by name."""


def _of_lines(file: Path) -> list[str]:
    try:
        # Some marks of the end of a line, in Unicode, stand within names.
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
    words = [line.split()[0] for line in lines if line.strip()]
    return words[1:] if words and words[0].lower() == "smiles" else words


def _of_sdf(file: Path) -> list[str]:
    """An empty word where a record cannot be read, so that rows keep their numbers."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        return ["" if mol is None else str(Chem.MolToSmiles(mol)) for mol in records(file)]


def records(file: Path, hydrogens: bool = False) -> Iterator[Any]:
    """Molecules of an SDF file, None for a record that cannot be read.

    Args:
        file: to read.
        hydrogens: keep those that are written as atoms.

    Raises:
        DataError: the file is empty, or cannot be read.
    """
    from rdkit import Chem

    try:
        if not file.stat().st_size:
            raise DataError(f"{file} is empty")
        yield from Chem.SDMolSupplier(str(file), removeHs=not hydrogens)
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error
