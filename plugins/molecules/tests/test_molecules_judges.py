"""Judges and data of other packages: real shapes pass, spoiled ones fail, what is missing is told."""

import builtins
import sys
import types

import numpy as np
import pytest
import torch

from flowloom.data import Examples
from flowloom.errors import DataError, MissingDependencyError
from flowloom_molecules.data.components import Components
from flowloom_molecules.data.homes import smiles_of
from flowloom_molecules.data.molecules import Conformers
from flowloom_molecules.molecules.busted import PoseBusted
from flowloom_molecules.molecules.embedded import embedded
from flowloom_molecules.molecules.strain import ConformerEnergy

SMILES = ["CCO", "CC=O", "CC(=O)O", "CNC"]


@pytest.fixture(scope="module")
def molecules(tmp_path_factory):
    """Embedded once, by the first test that looks at them."""
    file = tmp_path_factory.mktemp("judged") / "m.csv"
    file.write_text("\n".join(["smiles", *SMILES]))
    return Conformers([str(file)], val=0, test=0, workers=1)


def shaken(real, by):
    noise = torch.randn(real.x["pos"].shape, generator=torch.Generator().manual_seed(0))
    return Examples({**real.x, "pos": real.x["pos"] + by * noise}, real.cond)


def test_relaxed_molecules_have_no_strain_and_shaken_ones_do(molecules):
    real = molecules.all()
    metric = ConformerEnergy(molecules.spec, conformers=4)
    own = metric(real, real)
    assert own["low_energy"] == 1
    assert own["energy_above"] == pytest.approx(0, abs=0.5)
    assert 0 <= own["rdkit_energy_above"] < 3
    some, more = metric(shaken(real, 0.05), real), metric(shaken(real, 0.15), real)
    assert 3 < some["energy_above"] < more["energy_above"]
    assert more["low_energy"] == 0
    assert metric(shaken(real, 3.0), real) == {"low_energy": 0.0}


def test_the_energy_is_that_of_mmff_in_kcal_per_mol(molecules):
    """A bond stretched by 0.05 angstrom costs what its constant says: 143.9 k d^2 / 2 (Halgren 1996)."""
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    from flowloom_molecules.molecules.strain import _mmff

    mol = Chem.AddHs(Chem.MolFromSmiles("[H][H]"))
    assert np.isnan(_mmff(mol)).all()  # no parameters
    mol = embedded(Chem.AddHs(Chem.MolFromSmiles("C")), 2)
    rest = _mmff(mol)
    assert len(rest) == 2
    shape = mol.GetConformer(0)
    place = shape.GetPositions()
    along = (place[1] - place[0]) / np.linalg.norm(place[1] - place[0])
    shape.SetAtomPosition(1, (place[1] + 0.02 * along).tolist())
    assert _mmff(mol)[0] - rest[0] == pytest.approx(143.9325 * 4.766 / 2 * 0.02**2, rel=0.15)
    assert rdDistGeom is not None


def test_what_cannot_be_judged_is_refused(tmp_path, write_csv, molecules):
    file = write_csv(tmp_path / "bare.csv", ("smiles",), [(s,) for s in SMILES])
    bare = Conformers([str(file)], hydrogens=False, val=0, test=0, workers=1)
    with pytest.raises(DataError, match="needs hydrogens"):
        ConformerEnergy(bare.spec)
    with pytest.raises(ValueError, match="conformers is at least 2"):
        ConformerEnergy(molecules.spec, conformers=1)


@pytest.mark.parametrize(
    ("package", "make", "word"),
    [
        ("posebusters", lambda spec: PoseBusted(spec), "judges"),
        ("tblite", lambda spec: ConformerEnergy(spec, by="xtb"), "judges"),
        ("biotite", lambda spec: len(Components()), "components"),
    ],
)
def test_missing_packages_cost_one_line(package, make, word, molecules, monkeypatch):
    spec = molecules.spec
    real_import = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        MissingDependencyError,
        match=rf"the package {package}.*; pip install {package}, or flowloom-molecules\[{word}\]",
    ):
        make(spec)


def test_posebusters_is_asked_of_what_is_a_molecule(molecules, monkeypatch):
    """Its answers are shares of all rows; what is no molecule passes none. The package is stood in for."""
    asked = []

    class Table(dict):
        columns = ("bond_lengths", "internal_energy")

    class Fake:
        def __init__(self, config):
            assert config == "mol"

        def bust(self, pred, true, cond):
            asked.append(len(pred))
            lengths = [i != 0 for i in range(len(pred))]
            return Table(bond_lengths=lengths, internal_energy=[True] * len(pred))

    monkeypatch.setitem(sys.modules, "posebusters", types.SimpleNamespace(PoseBusters=Fake))
    real = molecules.all()
    pos = real.x["pos"].clone()
    pos[3] *= 10
    values = PoseBusted(molecules.spec)(Examples({**real.x, "pos": pos}, real.cond), real)
    assert asked == [3, 3]
    assert values["posebusters"] == 2 / 4
    assert values["posebusters_rdkit"] == 2 / 3
    assert values["passes_bond_lengths"] == 2 / 3
    assert values["passes_internal_energy"] == 1
    assert PoseBusted(molecules.spec)(shaken(real, 3.0), real) == {"posebusters": 0.0}


@pytest.mark.slow
def test_posebusters_itself_passes_relaxed_molecules(molecules):
    pytest.importorskip("posebusters")
    real = molecules.all()
    metric = PoseBusted(molecules.spec)
    assert metric(real, real)["posebusters"] == 1
    assert metric(shaken(real, 0.15), real)["posebusters"] < 1


def test_xtb_knows_strain(molecules):
    pytest.importorskip("tblite")
    real = molecules.all()
    metric = ConformerEnergy(molecules.spec, by="xtb", conformers=2, rows=2)
    assert metric(real, real)["energy_above"] == pytest.approx(0, abs=1)
    assert metric(shaken(real, 0.1), real)["energy_above"] > 10


@pytest.mark.slow
def test_the_component_dictionary_of_biotite():
    pytest.importorskip("biotite")
    data = Components(most_atoms=14, val=0, test=0)
    with pytest.warns(UserWarning, match="rows are left out"):
        assert 500 < len(data) < 5000
    few = data.take(torch.arange(20))
    assert few.x["pos"].shape[1:] == (14, 3)
    with pytest.warns(UserWarning, match="rows are left out"):
        assert 19_000 < len(smiles_of("components")) < 22_000


def _component(symbols, names, bonds, pos=None, charges=None, obsolete=False):
    return {
        "id": "ABC",
        "symbols": symbols,
        "names": names,
        "charges": charges or [0] * len(symbols),
        "pos": np.arange(3 * len(symbols), dtype=float).reshape(-1, 3) if pos is None else pos,
        "bonds": bonds,
        "obsolete": obsolete,
    }


def test_components_are_read_or_refused(monkeypatch):
    """A dictionary of five, three of them refused; formaldehyde has its own atoms in their own places."""
    names = ["C1", "O1", "H1", "H2"]
    bonds = [("C1", "O1", "DOUB"), ("C1", "H1", "SING"), ("H2", "C1", "SING")]
    good = _component(["C", "O", "H", "H"], names, bonds)
    kept = [
        good,
        _component(["ZN"], ["ZN"], []),
        _component(["C", "O", "H", "H"], names, bonds, pos=np.full((4, 3), np.nan)),
        _component(["C", "O", "H", "H"], names, bonds[:2]),
        _component(["C", "O", "H"], names[:3], bonds[:2]),
    ]
    monkeypatch.setattr("flowloom_molecules.data.components._dictionary", lambda positions: iter(kept))
    monkeypatch.setattr("flowloom_molecules.data.components._biotite", lambda: "0")
    data = Components(val=0, test=0)
    with pytest.warns(UserWarning, match="4 of 5 rows are left out") as told:
        assert data.keys() == ["C=O"]
    for reason in ("no positions", "several fragments", "an element that is not asked for"):
        assert f"{reason}: 1 (row ABC)" in str(told[0].message)
    x = data.all().x
    assert [data.elements[k] for k in x["types"][0]] == ["C", "O", "H", "H"]
    place = torch.tensor(good["pos"], dtype=torch.float32)
    assert torch.allclose(x["pos"][0], place - place.mean(0))
