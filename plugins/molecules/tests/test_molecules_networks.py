"""Networks: their laws on several specs, the graphs they run on, and the parameters of the papers."""

import pytest
import torch

from flowloom.data import Tensors
from flowloom.errors import IncompatibleError
from flowloom.spec import Condition, Spec
from flowloom.testing import check
from flowloom_molecules.crystals.network import CSPNet
from flowloom_molecules.graphs import Graphs, to_pyg
from flowloom_molecules.molecules.egnn import EGNN


def molecule(atoms=5, **conditions):
    parts = {"pos": Spec((atoms, 3)), "types": Spec((atoms,), vocab=4), "charges": Spec((atoms,), vocab=3)}
    real = Condition(shape=(atoms,), role="real", of="pos, types, charges")
    return Spec(parts=parts, conditions={"atoms": real, **conditions})


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
        lambda: CSPNet(cell(), width=16, depth=1, frequencies=2),
        lambda: CSPNet(cell(types=Spec((4, 7))), width=16, depth=1, frequencies=2),
    ],
    ids=["data", "velocity", "elements", "bits"],
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
