"""States of cells as pymatgen structures, the extra that the judges of crystals need."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from flowloom.data import Examples
from flowloom.errors import MissingDependencyError
from flowloom_molecules.data.cells import are_cells
from flowloom_molecules.elements import SYMBOLS


def pymatgen() -> Any:
    """The package.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import pymatgen.core
    except ImportError as error:
        raise MissingDependencyError(
            "crystals are judged by pymatgen; pip install 'flowloom-molecules[crystals]'"
        ) from error
    return pymatgen.core


def structures(examples: Examples) -> list[Any]:
    """One pymatgen ``Structure`` a row, None where lengths and angles make no cell."""
    core = pymatgen()
    x: Any = examples.x
    real = examples.cond.get("atoms")
    frac, types = x["frac"].cpu().double(), x["types"].cpu()
    there = torch.ones(types.shape, dtype=torch.bool) if real is None else real.cpu()
    lengths, angles = x["lengths"].cpu().double(), x["angles"].cpu().double()
    return [_structure(core, *row) for row in zip(frac, types, lengths, angles, there, strict=True)]


def _structure(core: Any, frac: Tensor, types: Tensor, lengths: Tensor, angles: Tensor, real: Tensor) -> Any:
    if not bool(are_cells(lengths, angles)) or not bool(frac[real].isfinite().all()):
        return None
    if float(lengths.min()) <= 0.1 or float(lengths.max()) > 1000:
        return None
    species = [SYMBOLS[int(z)] if 0 <= int(z) < len(SYMBOLS) else None for z in types[real]]
    if None in species or not species:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            lattice = core.Lattice.from_parameters(*lengths.tolist(), *angles.tolist())
            if not lattice.volume > 0.1:
                return None
            return core.Structure(lattice, species, frac[real].numpy(), to_unit_cell=True)
        except ValueError:
            return None
