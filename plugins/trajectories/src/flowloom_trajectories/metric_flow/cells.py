"""Reading cells and the times at which they were seen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix
from torch import Tensor

from flowloom.data.arrays import read_arrays
from flowloom.errors import DataError

__all__ = ["read_cells"]

_PLAIN = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
_WITHIN = re.compile(r"((?:[^0-9]*[^0-9.])?)([0-9]+(?:\.[0-9]+)?)((?:[^0-9.][^0-9]*)?)")


def read_cells(file: Path, time: str, of: str = "X_pca") -> tuple[Tensor, Tensor]:
    """Coordinates ``(cells, d)`` float32, and times ``(cells,)`` float64, of a table or an AnnData file.

    Args:
        file: CSV with a header or an archive of arrays of equal length, all of which but the time are
            coordinates; or ``.h5ad`` (needs h5py, ``pip install 'flowloom-trajectories[cells]'``).
        time: the column; of an AnnData file, of its ``obs``. Words stand for their place in order, or for the
            one number in each (``day 4``, ``day4``), where all have one.
        of: of an AnnData file, the entry of its ``obsm``, or ``X``.

    Raises:
        DataError: the file has no such column, or coordinates of another length, or something not finite.
    """
    if file.suffix.lower() == ".h5ad":
        cells, when = _annotated(file, time, of)
    else:
        arrays = read_arrays(file)
        if time not in arrays:
            raise DataError(f"{file} has no column '{time}'; it has: {', '.join(arrays)}")
        column = arrays.pop(time)
        when = column.values.double().reshape(-1)
        if column.names:
            when = _numbers(column.names)[column.values]
        for name, array in arrays.items():
            if array.names:
                raise DataError(
                    f"{file}: column '{name}' holds words such as {array.names[0]!r}; all but '{time}' are "
                    "coordinates, so leave it out"
                )
        parts = [one.values.float().reshape(len(one.values), -1) for one in arrays.values()]
        if not parts or any(len(part) != len(when) for part in parts):
            raise DataError(f"{file}: beside '{time}' stand coordinates, as many rows of each")
        cells = torch.cat(parts, 1)
    fine = cells.isfinite().all(1) & when.isfinite()
    if not bool(fine.all()):
        raise DataError(f"{file}: row {int(fine.long().argmin()) + 1} holds something that is not finite")
    return cells, when


def _annotated(file: Path, time: str, of: str) -> tuple[Tensor, Tensor]:
    """What AnnData keeps on disk is HDF5: columns of ``obs``, entries of ``obsm``, ``X`` full or sparse."""
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            f"{file}: AnnData files need h5py; pip install 'flowloom-trajectories[cells]'"
        ) from error
    if not file.is_file():
        raise DataError(f"there is no file {file}")
    try:
        with h5py.File(file, "r") as table:
            obs = table.get("obs", {})
            index = getattr(obs, "attrs", {}).get("_index", "_index")
            columns = [name for name in obs if name != index]
            if time not in columns:
                raise DataError(
                    f"{file} has no column '{time}' in obs; it has: {', '.join(columns) or 'none'}"
                )
            held = table.get("X") if of == "X" else table.get("obsm", {}).get(of)
            if held is None:
                raise DataError(
                    f"{file} has no '{of}' in obsm; it has: {', '.join([*table.get('obsm', {}), 'X'])}"
                )
            return torch.from_numpy(_matrix(held)), _times(obs[time])
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"cannot read {file} as AnnData: {error}") from error


def _matrix(held: Any) -> NDArray[np.float32]:
    if hasattr(held, "shape"):
        return np.ascontiguousarray(held[()], dtype=np.float32)
    parts = tuple(held[name][()] for name in ("data", "indices", "indptr"))
    form = csc_matrix if held.attrs.get("encoding-type") == "csc_matrix" else csr_matrix
    full: NDArray[np.float32] = form(parts, shape=tuple(held.attrs["shape"])).toarray().astype(np.float32)
    return full


def _times(column: Any) -> Tensor:
    """Numbers, words, or categories (codes and what they stand for)."""
    if hasattr(column, "shape"):
        words, places = np.unique(column[()], return_inverse=True)
    elif "codes" in column:
        words, places = column["categories"][()], column["codes"][()]
        if (places < 0).any():
            raise ValueError(f"cell {int((places < 0).argmax()) + 1} has no time")
    else:
        words, places = np.unique(column["values"][()], return_inverse=True)
        if column["mask"][()].any():
            raise ValueError(f"cell {int(column['mask'][()].argmax()) + 1} has no time")
    if words.dtype.kind in "fiu":
        values = torch.from_numpy(words.astype(np.float64))
    else:
        values = _numbers(tuple(w.decode() if isinstance(w, bytes) else str(w) for w in words))
    return values[torch.from_numpy(places.astype(np.int64))]


def _numbers(words: tuple[str, ...]) -> Tensor:
    """What words say of time, float64: the number in each where all have another one, else their place."""
    alike = [_WITHIN.fullmatch(word) for word in words]
    # Numbers within words are times where the rest of all words is the same.
    if len({one and (one[1], one[3]) for one in alike}) == 1 and all(alike):
        within = [float(one[2]) for one in alike if one]
        if len(set(within)) == len(words):
            return torch.tensor(within, dtype=torch.float64)
    found = [
        [float(bit) for bit in word.replace("_", " ").split() if _PLAIN.fullmatch(bit)] for word in words
    ]
    told = [bits[0] for bits in found if len(bits) == 1]
    if len(set(told)) == len(words):
        return torch.tensor(told, dtype=torch.float64)
    return torch.arange(len(words), dtype=torch.float64)
