"""Graphs of molecules: they come back from files, the network is blind to order, CatFlow is its equations."""

import json
import shutil
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch.nn import functional as F

from flowloom.data import Examples
from flowloom.errors import DataError, IncompatibleError
from flowloom.fields import read_as
from flowloom.layout import Layout
from flowloom.objectives import Batch, Step
from flowloom.spec import Condition, Spec
from flowloom.testing import check
from flowloom.testing.checks.model import check_layout, check_permutations
from flowloom.testing.laws import Context, LawBroken
from flowloom_molecules.bonded.reading import BONDS, Bonded, molecule, split_kind
from flowloom_molecules.bonded.renderer import GraphView, _moving
from flowloom_molecules.bonded.symmetry import GraphPermutation, matrix_of, pair_places, triangle_of
from flowloom_molecules.bonded.transformer import GraphTransformer
from flowloom_molecules.data import homes
from flowloom_molecules.data.bonded import MolecularGraphs
from flowloom_molecules.molecules.quality import MoleculeQuality
from flowloom_registry.cli import main
from flowloom_registry.config.build import build
from flowloom_registry.config.nodes import plain
from flowloom_registry.config.recipe import load_recipe

SMILES = [
    "CCO",
    "c1cc[nH]c1",
    "C[N+](C)(C)C",
    "[2H]OC",
    "F/C=C/F",
    "C[C@H](N)O",
    "CC(=O)[O-]",
    "C#N",
    "O=N(=O)C",
]

FEW = ["model.width=8", "model.pair_width=8", "model.graph_width=8", "model.depth=1"]


@pytest.fixture
def graphs(tmp_path, write_csv):
    file = write_csv(tmp_path / "m.csv", ("smiles",), [(s,) for s in SMILES])
    return MolecularGraphs([str(file)], val=0, test=0)


def graph(n=5, rows=False, **conditions):
    e = n * (n - 1) // 2
    if rows:
        parts = {"types": Spec((n, 4)), "bonds": Spec((e, 3))}
    else:
        parts = {"types": Spec((n,), vocab=4), "bonds": Spec((e,), vocab=3)}
    real = {
        "atoms": Condition(shape=(n,), role="real", of="types"),
        "pairs": Condition(shape=(e,), role="real", of="bonds"),
    }
    return Spec(parts=parts, conditions={**real, **conditions})


def small(spec):
    return GraphTransformer(spec, width=8, pair_width=8, graph_width=8, depth=2, heads=2)


def test_molecules_come_back_from_their_graphs(graphs):
    examples = graphs.all()
    read = Bonded(graphs.spec)(examples)
    assert [one.smiles for one in read] == graphs.keys()
    assert graphs.keys()[:3] == ["CCO", "c1cc[nH]c1", "C[N+](C)(C)C"]
    assert graphs.keys()[3] == "CO"  # isotopes and stereo marks are gone
    assert graphs.keys()[4] == "FC=CF"
    n = graphs.spec.parts["types"].shape[0]
    a, b = torch.triu_indices(n, n, offset=1)
    real = examples.cond["atoms"]
    assert torch.equal(examples.cond["pairs"], real[:, a] & real[:, b])
    # Pyrrole after Kekule: five bonds in a ring, two of them double.
    assert sorted(examples.x["bonds"][1][examples.cond["pairs"][1]].tolist()) == [0] * 5 + [1] * 3 + [2] * 2
    charged = [graphs.kinds[k] for k in examples.x["types"][2][real[2]].tolist()]
    assert sorted(charged) == ["C", "C", "C", "C", "N+"]


def test_rows_that_are_left_out_are_named_and_counted(tmp_path, write_csv):
    rows = ["CCO", "bad", "[Na+].[Cl-]", "C" * 12, "C[CH2]", "C[Si](C)C", "C[P+](C)(C)C", "CCN"]
    file = write_csv(tmp_path / "m.csv", ("smiles",), [(s,) for s in rows])
    data = MolecularGraphs([str(file)], val=0, test=0)
    with pytest.warns(UserWarning, match="6 of 8 rows are left out") as told:
        assert data.keys() == ["CCO", "CCN"]
    assert "an atom of a kind that is not asked for: 1 (row 7)" in str(told[0].message)
    assert "several fragments (a salt): 1 (row 3)" in str(told[0].message)
    with pytest.raises(DataError, match="elements with their charge, such as C, N"):
        MolecularGraphs(kinds=["C", "Xx+"])
    with pytest.raises(DataError, match=r"no file nowhere\.csv"):
        len(MolecularGraphs(["nowhere.csv"], root=tmp_path))
    with pytest.raises(DataError, match="most_heavy is at least 2"):
        MolecularGraphs(most_heavy=1)


def test_other_files_and_collections(tmp_path, monkeypatch):
    (tmp_path / "m.smi").write_text("CCO ethanol\n\nCN methylamine\n")
    assert homes.smiles_of(str(tmp_path / "m.smi")) == ["CCO", "CN"]
    (tmp_path / "M.SMI").write_text("CCO ethanol\n", encoding="utf-8-sig")  # as Windows editors write it
    assert homes.smiles_of(str(tmp_path / "M.SMI")) == ["CCO"]
    (tmp_path / "h.smi").write_text("SMILES name\nCCO ethanol\u2028of wine\nCN\r\n")
    assert homes.smiles_of(str(tmp_path / "h.smi")) == ["CCO", "CN"]
    (tmp_path / "none.sdf").touch()
    with pytest.raises(DataError, match=r"none.sdf is empty"):
        homes.smiles_of(str(tmp_path / "none.sdf"))
    (tmp_path / "twice.csv").write_text("smiles,SMILES\nC,CC\n")
    with pytest.raises(DataError, match="'smiles' is there twice"):
        homes.smiles_of(str(tmp_path / "twice.csv"))
    from rdkit import Chem

    with Chem.SDWriter(str(tmp_path / "gdb9.sdf")) as out:
        out.write(Chem.AddHs(Chem.MolFromSmiles("CC=O")))
    assert homes.smiles_of("qm9", tmp_path) == ["CC=O"]
    assert len(homes.smiles_of("nci")) == 4999
    (tmp_path / "zinc250k.csv").write_text('smiles,logP\n"CCO\n",1\n')
    assert homes.smiles_of("zinc250k", tmp_path) == ["CCO"]


@pytest.mark.slow  # importing its data sets takes seconds
def test_qm9_comes_by_torch_geometrics_own_downloader(tmp_path, monkeypatch):
    from torch_geometric.datasets import QM9

    def download(self):
        Path(self.raw_dir, "gdb9.sdf").write_text("molecules")

    monkeypatch.setattr(QM9, "download", download)
    assert homes.qm9(tmp_path / "a").read_text() == "molecules"
    assert [one.name for one in (tmp_path / "a").iterdir()] == ["gdb9.sdf"]

    def offline(self):
        raise URLError("no route to host")

    monkeypatch.setattr(QM9, "download", offline)
    with pytest.raises(DataError, match=r"could not download QM9 \(no route to host\)"):
        homes.qm9(tmp_path / "b")
    assert not list((tmp_path / "b").iterdir())


def test_kinds_and_what_is_no_molecule():
    assert [split_kind(k) for k in ("C", "N+", "O-", "Fe+2")] == [("C", 0), ("N", 1), ("O", -1), ("Fe", 2)]
    carbon = ("C", 0)
    assert molecule([carbon, ("O", 0)], [2]).smiles == "C=O"
    assert molecule([carbon, carbon], [0]).fragments == 2
    five = molecule([carbon] + [("F", 0)] * 5, [1] * 5 + [0] * 10)
    assert five.whole is None
    assert five.fragments == 1
    # No valence is mended: a nitrogen of four bonds is none without its charge.
    four = [1] * 4 + [0] * 6
    assert molecule([("N", 0)] + [carbon] * 4, four).whole is None
    assert molecule([("N", 1)] + [carbon] * 4, four).smiles == "C[N+](C)(C)C"


def test_quality_and_pictures(graphs):
    real = graphs.all()
    metric = MoleculeQuality(graphs.spec)
    metric.fit(graphs)
    values = metric(real, real)
    assert values["validity"] == values["connectivity"] == values["uniqueness"] == 1
    assert values["novelty"] == 0
    assert "bond_lengths" not in values
    # Nothing is bonded in the first four of nine rows.
    cut = real.x["bonds"].clone()
    cut[:4] = 0
    broken = Examples({**real.x, "bonds": cut}, real.cond)
    assert metric(broken, real)["validity"] == pytest.approx(5 / 9)
    triple = Examples({**real.x, "bonds": torch.full_like(cut, 3)}, real.cond)
    assert metric(triple, real)["validity"] == pytest.approx(1 / 9)  # hydrogen cyanide
    view = GraphView(graphs.spec)
    figures = view.samples(broken, real)
    assert [f.title for f in figures] == ["Molecules drawn", "Drawn, not valid", "Real molecules"]
    assert all(f.data.startswith(b"<?xml") for f in figures)
    assert "5 valid molecules among 9" in figures[0].caption
    assert len(view.tiles(broken)) == 9
    masked = {
        "types": torch.full_like(real.x["types"], len(graphs.kinds)),
        "bonds": torch.full_like(cut, len(BONDS)),
    }
    (walk,) = view.trajectory([0.0, 1.0], [masked, real.x])
    assert walk.data.startswith(b"\x89PNG")
    # Bonds of all atoms with all others are more than RDKit lays out.
    crowded = {**real.x, "bonds": torch.full_like(cut, 3)}
    assert len(view.samples(Examples(crowded), real)) == 2
    assert view.trajectory([0.0, 1.0], [masked, crowded])
    with pytest.raises(DataError, match="molecular graphs are states with the parts types"):
        GraphView(Spec((3,)))


def test_padding_is_not_shown_on_the_way():
    n, other = 4, torch.tensor([[1, 2, 0, 0]])
    start = {"types": torch.tensor([[0, 0, 0, 0]]), "bonds": torch.tensor([[0, 0, 0, 0, 0, 1]])}
    bonds = matrix_of(start["bonds"], n)
    bonds[0, 0, 2] = bonds[0, 2, 0] = 1
    end = {"types": other, "bonds": triangle_of(bonds)}
    assert _moving([start, end]).tolist() == [[True, True, True, False]]
    assert _moving([start]).tolist() == [[True] * 4]


def test_laws_of_the_network_on_rows():
    """On tokens it is asked as a row of the plugin."""
    results = check(lambda: small(graph(4, rows=True, label=Condition(3))), "model")
    assert {r.name: r.message for r in results if not r.ok} == {}
    assert {"check_permutations", "check_layout"} <= {r.name for r in results if r.status == "passed"}


class Ordered(GraphTransformer):
    """Knows which atom comes first."""

    def forward(self, x, t, /, **cond):
        out = super().forward(x, t, **cond)
        place = torch.arange(self.n).to(out["types"])
        return {**out, "types": out["types"] + place[:, None]}


class Misplaced(GraphTransformer):
    """Answers for the pair (i, j) with what it says of another pair."""

    def forward(self, x, t, /, **cond):
        out = super().forward(x, t, **cond)
        return {**out, "bonds": out["bonds"].roll(1, 1)}


class Careless(GraphTransformer):
    """Looks at padding."""

    def forward(self, x, t, /, **cond):
        out = super().forward(x, t, **cond)
        return {**out, "types": out["types"] + x["types"].nan_to_num(5.0).mean((1, 2))[:, None, None]}


@pytest.mark.parametrize(
    ("twin", "law"),
    [(Ordered, check_permutations), (Misplaced, check_permutations), (Careless, check_layout)],
)
def test_wrong_twins_are_caught(twin, law):
    with pytest.raises(LawBroken):
        law(lambda: twin(graph(rows=True), 8, 8, 8, 1, 2), Context())


def test_pairs_go_where_their_atoms_go(draws):
    n = 4
    places = pair_places(n)
    assert places.tolist()[1] == [0, -1, 3, 4]
    bonds = torch.arange(1, 7)[None]
    matrix = matrix_of(bonds, n)[0]
    assert torch.equal(matrix, matrix.T)
    assert matrix.diagonal().tolist() == [0] * 4
    types = torch.arange(n)[None]
    state = {"types": types, "bonds": bonds}
    cond = {"atoms": torch.tensor([[True, True, True, False]])}
    assert torch.equal(triangle_of(matrix[None]), bonds)
    cond["pairs"] = bonds % 2 == 1
    moved = GraphPermutation({"types": 1}, pairs=("bonds",)).moved(state, cond, graph(n), draws)
    order = moved.x["types"][0]
    assert not torch.equal(order, types[0])
    assert torch.equal(matrix_of(moved.x["bonds"], n)[0], matrix[order][:, order])
    assert torch.equal(moved.cond["atoms"][0], cond["atoms"][0][order])
    assert torch.equal(moved.cond["pairs"], moved.x["bonds"] % 2 == 1)


def test_one_atom_has_no_pairs_and_a_kind_one_name():
    assert matrix_of(torch.zeros(2, 0, 4), 1).tolist() == [[[[0.0] * 4]]] * 2
    with pytest.raises(DataError, match="each once"):
        MolecularGraphs(["small.csv"], kinds=["C", "N+", "N+1"])


def test_networks_refuse_other_states():
    with pytest.raises(IncompatibleError, match="graph-transformer is of graphs with the parts types"):
        GraphTransformer(Spec((3,)))
    with pytest.raises(ValueError, match="multiple of heads"):
        GraphTransformer(graph(), width=9, heads=2)


def test_the_loss_and_the_velocity_are_those_of_the_paper(home):
    """Cross-entropy of x1 at t x1 + (1 - t) x0; (softmax - x) / (1 - t)."""
    built = build(load_recipe("molecules-graphs", overrides=[*FEW, "data.files=[m.csv]"]))
    data, codec, objective = built["data"], built["codec"], built["objective"]
    examples = data.take(torch.arange(6))
    states = codec.encode(examples)
    assert torch.equal(codec.decode(states).x["bonds"], examples.x["bonds"])
    assert states.x["bonds"].shape[-1] == len(BONDS)
    seen = {}

    def network(x, t, /, **cond):
        seen.update(x=x, t=t)
        return {k: v.sin() for k, v in x.items()}

    x0 = built["source"].sample({k: tuple(v.shape) for k, v in states.x.items()})
    layout = Layout.of(codec.spec, states.cond)
    batch = Batch(x0, states.x, dict(states.cond), layout)
    loss = objective.loss(network, batch, Step(generator=torch.Generator().manual_seed(0))).total
    t = seen["t"][:, None, None]
    total = 0.0
    for part, real, weight in (("types", "atoms", 1.0), ("bonds", "pairs", 5.0)):
        kept = states.cond[real]
        x_t = t * states.x[part] + (1 - t) * x0[part]
        assert torch.allclose(seen["x"][part][kept], x_t[kept], atol=1e-6)
        nats = F.cross_entropy(x_t.sin().transpose(1, 2), examples.x[part], reduction="none")
        total = total + weight * ((nats * kept).sum(1) / kept.sum(1)).mean()
    assert torch.allclose(loss, total, atol=1e-5)
    field = read_as(objective.field(network, built["source"]), "velocity")
    at = torch.full((6,), 0.25)
    velocity = field(states.x, at, dict(states.cond))
    for part, value in states.x.items():
        assert torch.allclose(velocity[part], (value.sin().softmax(-1) - value) / 0.75, atol=1e-5)


@pytest.fixture
def home(tmp_path, monkeypatch, write_csv):
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "m.csv", ("smiles",), [(s,) for s in SMILES * 3])
    return tmp_path


def run(*words):
    return main([str(w) for w in words])


@pytest.mark.slow
def test_the_recipe_runs_and_goes_on_with_the_same_bits(home):
    from safetensors.torch import load_file

    quick = [
        *FEW,
        "data.files=[m.csv]",
        "data.most_heavy=7",
        "data.test=0.3",
        "data.val=0.1",
        "train.steps=4",
    ]
    quick += [
        "train.batch=8",
        "train.checkpoint_every=2",
        "train.keep_checkpoints=3",
        "solver.steps=3",
        "evaluate.n=6",
    ]
    given = [word for setting in quick for word in ("--set", setting)]
    assert run("run", "molecules-graphs", *given, "--out", "whole") == 0
    table = json.loads((home / "whole" / "evaluation.json").read_text())["columns"]
    assert table["training data"]["validity"] == 1
    page = (home / "whole" / "report.html").read_text()
    assert "Real molecules" in page
    assert "From noise to molecules" in page
    whole = load_file(home / "whole" / "flow.safetensors")
    shutil.copytree(home / "whole", home / "again")
    for name in ("flow.safetensors", "evaluation.json", "report.html"):
        (home / "again" / name).unlink()
    (home / "again" / "status.json").write_text(
        '{"format": 2, "state": "training", "step": 2, "message": ""}'
    )
    shutil.rmtree(sorted((home / "again" / "checkpoints").iterdir())[-1])
    assert run("run", "molecules-graphs", *given, "--out", "again") == 0
    again = load_file(home / "again" / "flow.safetensors")
    assert all(torch.equal(whole[k], again[k]) for k in whole)


DISCRETE = """
extends: molecules-graphs
codec: null
geometry: {use: product, parts: {types: discrete, bonds: discrete}}
source: {use: product, parts: {types: mask, bonds: mask}}
path: {use: product, parts: {types: mixture, bonds: mixture}}
solver: {use: mixed, parts: {types: ctmc-euler, bonds: ctmc-euler}, steps: 3}
"""


@pytest.mark.parametrize(
    "layer",
    [
        DISCRETE,
        "extends: molecules-graphs\nobjective: {parts: {types: flow-matching, bonds: flow-matching}}",
    ],
    ids=["discrete", "velocities"],
)
def test_other_flows_take_the_same_network(layer, home):
    import flowloom as fl

    (home / "other.yaml").write_text(layer)
    built = build(load_recipe("other.yaml", overrides=[*FEW, "data.files=[m.csv]", "data.most_heavy=7"]))
    names = ("geometry", "source", "path", "objective", "solver", "codec")
    parts = {k: built.get(k) for k in names}
    flow = fl.Flow(built["model"], spec=(built.get("codec") or built["data"]).spec, **parts)
    flow.fit(built["data"], steps=2, batch=8)
    flow.solver.steps = 3
    examples = built["data"].take(torch.arange(4))
    x = flow.sample(4, seed=0, **examples.cond)
    assert x["bonds"].shape == examples.x["bonds"].shape
    assert x["types"].dtype == torch.long


@pytest.mark.parametrize(
    ("recipe", "atoms", "kinds"), [("molecules-graphs-qm9", 9, 7), ("molecules-graphs-zinc", 38, 12)]
)
def test_the_published_network_takes_no_memory_and_has_its_parameters(recipe, atoms, kinds):
    """Layers of 256, 64 and 64, as DiGress's code makes them, whose last one makes no y here."""
    settings = plain(load_recipe(recipe).tree)["model"]
    pairs = atoms * (atoms - 1) // 2
    spec = Spec(parts={"types": Spec((atoms, kinds)), "bonds": Spec((pairs, 4))})
    given = {k: v for k, v in settings.items() if k != "use"}
    with torch.device("meta"):
        network = GraphTransformer(spec, **given)
    x, e, y, inner = 256, 64, 64, (256, 128, 2048)

    def linear(a, b):
        return a * b + b

    def rest(width, hidden):
        return linear(width, hidden) + linear(hidden, width) + 4 * width

    attention = 4 * linear(x, x) + 2 * linear(e, x) + 4 * linear(y, x) + linear(x, e)
    whole = linear(y, y) + linear(4 * x, y) + linear(4 * e, y) + 2 * linear(y, y) + rest(y, inner[2])
    layer = attention + rest(x, inner[0]) + rest(e, inner[1])
    assert sum(p.numel() for p in network.blocks.parameters()) == 9 * layer + 8 * whole
