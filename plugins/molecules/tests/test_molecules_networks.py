"""Networks: their laws on several specs, the graphs they run on, and the parameters of the papers."""

import copy
import sys
from importlib import resources

import pytest
import torch
import yaml

from flowloom.data import Tensors
from flowloom.errors import IncompatibleError, MissingDependencyError
from flowloom.spec import Condition, Spec
from flowloom.testing import check
from flowloom_molecules.crystals.absolute import AbsoluteCSPNet
from flowloom_molecules.crystals.network import CSPNet
from flowloom_molecules.graphs import Graphs, to_pyg
from flowloom_molecules.molecules.edm import EDMNetwork
from flowloom_molecules.molecules.egnn import EGNN
from flowloom_molecules.molecules.tensor_field import TensorField, _Product, _tensors


def molecule(atoms=5, **conditions):
    parts = {"pos": Spec((atoms, 3)), "types": Spec((atoms,), vocab=4), "charges": Spec((atoms,), vocab=3)}
    real = Condition(shape=(atoms,), role="real", of="pos, types, charges")
    return Spec(parts=parts, conditions={"atoms": real, **conditions})


def tensors(spec=None, **settings):
    pytest.importorskip("e3nn", reason="the network needs e3nn")
    return TensorField(spec or molecule(), **{"width": 4, "depth": 2, "hidden": 8, "bumps": 4, **settings})


def laws(make):
    # CSPNet is fitted before it is asked; what it then sees of the data is not asked here.
    return check(make, "model", data=Tensors(torch.zeros(2, 1)))


def cell(atoms=4, types=None):
    parts = {"frac": Spec((atoms, 3)), "lengths": Spec((3,)), "angles": Spec((3,))}
    parts["types"] = types or Spec((atoms,), vocab=9)
    return Spec(parts=parts, conditions={"atoms": Condition(shape=(atoms,), role="real", of="frac, types")})


@pytest.mark.parametrize(
    "make",
    [
        lambda: EGNN(molecule(), width=16, depth=2),
        lambda: EGNN(molecule(label=Condition(3)), width=16, depth=1, answer="velocity", span=0.0),
        lambda: EDMNetwork(molecule(), width=16, depth=1),
        lambda: EDMNetwork(molecule(), width=8, depth=2, sublayers=2, share=1.0, answer="velocity"),
        tensors,
        lambda: tensors(molecule(label=Condition(3)), depth=1, degree=1, answer="velocity", span=0.0),
        lambda: CSPNet(cell(), width=16, depth=1, frequencies=2),
        lambda: CSPNet(cell(types=Spec((4, 7))), width=16, depth=1, frequencies=2),
    ],
    ids=["data", "velocity", "edm", "edm-velocity", "tensors", "vectors", "elements", "bits"],
)
def test_laws(make):
    results = laws(make)
    assert {r.name: r.message for r in results if not r.ok} == {}
    done = {r.name for r in results if r.status == "passed"}
    assert {"check_permutations", "check_translations", "check_layout"} <= done


class Nearsighted(EGNN):
    """Sees the first axis of positions, which no rotation leaves alone."""

    def forward(self, x, t, /, **cond):
        out = super().forward(x, t, **cond)
        return {**out, "types": out["types"] + x["pos"][..., :1]}


class Anchored(CSPNet):
    """Sees where atoms stand in the cell."""

    def forward(self, x, t, /, **cond):
        out = super().forward(x, t, **cond)
        return {**out, "lengths": out["lengths"] + (6.28 * x["frac"]).sin().mean(1)}


def test_wrong_twins_are_caught():
    broken = {r.name for r in laws(lambda: Nearsighted(molecule(), width=16, depth=1)) if not r.ok}
    assert {"check_rotations", "check_translations"} <= broken
    broken = {r.name for r in laws(lambda: Anchored(cell(), width=16, depth=1)) if not r.ok}
    assert "check_translations" in broken


def lopsided(flat=False):
    """Multiplies tensors by coefficients that are none of Clebsch and Gordan's; or in another order."""
    net = tensors()
    for layer in net.layers:
        for coefficients in layer.product.buffers():
            other = torch.randn(coefficients.shape, generator=torch.Generator().manual_seed(0))
            coefficients.copy_(coefficients.roll(1, 1) if flat else other)
    return net


@pytest.mark.parametrize("flat", [False, True])
def test_products_that_are_not_equivariant_are_caught(flat):
    broken = {r.name for r in laws(lambda: lopsided(flat)) if not r.ok}
    assert broken == {"check_rotations"}


def test_products_of_tensors_are_those_of_e3nn(draws):
    """Its own product, channel by channel, with the same weights and components of variance 1."""
    o3 = pytest.importorskip("e3nn.o3", reason="the network needs e3nn")
    before, after, harmonics = _tensors(3, 2), _tensors(3, 2), o3.Irreps.spherical_harmonics(2)
    ours = _Product(before, harmonics, after)
    paths, kinds = [], []
    for i, one in enumerate(before):
        for j, other in enumerate(harmonics):
            for ir in (ir for ir in one.ir * other.ir if ir in after):
                paths.append((i, j, len(kinds), "uvu", True))
                kinds.append((one.mul, ir))
    theirs = o3.TensorProduct(
        before,
        harmonics,
        o3.Irreps(kinds),
        paths,
        shared_weights=False,
        internal_weights=False,
        path_normalization="none",
    )
    assert ours.weights == theirs.weight_numel
    x, y = torch.randn(7, before.dim, generator=draws), torch.randn(7, harmonics.dim, generator=draws)
    w = torch.randn(7, ours.weights, generator=draws)
    assert torch.allclose(ours(x, y, w), theirs(x, y, w), atol=1e-5)


def test_tensors_need_e3nn_and_keep_no_constants_of_it(monkeypatch):
    net = tensors()
    assert not [name for name in net.state_dict() if "coefficients" in name or "w3j" in name]
    copy.deepcopy(net).load_state_dict(net.state_dict())
    with torch.device("meta"):
        assert {p.device.type for p in [*tensors(degree=3).parameters()]} == {"meta"}
    assert {b.device.type for b in tensors(degree=3).buffers()} == {"cpu"}  # nothing of the above is kept
    with pytest.raises(IncompatibleError, match="degree 1 or more, got 0"):
        TensorField(molecule(), degree=0)
    monkeypatch.setitem(sys.modules, "e3nn", None)
    with pytest.raises(MissingDependencyError, match=r"e3nn, or flowloom-molecules\[equivariant\]"):
        TensorField(molecule())


def test_rounds_of_edm_are_the_formula_in_loops(draws):
    net = EDMNetwork(molecule(4), width=6, depth=1, share=7.0, span=3.0).double()
    layer, (update,) = net.layers[0], net.layers[0].updates
    h, x = torch.randn(4, 6, generator=draws).double(), torch.randn(4, 3, generator=draws).double()
    given = torch.rand(4, 4, generator=draws).double()
    graphs = Graphs.complete(torch.ones(1, 4, dtype=torch.bool))
    hidden, place = layer(h, x, given[graphs.target, graphs.source], graphs)

    def pair(net, h, i, j):
        # The published first layer takes both atoms and both squares in one row.
        whole = torch.cat([net.here.weight, net.there.weight, net.apart.weight], 1)
        seen = torch.stack([(x[i] - x[j]).square().sum(), given[i, j]])
        return net.rest(whole @ torch.cat([h[i], h[j], seen]) + net.here.bias)

    after = []
    for i in range(4):
        messages = [pair(update.pair, h, i, j) for j in range(4) if j != i]
        arrived = sum(torch.sigmoid(update.gate(m)) * m for m in messages) / 7
        after.append(h[i] + update.update(torch.cat([h[i], arrived])))
    after = torch.stack(after)
    for i in range(4):
        way = torch.zeros(3).double()
        for j in set(range(4)) - {i}:
            apart = (x[i] - x[j]).norm()
            way = way + (x[i] - x[j]) / (apart + 1) * 3 * torch.tanh(
                layer.push(pair(layer.pair, after, i, j))
            )
        assert torch.allclose(place[i], x[i] + way / 7, atol=1e-7)
    assert torch.allclose(hidden, after)
    with pytest.raises(IncompatibleError, match="above 0, got 0"):
        EDMNetwork(molecule(), share=0.0)


def test_graphs_are_those_of_torch_geometric(draws):
    pyg = pytest.importorskip("torch_geometric.utils")
    real = torch.arange(5) < torch.tensor([[2], [5], [1]])
    graphs = Graphs.complete(real)
    batch = to_pyg(torch.randn(3, 5, 3, generator=draws), torch.zeros(3, 5, dtype=torch.long), real)
    assert torch.equal(batch.batch, graphs.row)
    ours = set(zip(graphs.source.tolist(), graphs.target.tolist(), strict=True))
    assert ours == set(map(tuple, batch.edge_index.T.tolist()))
    messages = torch.randn(len(graphs.target), 4, generator=draws)
    theirs = pyg.scatter(messages, graphs.target, dim=0, dim_size=len(graphs.row), reduce="sum")
    assert torch.allclose(graphs.gathered(messages), theirs, atol=1e-6)
    values = torch.randn(8, 2, generator=draws)
    assert torch.allclose(graphs.nodes(graphs.padded(values)), values)
    assert float(graphs.pooled(graphs.centred(values)).abs().max()) < 1e-6


def test_cspnet_answers_alike_for_any_supercell_shift_and_sees_the_lattice(draws):
    net = CSPNet(cell(), width=16, depth=1, frequencies=3).eval()
    x = {
        "frac": torch.rand(2, 4, 3, generator=draws),
        "lengths": torch.ones(2, 3),
        "angles": torch.zeros(2, 3),
        "types": torch.randint(9, (2, 4), generator=draws),
    }
    cond = {"atoms": torch.ones(2, 4, dtype=torch.bool)}
    t = torch.tensor([0.2, 0.7])
    other = net({**x, "lengths": 2 * x["lengths"]}, t, **cond)
    assert not torch.allclose(net(x, t, **cond)["frac"], other["frac"])
    velocity = net(x, t, **cond)["frac"].detach()
    assert float(velocity.mean(1).abs().max()) < 1e-6


def test_a_network_of_absolute_positions_is_cspnet_beside_what_it_sees(draws):
    """Without that it is CSPNet but for the mean; with it, the origin matters and velocities have a mean."""
    plain, net = (kind(cell(), width=16, depth=2, frequencies=3).eval() for kind in (CSPNet, AbsoluteCSPNet))
    others = net.load_state_dict(plain.state_dict(), strict=False)
    assert set(others.missing_keys) == {"place.weight", "place.bias"}
    x = {
        "frac": torch.rand(2, 4, 3, generator=draws),
        "lengths": torch.ones(2, 3),
        "angles": torch.zeros(2, 3),
        "types": torch.randint(9, (2, 4), generator=draws),
    }
    moved = {**x, "frac": x["frac"] + 1.0}
    rest = {"t": torch.tensor([0.2, 0.7]), "cond": {"atoms": torch.ones(2, 4, dtype=torch.bool)}}

    def ask(model, state):
        return model(state, rest["t"], **rest["cond"])["frac"].detach()

    assert float(ask(net, x).mean(1).abs().max()) > 1e-3
    # A whole turn is no symmetry of a box.
    assert not torch.allclose(ask(net, x), ask(net, moved), atol=1e-4)
    torch.nn.init.zeros_(net.place.weight)
    torch.nn.init.zeros_(net.place.bias)
    velocity = ask(net, x)
    assert torch.allclose(velocity - velocity.mean(1, keepdim=True), ask(plain, x), atol=1e-6)
    results = laws(lambda: AbsoluteCSPNet(cell(), width=16, depth=1, frequencies=2))
    assert {r.name: r.message for r in results if not r.ok} == {}
    assert "check_permutations" in {r.name for r in results if r.status == "passed"}


def test_states_without_atoms_in_space_are_refused():
    with pytest.raises(IncompatibleError, match="one part of positions"):
        EGNN(Spec((3,)))
    with pytest.raises(IncompatibleError, match="frac, lengths, angles and types"):
        CSPNet(molecule())


def test_networks_of_the_papers_scale_take_no_memory_and_have_their_parameters():
    """DiffCSP's layers (9 entries of a matrix) have 1,973,760 parameters each at 512; with 6 parameters of
    the lattice they have 3 rows of 512 less, and their norm comes first here as there."""
    with torch.device("meta"):
        crystals = CSPNet(cell(20, Spec((20,), vocab=118)), width=512, depth=6, frequencies=128)
        molecules = EGNN(molecule(29), width=256, depth=9)
    assert sum(p.numel() for p in crystals.layers.parameters()) == 6 * (1_973_760 - 3 * 512)
    assert 12e6 < sum(p.numel() for p in crystals.parameters()) < 13e6
    assert sum(p.numel() for p in molecules.parameters()) == 4_294_937


@pytest.mark.parametrize(
    ("recipe", "atoms", "kinds", "depth", "published"),
    [("molecules-geom", 181, 16, 4, 2_380_565), ("molecules-qm9", 29, 5, 9, 5_339_920)],
)
def test_rounds_of_edm_have_the_parameters_of_the_authors_code(recipe, atoms, kinds, depth, published):
    """Worked out from the layers that they publish, at 256: a round is 592,897.

    Around the rounds, they have linear maps of the kinds, t and, on QM9, the atomic number into 256 and back.
    """
    pair = (2 * 256 + 2) * 256 + 256 + 256 * 256 + 256
    update = pair + (2 * 256 * 256 + 256) + (256 * 256 + 256) + (256 + 1)
    told = kinds + 1 + (kinds == 5)
    assert depth * (update + pair + 256) + (told * 256 + 256) + (256 * told + told) == published
    parts = {"pos": Spec((atoms, 3)), "types": Spec((atoms,), vocab=kinds)}
    file = resources.files("flowloom_molecules") / "recipes" / f"{recipe}.yaml"
    given = yaml.safe_load(file.read_text(encoding="utf-8"))["model"]
    assert given.pop("use") == "edm-egnn"
    with torch.device("meta"):
        net = EDMNetwork(Spec(parts=parts), **given)
    assert sum(p.numel() for p in net.layers.parameters()) == depth * 592_897
    # Ours embeds kinds (one more than there are) and t, and normalises; theirs also answers t.
    around = (kinds + 1) * 256 + 2 * (256 * 256 + 256) + 2 * 256 + (256 * kinds + kinds)
    assert sum(p.numel() for p in net.parameters()) == depth * 592_897 + around
