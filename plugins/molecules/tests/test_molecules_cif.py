"""Crystals are read as they are, whatever a CIF says them in, and what cannot be used is named."""

import warnings

import numpy as np
import pytest
import torch

from flowloom.errors import DataError
from flowloom_molecules.data import cif as reading
from flowloom_molecules.data.crystals import Crystals
from flowloom_molecules.data.refused import Refusal


def test_a_skew_cell_is_reduced_and_keeps_its_distances():
    structure = pytest.importorskip("pymatgen.core")
    rng = np.random.default_rng(0)
    for _ in range(5):
        lattice = structure.Lattice.from_parameters(*rng.uniform(4, 8, 3), 50, 65, 70)
        one = structure.Structure(lattice, ["C", "O", "Na"], rng.random((3, 3)))
        try:
            read = reading.read(one.to(fmt="cif"))
        except Refusal:  # atoms that came to lie on each other
            continue
        cell = structure.Lattice.from_parameters(*read.lengths, *read.angles)
        other = structure.Structure(cell, read.numbers, read.frac)
        ours, theirs = (np.sort(s.distance_matrix.ravel()) for s in (other, one))
        assert np.allclose(ours, theirs, atol=1e-5)
        assert read.angles.min() > 60 - 1e-6
        assert read.angles.max() < 120 + 1e-6
        assert abs(cell.volume - one.volume) < 1e-5


def test_atoms_overlap_however_skew_their_cell_is(cif):
    """Of a cube of 4 angstrom in other words; the two atoms are 0.3 angstrom apart, four cells away."""
    rows = 4.0 * np.array([[-15, 0, 4], [-8, 1, 0], [-4, 0, 1]])
    lengths = np.linalg.norm(rows, axis=1)
    a, b, c = rows / lengths[:, None]
    angles = np.degrees(np.arccos([b @ c, a @ c, a @ b]))
    frac = ((0.2876186, 0.93507242, 0.66537916), (0.66357596, 0.860414, 0.15452415))
    with pytest.raises(Refusal, match="overlapping atoms"):
        reading.read(cif(["Ca", "O"], frac, lengths, angles))


@pytest.mark.parametrize(
    ("line", "other", "reason"),
    [
        ("_cell_length_a   4.0", "_cell_length_a ?", "not told"),
        ("_cell_angle_beta   90.0", "", "not told"),
        ("_cell_length_a   4.0", "_cell_length_a 1e39", "not told"),
        (" _atom_site_fract_y", " _atom_site_Cartn_y", "no fractional coordinates"),
        ("_symmetry_equiv_pos_as_xyz\n  1  'x, y, z'", "_other\n 1 2", "an unknown space group"),
    ],
)
def test_a_cell_or_group_that_is_not_told_is_not_made_up(line, other, reason, cif):
    text = cif(["Na"], [(0, 0, 0)]).replace("'P 1'", "'Q 7 7'" if "group" in reason else "'P 1'")
    assert line in text
    with pytest.raises(Refusal, match=reason):
        reading.read(text.replace(line, other))
    assert len(reading.read(text.replace("4.0\n", "4.0(3)\n")).numbers) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("not a cif at all", "CIF"),
        ("data_x\n_cell_length_a 3\n", "without atoms"),
        ({"lengths": (0.0, 4.0, 4.0)}, "without volume"),
        ({"angles": (90.0, 90.0, 180.0)}, "without volume"),
        ({"angles": (20.0, 90.0, 160.0)}, "without volume"),
        ({"angles": (-90.0, 90.0, 90.0)}, "without volume"),
        ({"angles": (90.0, 270.0, 90.0)}, "without volume"),
        ({"angles": (90.0, 90.0, 450.0)}, "without volume"),
        ({"species": ["Na", "Cl"], "frac": [(0, 0, 0), (0.01, 0, 0)]}, "overlapping"),
        ({"species": ["Na", "Cl"], "frac": [(0.99, 0, 0), (0.01, 0, 0)]}, "overlapping"),
        ({"lengths": (0.3, 4.0, 4.0)}, "overlapping"),
        ({"species": ["Qq"]}, "unknown element"),
        ({"occupancy": [0.5]}, "occupied"),
        ({"species": ["C"] * 5, "frac": [(i / 5, i / 5, i / 5) for i in range(5)]}, "more than 4 atoms"),
    ],
)
def test_what_cannot_be_used_says_why(text, reason, cif):
    if isinstance(text, dict):
        text = cif(**{"species": ["Na"], "frac": [(0, 0, 0)], **text})
    with pytest.raises(Refusal, match=reason):
        reading.read(text, most=4)


def test_rows_that_are_left_out_are_named_and_counted(tmp_path, cif, write_csv):
    good = cif(["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)])
    flat = cif(["Na"], [(0, 0, 0)], lengths=(0.0, 4.0, 4.0))
    rows = [("a", good), ("b", flat), ("c", good), ("d", "rubbish"), ("e", flat), ("f", "")]
    file = write_csv(tmp_path / "some.csv", ("material_id", "cif"), rows)
    data = Crystals(str(file), val=0, test=0)
    with pytest.warns(UserWarning, match=r"4 of 6 rows .*: a cell without volume: 2 \(rows 2, 5\)") as told:
        assert len(data) == 2
    assert "row 4" in str(told[0].message)
    assert "6)" in str(told[0].message)


def test_an_empty_file_and_one_without_the_column_are_told_in_one_line(tmp_path, write_csv):
    empty = write_csv(tmp_path / "empty.csv", ("cif",), [])
    with pytest.raises(DataError, match="none of 0 rows"):
        len(Crystals(str(empty)))
    other = write_csv(tmp_path / "other.csv", ("structure",), [("x",)])
    with pytest.raises(DataError, match="no column 'cif'; it has: structure"):
        len(Crystals(str(other)))
    twice = write_csv(tmp_path / "twice.csv", ("cif", "cif"), [("x", "y")])
    with pytest.raises(DataError, match="column 'cif' is there twice"):
        len(Crystals(str(twice)))
    with pytest.raises(DataError, match="name is that of the files, or a path"):
        Crystals("")
    bad = write_csv(tmp_path / "bad.csv", ("cif",), [("rubbish",)] * 3)
    with pytest.raises(DataError, match=r"none of 3 rows can be used: .*: 3 \(rows 1, 2, 3\)"):
        len(Crystals(str(bad)))
    with pytest.raises(DataError, match=r"no nowhere_train\.csv"):
        len(Crystals("nowhere", root=tmp_path))


def test_ragged_cells_are_padded_and_splits_hold_together(crystals_csv):
    data = Crystals("cells", root=crystals_csv.parent)
    assert data.spec.event_shape() == {"frac": (5, 3), "lengths": (3,), "angles": (3,), "types": (5,)}
    examples = data.all()
    sizes = examples.cond["atoms"].sum(1)
    assert set(sizes.tolist()) == {2, 5}
    assert len(data) + len(data.split("val")) + len(data.split("test")) == 60
    assert not bool(examples.x["frac"][~examples.cond["atoms"]].any())
    again = Crystals("cells", root=crystals_csv.parent).all()
    assert torch.equal(again.x["frac"], examples.x["frac"])


def test_a_split_of_its_own_file_is_that_file(crystals_csv):
    (crystals_csv.parent / "cells_test.csv").write_text(crystals_csv.read_text())
    data = Crystals("cells", root=crystals_csv.parent)
    assert len(data.split("test")) == 60
    assert len(data) + len(data.split("val")) == 60


def test_a_file_that_is_the_test_split_alone_gives_the_others_too(crystals_csv):
    crystals_csv.rename(crystals_csv.parent / "cells_test.csv")
    data = Crystals("cells", root=crystals_csv.parent)
    counts = [len(data), len(data.split("val")), len(data.split("test"))]
    assert sum(counts) == 60
    assert counts[0] > counts[2] > 0


def test_a_folder_of_files_is_data_too(tmp_path, cif):
    folder = tmp_path / "cifs"
    folder.mkdir()
    for i in range(4):
        (folder / f"{i}.cif").write_text(cif(["C", "C"], [(0, 0, 0), (0.25, 0.25, 0.3 + i / 50)]))
    assert len(Crystals(str(folder), val=0, test=0)) == 4
    assert len(Crystals(str(folder / "0.cif"), val=0, test=0)) == 1


def test_a_mark_of_the_byte_order_capitals_and_folders_cost_no_crystal(tmp_path, cif):
    """Windows editors write the mark, its file names have capitals, and a folder may be named as a file."""
    salt = cif(["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)])
    (tmp_path / "all" / "a.cif").mkdir(parents=True)
    for name in ("one.cif", "TWO.CIF", "Three.Cif"):
        (tmp_path / "all" / name).write_text(salt, encoding="utf-8-sig")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (tmp_path / "all" / "._one.cif").write_bytes(b"\x00\x05\x16\x07")  # of a Mac
        assert len(Crystals(str(tmp_path / "all"), val=0, test=0)) == 3
        assert len(Crystals(str(tmp_path / "all" / "TWO.CIF"), val=0, test=0)) == 1
