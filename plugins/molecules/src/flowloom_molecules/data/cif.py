"""Crystals from CIF, by gemmi: one primitive cell each, reduced, or the reason why not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flowloom_molecules.data.cells import are_cells
from flowloom_molecules.data.overlap import CLOSEST
from flowloom_molecules.data.refused import Refusal
from flowloom_molecules.elements import NUMBERS

_CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
_BOUND = 1e6


@dataclass(frozen=True)
class Crystal:
    """One cell.

    Args:
        numbers: atomic numbers, int64 ``(n,)``.
        frac: fractional coordinates in [0, 1), float64 ``(n, 3)``.
        lengths: of the cell in angstrom, ``(3,)``.
        angles: of the cell in degrees, ``(3,)``.
    """

    numbers: NDArray[np.int64]
    frac: NDArray[np.float64]
    lengths: NDArray[np.float64]
    angles: NDArray[np.float64]


def lattice(lengths: NDArray[np.float64], angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cell vectors as rows, ``(3, 3)``, a along x and b in the plane of x and y.

    Raises:
        Refusal: no cell has such angles, or it has no volume.
    """
    if not bool(are_cells(torch.from_numpy(lengths), torch.from_numpy(angles))):
        raise Refusal("a cell without volume")
    a, b, c = (float(v) for v in lengths)
    cos_a, cos_b, cos_g = (math.cos(math.radians(float(v))) for v in angles)
    sin_g = math.sin(math.radians(float(angles[2])))
    square = 1 - cos_a**2 - cos_b**2 - cos_g**2 + 2 * cos_a * cos_b * cos_g
    y = (cos_a - cos_b * cos_g) / sin_g
    return np.array([[a, 0, 0], [b * cos_g, b * sin_g, 0], [c * cos_b, c * y, c * math.sqrt(square) / sin_g]])


def closest(frac: NDArray[np.float64], cell: NDArray[np.float64]) -> float:
    """The shortest distance between two atoms, or an atom and its own image, in angstrom."""
    steps = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    way = frac[:, None] - frac[None]
    way = way - np.round(way)
    apart = np.linalg.norm((way[:, :, None] + steps) @ cell, axis=-1)
    apart[np.arange(len(frac)), np.arange(len(frac)), len(steps) // 2] = math.inf
    return float(apart.min())


def read(text: str, most: int | None = None) -> Crystal:
    """The cell that a CIF describes, every site of it, Niggli-reduced.

    Args:
        text: of the file.
        most: atoms allowed.

    Raises:
        Refusal: it is no CIF, holds no atoms, too many, unknown or partly occupied ones, atoms that overlap,
            or a cell that is not told or without volume, or an unknown space group.
    """
    import gemmi

    try:
        document = gemmi.cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        raise Refusal("unparsable CIF") from error
    structure = None
    for block in document:
        structure = gemmi.make_small_structure_from_block(block)
        if len(structure.sites):
            break
    if structure is None or not len(structure.sites):
        raise Refusal("CIF without atoms")
    # Of a cell that is not said, gemmi makes one of 1 angstrom, and of an unknown group none.
    block = next(one for one in document if one.name == structure.name)
    said = [gemmi.cif.as_number(block.find_value(f"_cell_{name}") or "?") for name in _CELL]
    if not (np.abs(said) < _BOUND).all():
        raise Refusal("a cell that is not told in numbers")
    if not all(block.find_values(f"_atom_site_fract_{axis}") for axis in "xyz"):
        raise Refusal("no fractional coordinates")
    group = structure.spacegroup_hm or structure.spacegroup_hall or structure.spacegroup_number > 1
    if structure.spacegroup is None and group and not structure.symops:
        raise Refusal("an unknown space group")
    unit = structure.cell
    lengths, angles = np.array([unit.a, unit.b, unit.c]), np.array([unit.alpha, unit.beta, unit.gamma])
    lattice(lengths, angles)  # refuses what is no cell
    sites = structure.get_all_unit_cell_sites()
    if most is not None and len(sites) > most:
        raise Refusal(f"more than {most} atoms")
    if any(site.occ < 0.999 for site in sites):
        raise Refusal("partly occupied sites")
    names = [site.element.name for site in sites]
    if any(name not in NUMBERS for name in names):
        raise Refusal("an unknown element")
    frac = np.array([site.fract.tolist() for site in sites])
    if not np.isfinite(frac).all():
        raise Refusal("coordinates that are no numbers")
    # In a skew cell the nearest image may be many cells away; in a reduced one it is next door.
    lengths, angles, frac = _reduced(gemmi, unit, frac % 1.0)
    if closest(frac, lattice(lengths, angles)) < CLOSEST:
        raise Refusal("overlapping atoms")
    return Crystal(np.array([NUMBERS[name] for name in names]), frac % 1.0, lengths, angles)


def _reduced(
    gemmi: Any, unit: Any, frac: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The Niggli cell and coordinates in it."""
    vector = gemmi.GruberVector(unit, "P", True)
    vector.niggli_reduce()
    reduced = vector.get_cell()
    change = vector.change_of_basis.inverse()
    turned = np.array([change.apply_to_xyz(list(point)) for point in frac])
    lengths = np.array([reduced.a, reduced.b, reduced.c])
    return lengths, np.array([reduced.alpha, reduced.beta, reduced.gamma]), turned
