"""Peptides as geometry and as data: atoms from frames and back, files read row by row, the generated law."""

import gzip
import math
import warnings

import gemmi
import pytest
import torch

from flowloom.errors import DataError
from flowloom.testing import check
from flowloom_molecules.peptides.atoms import (
    backbone,
    beta_direction,
    dihedral,
    frames,
    grown,
    heavy_atoms,
    phi_psi,
    torsions_of,
)
from flowloom_molecules.peptides.files import PeptideFiles
from flowloom_molecules.peptides.generated import PARTNERS, REACH, GeneratedPeptides
from flowloom_molecules.peptides.pdb import pdb_text, sequence
from flowloom_molecules.peptides.residues import (
    LETTERS,
    NAMES,
    folded,
    has_torsion,
    symmetric,
)

ALL = torch.arange(20)


@pytest.fixture(scope="module")
def rows():
    return GeneratedPeptides(40, longest=7).take(torch.arange(40))


def test_the_law_of_generated_peptides_is_a_data_set():
    assert [r.message for r in check(GeneratedPeptides(20)) if not r.ok] == []


def test_a_helix_has_the_rise_of_a_helix_and_its_angles_come_back():
    phi, psi = (torch.full((1, 9), math.radians(d), dtype=torch.float64) for d in (-57.0, -47.0))
    n, ca, c = grown(phi, psi).unbind(-2)
    rot = frames(n, ca, c)
    assert torch.allclose(backbone(ca, rot), torch.stack([n, ca, c], -2), atol=1e-12)
    back = phi_psi(ca, rot)
    assert torch.allclose(back[0], phi[:, 1:])
    assert torch.allclose(back[1], psi[:, :-1])
    # Pauling's helix: 3.6 residues a turn of 5.4 angstrom, so 1.5 angstrom a residue.
    rise = (ca[0, 8] - ca[0, 4] + ca[0, 7] - ca[0, 3] + ca[0, 6] - ca[0, 2]).norm() / 12
    assert abs(float(rise) - 1.5) < 0.1
    assert abs(float((ca[0, 1:] - ca[0, :-1]).norm(dim=-1).mean()) - 3.8) < 0.03  # trans


@pytest.mark.parametrize("kind", range(20), ids=NAMES)
def test_side_chains_have_the_atoms_bonds_and_mirror_images_of_chemistry(kind, draws):
    """Beside RDKit: its atoms; and, perceived from the places alone, its bonds and its stereocentres."""
    from rdkit import Chem

    angles = torch.rand(5, generator=draws, dtype=torch.float64) * 2 * math.pi
    if NAMES[kind] == "PRO":
        angles = torch.deg2rad(torch.tensor([120.0, 27.0, -37.0, 0, 0], dtype=torch.float64))
    phi = torch.full((1, 2), -1.2, dtype=torch.float64)
    n, ca, c = grown(phi, phi).unbind(-2)
    atoms = heavy_atoms(ca[0, 1], frames(n, ca, c)[0, 1], angles, kind)
    found = torsions_of(atoms, kind)
    turned = (found - angles + math.pi).remainder(2 * math.pi) - math.pi
    assert float(turned[has_torsion(torch.tensor(kind))].abs().max()) < 1e-9
    wanted = Chem.MolFromSequence(LETTERS[kind])
    assert set(atoms) == {a.GetPDBResidueInfo().GetName().strip() for a in wanted.GetAtoms()} - {"OXT"}
    names = list(atoms)
    pairs = {
        frozenset((a, b))
        for i, a in enumerate(names)
        for b in names[:i]
        if float((atoms[a] - atoms[b]).norm()) < (1.95 if {a[0], b[0]} & {"S"} else 1.7)
    }
    lines = [
        f"ATOM  {i + 1:5d}  {name:<3s} {NAMES[kind]} A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          "
        f"{name[0]:>2s}"
        for i, (name, (x, y, z)) in enumerate((k, v.tolist()) for k, v in atoms.items())
    ]
    mol = Chem.MolFromPDBBlock("\n".join([*lines, "END"]), sanitize=True)
    told = [a.GetPDBResidueInfo().GetName().strip() for a in mol.GetAtoms()]
    assert pairs == {frozenset((told[b.GetBeginAtomIdx()], told[b.GetEndAtomIdx()])) for b in mol.GetBonds()}
    Chem.AssignStereochemistryFrom3D(mol)
    centres = {told[i]: mark for i, mark in Chem.FindMolChiralCenters(mol)}
    # L-cysteine is R by name, for sulphur comes before oxygen.
    assert centres.get("CA") == {"GLY": None, "CYS": "R"}.get(NAMES[kind], "S")
    assert centres.get("CB") == {"ILE": "S", "THR": "R"}.get(NAMES[kind])


def test_half_turns_that_look_alike_are_one_and_absent_torsions_are_0():
    angles = torch.full((20, 5), 4.0)
    once, twice = folded(angles, ALL), folded(angles + math.pi, ALL)
    alike = symmetric(ALL)
    assert torch.allclose(once[alike], twice[alike], atol=1e-5)
    assert bool((once != twice)[has_torsion(ALL) & ~alike].all())
    assert bool((once[~has_torsion(ALL)] == 0).all())
    chis = dict(zip(LETTERS, [0, 4, 2, 2, 1, 3, 3, 0, 2, 2, 2, 4, 3, 2, 2, 1, 1, 2, 2, 1], strict=True))
    # What was asked of one type belongs to whoever asked.
    has_torsion(torch.tensor(7)).zero_()
    symmetric(torch.tensor(13)).zero_()
    assert (has_torsion(ALL).sum(1) - 1).tolist() == list(chis.values())
    assert [NAMES[i] for i in symmetric(ALL).any(1).nonzero()[:, 0]] == ["ASP", "GLU", "PHE", "TYR"]


def test_a_dihedral_has_the_sign_of_the_convention():
    a, b, c = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 1]]).unbind(0)
    # Looked at along the bond, clockwise is positive.
    assert float(dihedral(a, b, c, torch.tensor([0.0, 1, 1]))) == pytest.approx(math.pi / 2)


def test_generated_peptides_are_bonded_centred_and_face_their_pockets(rows):
    x, real = rows.x, rows.cond["residues"]
    atoms = backbone(x["pos"], x["rot"])
    both = real[:, 1:] & real[:, :-1]
    assert torch.allclose(
        (atoms[:, 1:, 0] - atoms[:, :-1, 2]).norm(dim=-1)[both], torch.tensor(1.329), atol=1e-3
    )
    assert float((x["pos"] * real[..., None]).sum(1).abs().max()) < 1e-3
    # psi is what the next frame says, and what does not exist is 0.
    inner = both & real[:, 1:]
    way = (phi_psi(x["pos"], x["rot"])[1] - x["angles"][:, :-1, 0])[inner]
    assert float(way.sin().abs().max()) < 1e-3
    assert bool((x["angles"][~has_torsion(x["types"])] == 0).all())
    ahead = x["pos"] + REACH * beta_direction(x["rot"])
    near = torch.cdist(rows.cond["pocket_pos"], ahead).masked_fill(~real[:, None], math.inf).argmin(2)
    faced = x["types"].gather(1, near)
    assert float(PARTNERS[faced, rows.cond["pocket_types"]].double().mean()) > 0.95


def written(rows, folder, count=6):
    for i in range(count):
        (folder / f"p{i}.pdb").write_text(pdb_text(rows, i))
    return folder


def read(folder, **settings):
    settings = {"shortest": 3, "longest": 8, "val": 0.0, "test": 0.0, **settings}
    return PeptideFiles([str(folder)], **settings)


def test_what_is_written_is_read_again_from_pdb_and_mmcif(rows, tmp_path):
    written(rows, tmp_path, 3)
    one = gemmi.read_structure(str(tmp_path / "p0.pdb"))
    one.setup_entities()
    one.assign_label_seq_id()
    one.make_mmcif_document().write_file(str(tmp_path / "p0.cif"))
    data = read(tmp_path, pocket=4)
    with pytest.warns(UserWarning, match="missing residues"):  # a pocket is no chain
        found = data.take(torch.arange(4))
    assert sorted(data.prepared.keys) == sorted([sequence(rows, 0), *(sequence(rows, i) for i in range(3))])
    for i in range(3):
        j = data.prepared.keys.index(sequence(rows, i))
        for part, off in {"pos": 2e-3, "rot": 2e-3, "angles": 5e-3, "types": 0}.items():
            n = rows.x[part].shape[1]
            assert float((found.x[part][j, :n] - rows.x[part][i]).abs().max()) <= off
        told, wanted = (c["pocket_types"] for c in (found.cond, rows.cond))
        assert sorted(told[j].tolist()) == sorted(wanted[i].tolist())


def test_a_mark_of_the_byte_order_costs_no_atom_and_a_folder_is_no_file(rows, tmp_path):
    """Windows editors write it; the file begins with an atom, which gemmi would lose with its line."""
    own = changed(pdb_text(rows, 0), keep=lambda line: line.startswith(("ATOM", "END")))
    assert own.startswith("ATOM")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "p.pdb").write_text(own)
    one = gemmi.read_structure(str(tmp_path / "plain" / "p.pdb"))
    one.setup_entities()
    one.assign_label_seq_id()
    (tmp_path / "marked" / "a.pdb").mkdir(parents=True)
    (tmp_path / "marked" / "P.PDB").write_text(own, encoding="utf-8-sig")
    (tmp_path / "marked" / "._P.PDB").write_bytes(b"\x00\x05\x16\x07")  # of a Mac
    cif = one.make_mmcif_document().as_string()
    (tmp_path / "marked" / "P.CIF").write_text(cif, encoding="utf-8-sig")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data, wanted = read(tmp_path / "marked"), read(tmp_path / "plain").all()
        assert data.prepared.total == len(data) == 2
        for i in range(2):
            found = data.take(torch.tensor([i]))
            assert torch.equal(found.x["types"], wanted.x["types"])
            assert torch.allclose(found.x["pos"], wanted.x["pos"], atol=1e-4)


def changed(text, keep=lambda line: True, edit=lambda line: line):
    return "\n".join(edit(line) for line in text.splitlines() if line[21:22] != "B" and keep(line)) + "\n"


def test_chains_that_cannot_be_used_are_told_row_by_row(rows, tmp_path):
    i = next(i for i in range(40) if set(sequence(rows, i)) - set("AG") and len(sequence(rows, i)) > 5)
    text = pdb_text(rows, i)
    third = lambda line: line[22:26] == "   3"  # noqa: E731
    bad = {
        "gap": changed(text, keep=lambda line: not third(line)),
        "unknown": changed(text, edit=lambda line: line[:17] + "SEP" + line[20:] if third(line) else line),
        "backbone": changed(text, keep=lambda line: not (third(line) and line[12:16] == " CA ")),
        "good": changed(text),
    }
    side = sequence(rows, i).index(next(s for s in sequence(rows, i) if s not in "AG")) + 1
    bad["side"] = changed(text, keep=lambda line: not (line[22:26] == f"{side:4d}" and line[13:15] == "CB"))
    twice = [line[:16] + "A" + line[17:] for line in text.splitlines() if third(line) and line[21] == "A"]
    other = [line[:16] + "B" + line[17:56] + "0.20" + line[60:] for line in text.splitlines() if third(line)]
    head = [line for line in text.splitlines() if line[21:22] == "A" and int(line[22:26]) < 3]
    tail = [line for line in text.splitlines() if line[21:22] == "A" and int(line[22:26]) > 3]
    mixed = [*head, *twice, *(line for line in other if line[21] == "A"), *tail]
    bad["alternate"] = "\n".join([*mixed, "END", ""])
    for name, content in bad.items():
        (tmp_path / f"{name}.pdb").write_text(content)
    (tmp_path / "broken.cif").write_text("data_x\nloop_\n_a\n'")
    data = read(tmp_path, alternates="refuse")
    with pytest.warns(UserWarning, match="6 of 7 rows are left out"):
        assert len(data) == 1
    reasons = {one.row: one.reason for one in data.prepared.refused}
    assert reasons["gap.pdb:A"].startswith("missing residues")
    assert reasons["unknown.pdb:A"] == "an unknown residue (SEP)"
    assert reasons["backbone.pdb:A"] == "missing backbone atoms"
    assert reasons["side.pdb:A"] == "missing side-chain atoms"
    assert reasons["alternate.pdb:A"] == "alternate locations"
    assert reasons["broken.cif"].startswith("unreadable")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(read(tmp_path)) == 2  # the most occupied place is taken
        with pytest.raises(DataError, match="none of 7 rows can be used: longer than 4 residues"):
            len(read(tmp_path, longest=4))
        with pytest.raises(DataError, match="shorter than 12 residues"):
            len(read(tmp_path, shortest=12, longest=14))


def test_atoms_that_say_no_frame_are_told_and_an_empty_cif_is_a_row_too(rows, tmp_path):
    text = pdb_text(rows, 0)
    at = {line[12:16].strip(): line for line in text.splitlines() if line[21:26] == "A   2"}
    ca, c = ([float(at[name][i : i + 8]) for i in (30, 38, 46)] for name in ("CA", "C"))
    on_a_line = "".join(f"{2 * b - a:8.3f}" for a, b in zip(c, ca, strict=True))

    def moved(name, to):
        return changed(text, edit=lambda line: line[:30] + to + line[54:] if line == at[name] else line)

    bad = {
        "overlap": moved("N", at["CA"][30:54]),
        "line": moved("N", on_a_line),
        "nan": moved("C", "     nan" * 3),
    }
    for name, content in bad.items():
        (tmp_path / f"{name}.pdb").write_text(content)
    (tmp_path / "empty.cif").write_text("")
    (tmp_path / "good.pdb").write_text(changed(text))
    data = read(tmp_path)
    with pytest.warns(UserWarning, match="4 of 5 rows are left out"):
        assert len(data) == 1
    reasons = {one.row: one.reason for one in data.prepared.refused}
    assert reasons["overlap.pdb:A"] == "overlapping atoms"
    assert reasons["line.pdb:A"] == "backbone atoms on a line"
    assert reasons["nan.pdb:A"] == "coordinates that are no numbers"
    assert reasons["empty.cif"].startswith("unreadable")


def test_of_a_residue_in_two_places_one_is_taken_and_not_atoms_of_both(rows, tmp_path):
    """The second place has more of CA alone, as refined occupancies may; it is 1.5 angstrom off."""

    def two(line):
        if line[21:26] != "A   2":
            return [line]
        share = 0.45 if line[12:16].strip() == "CA" else 0.6
        other = f"{float(line[30:38]) + 1.5:8.3f}"
        return [
            f"{line[:16]}A{line[17:54]}{share:6.2f}{line[60:]}",
            f"{line[:16]}B{line[17:30]}{other}{line[38:54]}{1 - share:6.2f}{line[60:]}",
        ]

    plain = changed(pdb_text(rows, 0))
    for name, content in {
        "plain": plain,
        "two": "\n".join(x for ln in plain.splitlines() for x in two(ln)),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "p.pdb").write_text(content)
    found, wanted = (read(tmp_path / name).all() for name in ("two", "plain"))
    assert torch.allclose(found.x["pos"], wanted.x["pos"], atol=1e-4)
    assert torch.allclose(found.x["rot"], wanted.x["rot"], atol=1e-4)


def test_folders_of_peptide_and_receptor_are_complexes(rows, tmp_path):
    """As in PepBDB, and in PepMerge with pockets and merged files beside them."""
    for i, other in enumerate(("receptor.pdb", "pocket.pdb", "receptor.pdb.gz")):
        home = tmp_path / f"1ab{i}_A"
        home.mkdir()
        lines = pdb_text(rows, i).splitlines()
        own, rest = (
            "\n".join([*(line for line in lines if line[21:22] == chain), "END", ""]) for chain in "AB"
        )
        (home / "peptide.pdb").write_text(own)
        (home / "pocket_merge.pdb").write_text(pdb_text(rows, i))
        if other.endswith(".gz"):
            (home / other).write_bytes(gzip.compress(rest.encode()))
            (home / "pocket.pdb").write_text("REMARK  never read where there is a receptor\n")
        else:
            (home / other).write_text(rest)
    data = read(tmp_path, pocket=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = data.take(torch.arange(3))
    assert sorted(data.prepared.keys) == sorted(sequence(rows, i) for i in range(3))
    for i in range(3):
        j = data.prepared.keys.index(sequence(rows, i))
        assert sorted(found.cond["pocket_types"][j].tolist()) == sorted(rows.cond["pocket_types"][i].tolist())
    (tmp_path / "1ab0_A" / "receptor.pdb").write_bytes(b"\xff\xfe" * 9)
    (tmp_path / "1ab1_A" / "peptide.pdb").write_text("END\n")
    with pytest.warns(UserWarning, match="left out"):
        names = [one.row for one in read(tmp_path, pocket=4).prepared.refused]
    assert "1ab1_A/peptide.pdb" in names
    with pytest.raises(DataError, match="longer than 3 residues"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        len(read(tmp_path, pocket=4, longest=3))


def test_files_that_are_not_there_cost_one_line(tmp_path):
    with pytest.raises(DataError, match="there is no file or folder nowhere"):
        len(PeptideFiles(["nowhere"], root=tmp_path))
    with pytest.raises(DataError, match=r"holds no files that end on \.pdb"):
        len(PeptideFiles([str(tmp_path)]))
    with pytest.raises(DataError, match="give files"):
        len(PeptideFiles([]))
    with pytest.raises(DataError, match="got shortest 5, longest 4"):
        PeptideFiles(["a"], shortest=5, longest=4)
    with pytest.raises(DataError, match="pocket 9"):
        GeneratedPeptides(pocket=9)
