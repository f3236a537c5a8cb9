"""One thread, a cache of the test's own, and small files of molecules and crystals."""

import csv

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FLOWLOOM_DATA", raising=False)


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(0)


def _cif(species, frac, lengths=(4.0, 4.0, 4.0), angles=(90.0, 90.0, 90.0), occupancy=None):
    """A CIF as pymatgen writes them."""
    a, b, c = lengths
    alpha, beta, gamma = angles
    occupancy = occupancy or [1] * len(species)
    sites = "\n".join(
        f"  {s}  {s}{i}  1  {x:.8f}  {y:.8f}  {z:.8f}  {o}"
        for i, (s, (x, y, z), o) in enumerate(zip(species, frac, occupancy, strict=True))
    )
    return f"""data_{"".join(species)}
_symmetry_space_group_name_H-M   'P 1'
_cell_length_a   {a}
_cell_length_b   {b}
_cell_length_c   {c}
_cell_angle_alpha   {alpha}
_cell_angle_beta   {beta}
_cell_angle_gamma   {gamma}
loop_
 _symmetry_equiv_pos_site_id
 _symmetry_equiv_pos_as_xyz
  1  'x, y, z'
loop_
 _atom_site_type_symbol
 _atom_site_label
 _atom_site_symmetry_multiplicity
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
{sites}
"""


_PEROVSKITE = ((0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))


def _write_csv(file, names, rows):
    with open(file, "w", newline="", encoding="utf-8") as out:
        lines = csv.writer(out)
        lines.writerow(names)
        lines.writerows(rows)
    return file


@pytest.fixture
def cif():
    """A CIF of elements at fractional coordinates."""
    return _cif


@pytest.fixture
def write_csv():
    return _write_csv


@pytest.fixture
def crystals_csv(tmp_path):
    """Sixty perovskites and some cells of two atoms."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for i in range(60):
        length = 3.6 + 0.8 * float(torch.rand((), generator=generator))
        if i % 3:
            text = _cif(["Ca", "Ti", "O", "O", "O"], _PEROVSKITE, [length] * 3)
        else:
            text = _cif(["Na", "Cl"], [(0.1, 0.2, 0.3), (0.6, 0.7, 0.8)], [length] * 3)
        rows.append((str(i), text))
    return _write_csv(tmp_path / "cells_train.csv", ("material_id", "cif"), rows)
