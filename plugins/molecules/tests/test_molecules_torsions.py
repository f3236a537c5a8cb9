"""Torsions are angles of rotatable bonds, and SDF files give molecules as they are."""

import math

import pytest
import torch
from rdkit import Chem
from rdkit.Chem import AllChem

from flowloom.errors import DataError
from flowloom_molecules.data.conform import KINDS, embed
from flowloom_molecules.data.sdf import MoleculeFile
from flowloom_molecules.data.torsions import Torsions

SETTINGS = {
    "most_heavy": 9,
    "hydrogens": True,
    "elements": ["C", "N", "O"],
    "salts": "refuse",
    "conformers": 12,
    "optimise": "mmff",
    "seed": 0,
    "seconds": 30,
    "most_bonds": 4,
}


def test_butane_is_anti_or_gauche_whichever_way_it_is_written():
    answer = embed("CCCC", SETTINGS)
    degrees = torch.tensor(answer["angles"]).flatten().rad2deg().abs()
    assert len(degrees) == 12
    assert bool(((degrees - 180).abs() < 12).logical_or((degrees - 65).abs() < 12).all())
    assert len(answer["kinds"]) == 1
    assert answer["kinds"][0] == [1.0, *[0.0] * (len(KINDS) - 1)] * 2
    other = embed("C(C)CC", SETTINGS)
    assert other["kinds"] == answer["kinds"]


def test_bonds_are_told_apart_by_their_atoms():
    answer = embed("OCC(N)=O", SETTINGS)
    assert len(answer["kinds"]) == 1
    sp2 = KINDS.index("sp2")
    assert sorted(answer["kinds"][0][i * len(KINDS) + sp2] for i in (0, 1)) == [0.0, 1.0]
    assert embed("c1ccccc1", SETTINGS)["reason"] == "no rotatable bond"
    assert embed("CCCCCCCCC", SETTINGS)["reason"] == "more than 4 rotatable bonds"


def test_rows_are_ragged_and_conformers_of_one_molecule_stay_together(tmp_path, write_csv):
    smiles = ["CCCC", "CCCCO", "OCCN", "CCOC", "CCCN", "CC(C)CO", "CCCCC", "CCNC", "NCCN", "COCC=O"]
    file = write_csv(tmp_path / "m.csv", ("smiles",), [(s,) for s in [*smiles, "CC"]])
    data = Torsions([str(file)], conformers=3, val=0, test=0.3, workers=1)
    with pytest.warns(UserWarning, match=r"no rotatable bond: 1 \(row 11\)"):
        train = data.all()
    assert float(train.x.min()) >= 0
    assert float(train.x.max()) < 2 * math.pi
    assert set(train.cond["bonds"].sum(1).tolist()) >= {1, 2}
    assert len(data) + len(data.split("test")) == 30
    assert len(data) % 3 == 0
    assert not bool(train.x[~train.cond["bonds"]].any())


def test_an_sdf_file_gives_its_own_positions_and_names_what_it_cannot_use(tmp_path):
    def molecule(smiles, hydrogens=True, flat=False):
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles)) if hydrogens else Chem.MolFromSmiles(smiles)
        AllChem.Compute2DCoords(mol) if flat else AllChem.EmbedMolecule(mol, randomSeed=1)
        return mol

    rows = [molecule("CCO"), molecule("CCN", hydrogens=False), molecule("CBr"), molecule("CF", flat=True)]
    file = tmp_path / "m.sdf"
    writer = Chem.SDWriter(str(file))
    for mol in [*rows, molecule("C" * 12), molecule("C[O-]")]:
        writer.write(mol)
    writer.close()
    data = MoleculeFile(str(file), val=0, test=0)
    with pytest.warns(UserWarning, match="4 of 6 rows are left out") as told:
        examples = data.all()
    for reason in (
        "missing hydrogens: 1 (row 2)",
        "(row 3)",
        "no positions in space: 1 (row 4)",
        "more than 29",
    ):
        assert reason in str(told[0].message)
    assert data.keys() == ["CCO", "C[O-]"]
    place = torch.tensor(rows[0].GetConformer().GetPositions(), dtype=torch.float32)
    assert torch.allclose(examples.x["pos"][0], place - place.mean(0), atol=1e-4)
    accepted = MoleculeFile(str(file), missing_hydrogens="accept", val=0, test=0)
    with pytest.warns(UserWarning, match="3 of 6"):
        assert len(accepted) == 3
    crowded = Chem.Mol(rows[0])
    crowded.GetConformer().SetAtomPosition(1, crowded.GetConformer().GetAtomPosition(0))
    with Chem.SDWriter(str(tmp_path / "crowded.sdf")) as writer:
        writer.write(rows[0])
        writer.write(crowded)
    with pytest.warns(UserWarning, match=r"overlapping atoms: 1 \(row 2\)"):
        assert len(MoleculeFile(str(tmp_path / "crowded.sdf"), val=0, test=0)) == 1
    with pytest.raises(DataError, match=r"no file other\.sdf"):
        len(MoleculeFile("other.sdf", root=tmp_path))
    (tmp_path / "none.sdf").touch()
    with pytest.raises(DataError, match=r"none\.sdf is empty"):
        len(MoleculeFile(str(tmp_path / "none.sdf")))
    named = file.read_bytes().split(b"\n", 1)[1]
    (tmp_path / "latin.sdf").write_bytes(b"\xe9thanol\n" + named)
    with pytest.raises(DataError, match=r"more than 2 atoms: 6 \(rows 1, 2"):
        len(MoleculeFile(str(tmp_path / "latin.sdf"), most_atoms=2))
