"""GEOM-Drugs in its published layout: read molecule by molecule, kept on disk, what is left out named."""

import gzip
import sys
import tarfile
import tracemalloc
import warnings

import pytest
import torch

from flowloom.errors import DataError, MissingDependencyError
from flowloom_molecules.data import geom
from flowloom_molecules.data.geom import GeomDrugs
from flowloom_molecules.data.msgpack_stream import entries
from flowloom_registry.cli import main

msgpack = pytest.importorskip("msgpack", reason="the published file is MessagePack")
SMILES = ["CCO", "CCN", "CC=O", "OCCO", "CNC", "COC", "CCF", "CCl"]


def molecule(smiles, conformers=4, seed=7):
    """An entry as the authors write them: energies in hartree, in no order."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rules = rdDistGeom.ETKDGv3()
    rules.randomSeed = seed
    ids = list(rdDistGeom.EmbedMultipleConfs(mol, conformers, rules))
    numbers = [float(atom.GetAtomicNum()) for atom in mol.GetAtoms()]
    found = [
        {
            "xyz": [
                [z, *p] for z, p in zip(numbers, mol.GetConformer(i).GetPositions().tolist(), strict=True)
            ],
            "geom_id": i,
            "degeneracy": 1,
            "totalenergy": -10.0 - (7 * i) % 4,
            "boltzmannweight": 1 / len(ids),
        }
        for i in ids
    ]
    return {"totalconfs": len(ids), "charge": 0, "datasets": ["plpro"], "conformers": found}


@pytest.fixture(scope="module")
def told():
    return {smiles: molecule(smiles) for smiles in SMILES}


def write(file, *maps):
    file.write_bytes(b"".join(msgpack.packb(one) for one in maps))
    return file


def halves(told):
    names = list(told)
    return {k: told[k] for k in names[:3]}, {k: told[k] for k in names[3:]}


def test_the_conformers_of_lowest_energy_are_read_from_all_maps(tmp_path, told):
    file = write(tmp_path / "drugs_crude.msgpack", *halves(told))
    data = GeomDrugs(conformers=2, val=0, test=0, root=tmp_path)
    rows = data.all()
    assert len(data) == 2 * len(SMILES)
    assert data.spec.parts["pos"].shape == (10, 3)  # ethanediol
    assert data.spec.parts["types"].tokens[:4] == ("H", "B", "C", "N")
    for i, smiles in enumerate(SMILES):
        wanted = sorted(told[smiles]["conformers"], key=lambda one: one["totalenergy"])[:2]
        for k, one in enumerate(wanted):
            real = rows.cond["atoms"][2 * i + k]
            atoms = torch.tensor(one["xyz"])
            assert int(real.sum()) == len(atoms)
            places = atoms[:, 1:] - atoms[:, 1:].mean(0)
            assert torch.allclose(rows.x["pos"][2 * i + k][real], places, atol=1e-5)
            symbols = [data.spec.parts["types"].tokens[t] for t in rows.x["types"][2 * i + k][real]]
            assert [geom.NUMBERS[s] for s in symbols] == atoms[:, 0].int().tolist()
    assert float(rows.x["pos"][~rows.cond["atoms"]].abs().sum()) == 0
    with tarfile.open(tmp_path / "drugs_crude.msgpack.tar.gz", "w:gz") as packed:
        packed.add(file, "home/drugs_crude.msgpack")
    zipped = tmp_path / "other.msgpack.gz"
    zipped.write_bytes(gzip.compress(file.read_bytes()))
    for other in (zipped, tmp_path / "drugs_crude.msgpack.tar.gz"):
        again = GeomDrugs(str(other), conformers=2, val=0, test=0).all()
        assert torch.equal(again.x["pos"], rows.x["pos"])


def test_a_molecule_is_in_one_split_with_all_its_conformers(tmp_path, told):
    many = {f"{smiles}.{i}": one for i in range(8) for smiles, one in told.items()}
    write(tmp_path / "drugs_crude.msgpack", many)
    data = GeomDrugs(val=0.2, test=0.2, root=tmp_path)
    rows = {name: set(data.split(name).own.tolist()) for name in ("train", "val", "test")}
    assert sum(map(len, rows.values())) == len(set.union(*rows.values())) == 4 * len(many)
    for row in range(4 * len(many)):
        assert len({name for name, own in rows.items() if own & {row, 4 * (row // 4)}}) == 1
    with pytest.raises(DataError, match=r"geom-drugs has no split 'other'; it has: train \(\d+ rows\), val"):
        data.split("other")
    with pytest.raises(DataError, match=r"no split 'val'; it has: train .*; no row's name falls"):
        GeomDrugs(val=0, test=0, root=tmp_path).split("val")


def test_molecules_that_cannot_be_used_are_named_and_counted(tmp_path, told):
    good = told["CCO"]["conformers"]
    bad = {
        "no": {"conformers": []},
        "none": [1, 2],
        "energy": {"conformers": [{"xyz": good[0]["xyz"]}]},
        "short": {"conformers": [{"totalenergy": 0.0, "xyz": [[6.0, 0.0, 0.0]]}]},
        "nan": {"conformers": [{"totalenergy": 0.0, "xyz": [[6.0, 0.0, 0.0, float("nan")]]}]},
        "iron": {"conformers": [{"totalenergy": 0.0, "xyz": [[26.0, 0.0, 0.0, 0.0]]}]},
        "long": {"conformers": [{"totalenergy": 0.0, "xyz": [[6.0, float(i), 0.0, 0.0] for i in range(30)]}]},
    }
    write(tmp_path / "drugs_crude.msgpack", {**bad, "CCO": told["CCO"]})
    data = GeomDrugs(most_atoms=20, val=0, test=0, root=tmp_path)
    with pytest.warns(UserWarning, match="7 of 8 rows are left out") as seen:
        assert len(data) == 4
    said = str(seen[0].message)
    for reason in (
        "no conformers: 2 (rows 1, 2)",
        "a conformer without an energy: 1 (row 3)",
        "atoms that are not a number and three coordinates: 2 (rows 4, 5)",
        "an element that is not asked for: 1 (row 6)",
        "more than 20 atoms: 1 (row 7)",
    ):
        assert reason in said
    write(tmp_path / "bad.msgpack", bad)
    with pytest.raises(DataError, match="none of 7 rows can be used"):
        len(GeomDrugs(str(tmp_path / "bad.msgpack"), most_atoms=20))


def test_a_file_that_was_cut_gives_what_came_before(tmp_path, told):
    whole = write(tmp_path / "whole.msgpack", *halves(told)).read_bytes()
    cut = tmp_path / "cut.msgpack"
    cut.write_bytes(whole[: int(0.8 * len(whole))])
    with pytest.warns(UserWarning, match=r"1 of \d rows are left out: the file ends here: 1"):
        assert 4 < len(GeomDrugs(str(cut), val=0, test=0)) < 4 * len(SMILES)
    packed = tmp_path / "cut.msgpack.gz"
    packed.write_bytes(gzip.compress(whole)[:-2000])
    with pytest.warns(UserWarning, match="the file is damaged from here on: 1"):
        assert len(GeomDrugs(str(packed), val=0, test=0)) > 0
    for name, content in {
        "text.msgpack": b"\xc1 no",
        "list.msgpack": msgpack.packb([1]),
        "no.msgpack": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=r"is empty, or no MessagePack|is no MessagePack of maps"):
            len(GeomDrugs(str(tmp_path / name)))
    (tmp_path / "no.tar.gz").write_bytes(b"no")
    with pytest.raises(DataError, match="cannot read"):
        len(GeomDrugs(str(tmp_path / "no.tar.gz")))


def peak_of(run):
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_a_map_larger_than_memory_may_be_is_read_entry_by_entry(tmp_path):
    """Maps of a thousand molecules fill gigabytes, so that a single molecule is in memory at a time."""
    atoms = [[6.0, 0.5, 0.25, float(i)] for i in range(20)]
    file = write(tmp_path / "m.msgpack", {f"C{i}": [{"xyz": atoms}] * 20 for i in range(40)})
    whole = peak_of(lambda: msgpack.unpackb(file.read_bytes()))
    assert peak_of(lambda: sum(1 for _ in entries(file))) < whole / 4


def test_what_was_read_is_kept_and_a_damaged_folder_is_made_anew(tmp_path, told, monkeypatch):
    write(tmp_path / "drugs_crude.msgpack", told)
    first = GeomDrugs(val=0, test=0, root=tmp_path).all()
    monkeypatch.setattr(geom, "entries", lambda file: pytest.fail("read again"))
    assert torch.equal(GeomDrugs(val=0, test=0, root=tmp_path).all().x["pos"], first.x["pos"])
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (kept,) = (tmp_path / "cache" / "flowloom" / "prepared").iterdir()
    (kept / "pos.bin").write_bytes(b"")
    assert torch.equal(GeomDrugs(val=0, test=0, root=tmp_path).all().x["pos"], first.x["pos"])
    assert [f.name for f in kept.parent.iterdir()] == [kept.name]


def test_the_published_file_comes_from_its_own_home(tmp_path, told, monkeypatch):
    asked = []

    def fetched(urls, sha256, target):
        asked.extend([*urls, target.name])
        target.parent.mkdir(parents=True)
        with tarfile.open(target, "w:gz") as packed:
            packed.add(write(tmp_path / "x.msgpack", told), "drugs_crude.msgpack")
        return target

    monkeypatch.setattr(geom, "fetch", fetched)
    with pytest.raises(DataError, match=r"add download: true to bring it \(about 50 GB\)"):
        len(GeomDrugs(val=0, test=0, root=tmp_path / "none"))
    assert not asked
    assert len(GeomDrugs(val=0, test=0, download=True, root=tmp_path)) == 4 * len(SMILES)
    assert asked == [
        "https://dataverse.harvard.edu/api/access/datafile/4360331",
        "drugs_crude.msgpack.tar.gz",
    ]


def test_bad_input_costs_one_line(tmp_path, monkeypatch, capsys):
    with pytest.raises(DataError, match=r"there is no file mine\.msgpack"):
        len(GeomDrugs("mine.msgpack", root=tmp_path))
    with pytest.raises(DataError, match="at least 1, got 0 and 181"):
        GeomDrugs(conformers=0)
    with pytest.raises(DataError, match=r"each once; got \['C', 'Xx'\]"):
        GeomDrugs(elements=["C", "Xx"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.msgpack").write_bytes(b"")
    assert main(["run", "molecules-geom", "--set", "data.file=mine.msgpack"]) == 2
    assert "mine.msgpack is empty, or no MessagePack" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(MissingDependencyError, match=r"pip install msgpack, or flowloom-molecules\[geom\]"):
        list(entries(tmp_path / "mine.msgpack"))


@pytest.mark.slow
def test_its_recipe_runs_end_to_end(tmp_path, told, monkeypatch):
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    many = {f"{smiles}.{i}": one for i in range(3) for smiles, one in told.items()}
    write(tmp_path / "drugs_crude.msgpack", many)
    quick = [
        "model.width=8",
        "model.depth=1",
        "data.val=0.1",
        "data.test=0.3",
        "metrics=[{use: molecule-quality, rare: 1, most: 9}]",
        "train.steps=3",
        "train.batch=6",
        "solver.steps=3",
        "evaluate.n=5",
    ]
    words = [word for setting in quick for word in ("--set", setting)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["run", "molecules-geom", *words, "--out", "run"]) == 0
    assert (tmp_path / "run" / "report.html").is_file()
