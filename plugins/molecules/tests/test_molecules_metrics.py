"""Judges find what they are meant to find: real rows pass, spoiled ones fail, and by known amounts."""

import math

import pytest
import torch

from flowloom.data import Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.spec import Spec
from flowloom_molecules.crystals.chart import LatticeChart
from flowloom_molecules.crystals.lattice import LatticeDistance
from flowloom_molecules.data.cells import are_cells
from flowloom_molecules.data.crystals import Crystals
from flowloom_molecules.data.molecules import Conformers
from flowloom_molecules.data.prototypes import Prototypes
from flowloom_molecules.molecules.perceived import Perception, perceive
from flowloom_molecules.molecules.quality import MoleculeQuality
from flowloom_molecules.molecules.renderer import MoleculeView

SMILES = ["CCO", "CCN", "CC(C)C", "c1ccccc1", "CC=O", "C#N", "CCF", "OCCO", "CC(=O)O", "C1CC1", "CNC", "COC"]


@pytest.fixture
def molecules(tmp_path, write_csv):
    file = write_csv(tmp_path / "m.csv", ("smiles",), [(s,) for s in SMILES])
    return Conformers([str(file)], val=0, test=0)


def test_real_molecules_are_valid_and_known(molecules):
    metric = MoleculeQuality(molecules.spec, rare=1)
    metric.fit(molecules)
    values = metric(molecules.all(), molecules.all())
    assert values["validity"] == values["connectivity"] == values["uniqueness"] == 1
    assert values["novelty"] == 0
    assert values["atom_stability"] == values["molecule_stability"] == 1
    assert values["bond_lengths"] == values["bond_angles"] == values["torsions"] == 0
    read = {one.smiles for one in Perception(molecules.spec)(molecules.all())}
    assert read == set(molecules.keys())


def test_stretched_and_scattered_molecules_are_told_apart(molecules):
    metric = MoleculeQuality(molecules.spec, rare=1)
    metric.fit(molecules)
    real = molecules.all()

    def scaled(factor):
        return metric(Examples({**real.x, "pos": factor * real.x["pos"]}, real.cond), real)

    assert scaled(1.05)["bond_lengths"] == pytest.approx(0.05 * 1.2, rel=0.3)
    assert scaled(1.05)["bond_angles"] == pytest.approx(0, abs=1e-3)
    apart = scaled(10.0)
    assert apart["validity"] == apart["connectivity"] == apart["molecule_stability"] == 0
    assert apart["uniqueness"] == apart["novelty"] == 0
    broken = metric(Examples({**real.x, "pos": real.x["pos"] * math.nan}, real.cond), real)
    assert broken["validity"] == 0


def test_rows_without_atoms_and_masks_that_were_not_lifted_are_no_molecules(molecules):
    metric, view = MoleculeQuality(molecules.spec, rare=1), MoleculeView(molecules.spec)
    metric.fit(molecules)
    real = molecules.all()
    none = Examples(real.x, {"atoms": torch.zeros_like(real.cond["atoms"])})
    masked = {
        name: torch.full_like(real.x[name], len(molecules.spec.parts[name].tokens))
        for name in ("types", "charges")
    }
    for drawn in (none, Examples({**real.x, **masked}, real.cond)):
        values = metric(drawn, real)
        assert values["validity"] == values["connectivity"] == values["atom_stability"] == 0
        assert view.samples(drawn, real)


def test_metric_and_pictures_bear_a_few_rows_alike(molecules):
    few = molecules.take(torch.tensor([0, 0, 1]))
    metric = MoleculeQuality(molecules.spec)
    metric.fit(molecules)
    assert metric(few, few)["uniqueness"] == pytest.approx(2 / 3)
    figures = MoleculeView(molecules.spec).samples(few, few)
    assert [f.mime for f in figures] == ["image/svg+xml", "text/html"]
    page = figures[1].data.decode()
    assert page.count("function createViewer") <= 1
    assert "https://3dmol.org" not in page.split("<script>")[2]
    assert 5e5 < len(page) < 7e5
    assert figures[0].data.startswith(b"<?xml")


def test_charged_atoms_count(molecules):
    """Ammonium is a molecule with its charge, and none without."""
    place = [[0.0, 0, 0], [0.6, 0.6, 0.6], [-0.6, -0.6, 0.6], [-0.6, 0.6, -0.6], [0.6, -0.6, -0.6]]
    symbols = ["N", "H", "H", "H", "H"]
    assert perceive(symbols, [1, 0, 0, 0, 0], place).smiles == "[NH4+]"
    assert perceive(symbols, [0] * 5, place).whole is None


def test_data_without_elements_is_refused():
    with pytest.raises(DataError, match="parts pos and types"):
        MoleculeQuality(Spec((3,)))


def test_angles_and_elements_survive_the_chart(crystals_csv):
    data = Crystals("cells", root=crystals_csv.parent)
    codec = LatticeChart(data.spec, bits=True)
    states = codec.encode(data.all())
    assert states.x["types"].shape == (len(data), 5, 7)
    assert set(states.x["types"].unique().tolist()) == {-1.0, 1.0}
    back = codec.decode(states)
    assert torch.allclose(back.x["angles"], data.all().x["angles"], atol=1e-3)
    assert torch.equal(back.x["types"], data.all().x["types"])
    ids = torch.arange(118)
    assert torch.equal(codec._types_of(codec._bits_of(ids).float()), ids)


def test_match_rate_finds_the_truth_and_its_baselines_are_not_crippled(crystals_csv):
    pytest.importorskip("pymatgen.core")
    from flowloom_molecules.crystals.match import StructureMatch
    from flowloom_molecules.crystals.renderer import CrystalView
    from flowloom_molecules.crystals.structures import structures

    data = Crystals("cells", root=crystals_csv.parent)
    metric = StructureMatch()
    metric.fit(data)
    real = data.split("test").all()
    values = metric(real, real)
    assert values["match_rate"] == 1
    assert values["match_rms"] == pytest.approx(0, abs=1e-4)
    # All test rows have a counterpart of the same elements in training: the nearest one must be it.
    assert values["nearest_match_rate"] == 1
    shifted = {**real.x, "frac": (real.x["frac"] + torch.tensor([0.3, 0.1, 0.7])) % 1.0}
    moved = metric(Examples(shifted, real.cond), real)
    assert moved["match_rate"] == 1
    draws = torch.Generator().manual_seed(0)
    noisy = {**real.x, "frac": torch.rand(real.x["frac"].shape, generator=draws)}
    assert metric(Examples(noisy, real.cond), real)["match_rate"] < 0.9
    flat = {**real.x, "lengths": -real.x["lengths"]}
    assert metric(Examples(flat, real.cond), real)["match_rate"] == 0
    assert structures(Examples(flat, real.cond)) == [None] * len(real)
    (figure,) = CrystalView().samples(real, real)
    assert figure.mime == "text/html"
    assert b"replicateUnitCell" in figure.data


def test_lattices_are_judged_where_they_are_no_cells():
    """Two rows that stand at one point, two of them d away: the energy distance is 2 d."""
    real = Examples({"lengths": torch.full((2, 3), 4.0), "angles": torch.full((2, 3), 90.0)}, {})
    x = {"lengths": torch.full((2, 3), -1.0), "angles": torch.full((2, 3), 93.0)}
    x["lengths"][:, 1:] = 4.0
    values = LatticeDistance()(Examples(x, {}), real)
    assert values["lengths_distance"] == pytest.approx(2 * 5.0)
    assert values["angles_distance"] == pytest.approx(2 * 3.0 * math.sqrt(3))
    assert values["cells"] == 0
    spread = Examples({**x, "lengths": torch.tensor([[3.0, 3.0, 3.0], [5.0, 6.0, 7.0]])}, {})
    again = Examples({**spread.x, "lengths": spread.x["lengths"].flip(0)}, {})
    assert LatticeDistance()(again, spread)["lengths_distance"] == pytest.approx(0, abs=1e-9)
    lost = {**x, "lengths": math.nan * x["lengths"]}
    assert math.isnan(LatticeDistance()(Examples(lost, {}), real)["lengths_distance"])
    half = {**x, "lengths": torch.cat([x["lengths"][:1], real.x["lengths"][:1]])}
    assert LatticeDistance()(Examples(half, {}), real)["cells"] == 0.5
    with pytest.raises(IncompatibleError, match="lengths and angles"):
        LatticeDistance()(Examples(torch.zeros(2, 3), {}), Examples(torch.zeros(2, 3), {}))


_NO_CELLS = [
    (-90.0, 90, 90),
    (90.0, 270, 90),
    (90.0, 90, 450),
    (0.0, 90, 90),
    (90.0, 180, 90),
    (60.0, 60, 150),
]
_NO_CELLS += [(130.0, 130, 130), (math.nan, 90, 90), (90.0, 90, math.inf)]


@pytest.mark.parametrize("angles", _NO_CELLS)
def test_impossible_angles_make_no_cell(angles):
    """Cosines of -90, 270 and 450 degrees are that of 90: a structure made of them would match."""
    pytest.importorskip("pymatgen.core")
    from flowloom_molecules.crystals.match import StructureMatch
    from flowloom_molecules.crystals.structures import structures

    real = Prototypes(2).all()
    odd = Examples({**real.x, "angles": torch.tensor([angles, (90.0, 90, 90)])}, real.cond)
    first, second = structures(odd)
    assert first is None
    assert second is not None
    assert StructureMatch(baselines=False)(odd, real)["match_rate"] == 0.5
    assert LatticeDistance()(odd, real)["cells"] == 0.5


def test_every_possible_cell_is_one_with_pymatgens_volume(draws):
    """Of random angles and lengths, those are cells of which pymatgen's matrix gives their angles back."""
    core = pytest.importorskip("pymatgen.core")
    lengths, angles = (
        1 + 9 * torch.rand(200, 3, generator=draws),
        180 * torch.rand(200, 3, generator=draws, dtype=torch.float64),
    )
    found = are_cells(lengths, angles)
    assert 40 < int(found.sum()) < 160
    for length, angle, one in zip(lengths.tolist(), angles.tolist(), found.tolist(), strict=True):
        back = core.Lattice.from_parameters(*length, *angle).angles
        assert one == (torch.tensor(back) - torch.tensor(angle)).abs().max().lt(1e-3)
    assert not are_cells(torch.tensor([1.0, 1.0, math.inf]), torch.full((3,), 90.0))


def test_cells_of_one_prototype_match_and_those_of_others_or_of_chance_do_not(draws):
    """The law of prototypes can be judged: it says which rows are alike, and atoms at random are not."""
    core = pytest.importorskip("pymatgen.core")
    from flowloom_molecules.crystals.match import StructureMatch, minimum_distance
    from flowloom_molecules.crystals.structures import structures

    real = Prototypes(40).all()
    firsts = [("Na", "K", "Rb"), ("Mg", "Ca", "Sr"), ("Zn", "Cd", "Cu")]
    rows = [[i for i, s in enumerate(structures(real)) if s[0].specie.symbol in kinds] for kinds in firsts]
    assert min(len(mine) for mine in rows) >= 4
    cells = structures(real)
    assert min(minimum_distance(cell) for cell in cells) > 1.0
    metric = StructureMatch(0.2, 0.1, 5.0)

    def dressed(guess, truth):
        """The positions of one cell with the elements of another."""
        return core.Structure(cells[guess].lattice, cells[truth].species, cells[guess].frac_coords)

    for number, mine in enumerate(rows):
        others = rows[(number + 1) % 3]
        alike = [dressed(i, mine[0]) for i in mine[1:4]]
        # Cells are as wide as their elements, which the matcher scales away.
        assert metric.matched(alike, [cells[mine[0]]] * 3)[0] == 1
        strange = [dressed(i, mine[0]) for i in others[:3]]
        assert metric.matched(strange, [cells[mine[0]]] * 3)[0] == 0
    few = real.take(torch.arange(20))
    chance = {**few.x, "frac": torch.rand(20, 4, 3, generator=draws)}
    thrown = structures(Examples(chance, few.cond))
    assert metric.matched(thrown, cells[:20])[0] <= 0.1
    # The literature's tolerances cannot tell them apart.
    assert StructureMatch().matched(thrown, cells[:20])[0] >= 0.5


def test_compositions_out_of_balance_are_not_valid(crystals_csv):
    pytest.importorskip("smact")
    from flowloom_molecules.crystals.validity import CrystalValidity

    data = Crystals("cells", root=crystals_csv.parent)
    metric = CrystalValidity()
    metric.fit(data)
    real = data.all()
    values = metric(real, real)
    assert values["validity"] == values["structure_validity"] == values["composition_validity"] == 1
    assert values["density"] == values["elements"] == 0
    heap = {**real.x, "frac": 0 * real.x["frac"]}
    assert metric(Examples(heap, real.cond), real)["structure_validity"] == 0
    noble = {**real.x, "types": torch.full_like(real.x["types"], 9)}  # neon with a metal's neighbours
    noble["types"][:, 0] = 10
    assert metric(Examples(noble, real.cond), real)["composition_validity"] == 0
