"""Molecules against hand-written torch-geometric: training steps, alignment, conformers, match rate.

Run: python benchmarks/bench_molecules.py [--rounds 12] [--smiles FILE.csv]

The clock is the CPU time of this process on one thread, except for what takes several: conformers, and pairs
that are made in a thread ahead (wall clock, which other users of the machine spoil).
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from pathlib import Path

import torch
from interleave import interleave
from torch import nn

import flowloom as fl
from flowloom.couplings import Independent
from flowloom.geometry import Discrete, Euclidean, Product
from flowloom.layout import Layout
from flowloom.module_names import module_name
from flowloom.objectives import Batch, FlowMatching, PosteriorMatching, ProductObjective
from flowloom.objectives.base import Step
from flowloom.paths import AffinePath, MixturePath
from flowloom.sources import Uniform
from flowloom.spec import Condition, Spec
from flowloom_molecules.aligned import Aligned
from flowloom_molecules.bonded.symmetry import matrix_of
from flowloom_molecules.bonded.transformer import GraphTransformer
from flowloom_molecules.data.conformers import conformers
from flowloom_molecules.graphs import Graphs
from flowloom_molecules.molecules.egnn import EGNN


def spec(atoms, elements=5):
    """Positions and elements, with a mask."""
    return Spec(
        parts={"pos": Spec((atoms, 3)), "types": Spec((atoms,), vocab=elements)},
        conditions={"atoms": Condition(shape=(atoms,), role="real", of="pos, types")},
    )


class ByHand(nn.Module):
    """EGNN's layers run on a torch-geometric batch, as a careful user writes them; weights are shared."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, pos, types, t, batch, edge_index, size):
        from torch_geometric.utils import scatter

        net, (source, target) = self.net, edge_index

        def mean(values):
            return scatter(values, batch, 0, len(size), "sum") / size[:, None]

        start = pos - mean(pos)[batch]
        hidden = net.time(t)[batch] + net.embed[module_name("types")](types)
        given, place, count = (start[target] - start[source]).square().sum(-1), start, size[batch][:, None]
        for layer in net.layers:
            squares = (place[target] - place[source]).square().sum(-1)
            seen = torch.stack([squares, given, squares.add(1).log(), given.add(1).log()], -1)
            normed = layer.norm(hidden)
            first = layer.here(normed)[target] + layer.there(normed)[source] + layer.apart(seen)
            message = layer.message(first)
            gated = torch.sigmoid(layer.gate(message)) * message
            arrived = scatter(gated, target, 0, len(hidden), "sum") / count
            hidden = hidden + layer.update(torch.cat([normed, arrived], -1))
            pull = layer.span * torch.tanh(layer.push(message))
            way = (place[target] - place[source]) / ((squares + 1e-8).sqrt() + 1)[:, None]
            place = place + scatter(way * pull, target, 0, len(hidden), "sum") / count
        hidden = net.norm(hidden)
        return place - mean(place)[batch], net.read[module_name("types")](hidden)


def bench_step(rounds, batch=64, atoms=16, width=64, depth=5):
    """One training step: points of the path, network, loss, backward, AdamW."""
    torch.manual_seed(0)
    told = spec(atoms)
    net, twin = EGNN(told, width, depth), EGNN(told, width, depth)
    twin.load_state_dict(net.state_dict())
    by_hand = ByHand(twin)
    space = Product({"pos": Euclidean(), "types": Discrete(5)})
    objective = ProductObjective(
        {
            "pos": FlowMatching(AffinePath(geometry=Euclidean()), predict="data"),
            "types": PosteriorMatching(
                MixturePath(space.parts["types"], source=Uniform(space.parts["types"]))
            ),
        }
    )
    real = torch.arange(atoms) < torch.randint(6, atoms + 1, (batch, 1))
    x0 = {"pos": torch.randn(batch, atoms, 3), "types": torch.randint(5, (batch, atoms))}
    x1 = {"pos": torch.randn(batch, atoms, 3), "types": torch.randint(5, (batch, atoms))}
    cond = {"atoms": real}
    data = Batch(x0, x1, cond, Layout.of(told, cond))
    draws = torch.Generator()
    ours_optimizer = torch.optim.AdamW(net.parameters(), 0.0)
    hand_optimizer = torch.optim.AdamW(twin.parameters(), 0.0)

    def ours():
        draws.manual_seed(1)
        loss = objective.loss(net, data, Step(generator=draws)).total
        ours_optimizer.zero_grad()
        loss.backward()
        ours_optimizer.step()
        return loss

    graphs = Graphs.complete(real)  # torch-geometric's collation makes these once a batch
    a, b, ids0, ids1 = (graphs.nodes(v) for v in (x0["pos"], x1["pos"], x0["types"], x1["types"]))
    index, size = torch.stack([graphs.source, graphs.target]), graphs.size.float()

    def hand():
        from torch_geometric.utils import scatter

        t = torch.rand(batch)
        each = t[graphs.row]
        moved = torch.where(torch.rand(len(each)) < each, ids1, ids0)
        pos, logits = by_hand(a + each[:, None] * (b - a), moved, t, graphs.row, index, size)
        squares = scatter((pos - b).square().mean(1), graphs.row, 0, batch, "sum") / size
        nats = nn.functional.cross_entropy(logits, ids1, reduction="none")
        loss = (squares + scatter(nats, graphs.row, 0, batch, "sum") / size).mean()
        hand_optimizer.zero_grad()
        loss.backward()
        hand_optimizer.step()
        return loss

    t = torch.full((batch,), 0.3)
    with torch.no_grad():
        first = net(x0, t, **cond)
        pos, logits = by_hand(a, ids0, t, graphs.row, index, size)
        off = max(
            float((graphs.nodes(first["pos"]) - pos).abs().max()),
            float((graphs.nodes(first["types"]) - logits).abs().max()),
        )
    if not off < 1e-4:
        raise SystemExit(f"the two networks differ by {off:.2g}")
    print(interleave("training step, EGNN 64 x 5, batch 64", ours, hand, rounds, clock="cpu"), flush=True)


def bench_alignment(rounds, molecules=256, atoms=9):
    """Kabsch and assignment of a batch beside the step that they hide behind."""
    torch.manual_seed(0)
    told = spec(atoms)
    coupling = Aligned(
        Product({"pos": Euclidean(), "types": Discrete(5)}), of="pos", rotate=True, assign=True
    )
    x0, x1 = (
        {"pos": torch.randn(molecules, atoms, 3), "types": torch.zeros(molecules, atoms).long()} for _ in "ab"
    )
    cond = {"atoms": torch.ones(molecules, atoms, dtype=torch.bool)}
    layout = Layout.of(told, cond)
    net = EGNN(told, 64, 5)

    def step():
        out = net(x0, torch.rand(molecules), **cond)
        (out["pos"].square().mean() + out["types"].square().mean()).backward()

    def align():
        coupling.pair(x0, x1, cond, layout)

    print(
        interleave("alignment of 256 x 9 atoms / network step", align, step, rounds, clock="cpu"), flush=True
    )


def bench_hidden(rounds, steps=20, molecules=256, atoms=9):
    """Training whose pairs are turned and reordered in a thread ahead, beside training without them."""
    torch.manual_seed(0)
    told = spec(atoms)
    space = Product({"pos": Euclidean(), "types": Discrete(5)})
    source = fl.sources.Product({"pos": fl.sources.Gaussian(), "types": Uniform(space.parts["types"])})
    x = {"pos": torch.randn(2048, atoms, 3), "types": torch.randint(5, (2048, atoms))}
    data = fl.data.Tensors(x, {"atoms": torch.ones(2048, atoms, dtype=torch.bool)}, spec=told)
    objective = ProductObjective(
        {
            "pos": FlowMatching(AffinePath(geometry=Euclidean()), predict="data"),
            "types": PosteriorMatching(MixturePath(space.parts["types"], source=source.parts["types"])),
        }
    )

    def training(coupling):
        def run():
            parts = {"geometry": space, "source": source, "coupling": coupling, "objective": objective}
            fl.Flow(EGNN(told, 64, 5), spec=told, **parts).fit(data, steps=steps, batch=molecules, lr=0.0)

        return run

    aligned = Aligned(space, of="pos", rotate=True, assign=True)
    name = f"{steps} steps of 256 x 9 atoms, aligned ahead / not aligned (wall)"
    print(interleave(name, training(aligned), training(Independent()), max(3, rounds // 4), 1), flush=True)


class DenseByHand(nn.Module):
    """The graph transformer's layers on dense batches, as torch-geometric's ``to_dense_adj`` makes them."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, atoms, adjacency, t, real):
        net, both = self.net, real[:, :, None] & real[:, None, :]
        y = net.time(t)
        x = net.into["types"](atoms) * real[..., None]
        e = net.into["bonds"](adjacency) * both[..., None]
        for block in net.blocks:
            x, e, y = block(x, e, y, real)
        e = net.out["bonds"](e)
        return net.out["types"](x) + atoms, (e + e.transpose(1, 2)) / 2 + adjacency


def bench_graph_step(rounds, batch=64, atoms=9, kinds=8, orders=4):
    """One training step of CatFlow: points of the path, network, cross-entropies, backward, AdamW."""
    torch.manual_seed(0)
    pairs = atoms * (atoms - 1) // 2
    told = Spec(
        parts={"types": Spec((atoms, kinds)), "bonds": Spec((pairs, orders))},
        conditions={
            "atoms": Condition(shape=(atoms,), role="real", of="types"),
            "pairs": Condition(shape=(pairs,), role="real", of="bonds"),
        },
    )
    net, twin = (GraphTransformer(told, 64, 32, 32, 4) for _ in "ab")
    twin.load_state_dict(net.state_dict())
    by_hand = DenseByHand(twin)
    objective = ProductObjective(
        {name: PosteriorMatching(AffinePath()) for name in ("types", "bonds")}, weights={"bonds": 5.0}
    )
    real = torch.arange(atoms) < torch.randint(4, atoms + 1, (batch, 1))
    a, b = torch.triu_indices(atoms, atoms, offset=1)
    cond = {"atoms": real, "pairs": real[:, a] & real[:, b]}
    ids = {"types": torch.randint(kinds, (batch, atoms)), "bonds": torch.randint(orders, (batch, pairs))}
    x1 = {"types": nn.functional.one_hot(ids["types"], kinds).float()}
    x1["bonds"] = nn.functional.one_hot(ids["bonds"], orders).float()
    x0 = {name: torch.randn_like(value) for name, value in x1.items()}
    data, draws = Batch(x0, x1, cond, Layout.of(told, cond)), torch.Generator()
    ours_optimizer = torch.optim.AdamW(net.parameters(), 0.0)
    hand_optimizer = torch.optim.AdamW(twin.parameters(), 0.0)

    def ours():
        draws.manual_seed(1)
        loss = objective.loss(net, data, Step(generator=draws)).total
        ours_optimizer.zero_grad()
        loss.backward()
        ours_optimizer.step()
        return loss

    # to_dense_adj makes these once a batch; noise is symmetric, too.
    start, end = (matrix_of(v["bonds"], atoms) for v in (x0, x1))
    other = real[:, :, None] & real[:, None, :] & ~torch.eye(atoms, dtype=torch.bool)
    orders_of = end.argmax(-1)

    def hand():
        t = torch.rand(batch)
        each, of_pairs = t[:, None, None], t[:, None, None, None]
        x_t = torch.lerp(x0["types"], x1["types"], each) * real[..., None]
        e_t = torch.lerp(start, end, of_pairs) * other[..., None]
        logits, bonds = by_hand(x_t, e_t, t, real)
        nats = nn.functional.cross_entropy(logits.transpose(1, 2), ids["types"], reduction="none")
        loss = ((nats * real).sum(1) / real.sum(1)).mean()
        nats = nn.functional.cross_entropy(bonds.permute(0, 3, 1, 2), orders_of, reduction="none")
        loss = loss + 5 * ((nats * other).sum((1, 2)) / other.sum((1, 2))).mean()
        hand_optimizer.zero_grad()
        loss.backward()
        hand_optimizer.step()
        return loss

    with torch.no_grad():
        t = torch.full((batch,), 0.3)
        first = net(x0, t, **cond)
        logits, bonds = by_hand(x0["types"] * real[..., None], start * other[..., None], t, real)
        off = float((logits - first["types"])[real].abs().max())
        off = max(off, float((bonds[:, a, b] - first["bonds"])[cond["pairs"]].abs().max()))
    if not off < 1e-4:
        raise SystemExit(f"the two networks differ by {off:.2g}")
    name = "training step, graph transformer 64 x 4, batch 64"
    print(interleave(name, ours, hand, rounds, clock="cpu"), flush=True)


def bench_conformers(file, n=60):
    """Two processes against one, over the same molecules."""
    with open(file, newline="", encoding="utf-8") as lines:
        smiles = [row["smiles"] for row in csv.DictReader(lines)][:n]
    settings = {
        "most_heavy": 40, "hydrogens": True, "elements": ["C", "N", "O", "F", "P", "S", "Cl", "Br", "I"],
        "salts": "refuse", "conformers": 1, "optimise": "mmff", "seed": 0, "seconds": 30,
    }  # fmt: skip
    seconds = []
    for workers in (1, 2):
        began = time.perf_counter()
        conformers(smiles, settings, workers)
        seconds.append(time.perf_counter() - began)
    one, two = seconds
    print(f"{n} conformers: one process {one:.2f} s, two {two:.2f} s, {one / two:.2f}x", flush=True)


def bench_match(n=500):
    """Match rate of perovskites against shaken copies of themselves."""
    import numpy as np
    from pymatgen.core import Lattice, Structure

    from flowloom_molecules.crystals.match import StructureMatch

    rng = np.random.default_rng(0)
    place = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    true = [Structure(Lattice.cubic(a), ["Ca", "Ti", "O", "O", "O"], place) for a in rng.uniform(3.6, 4.4, n)]
    drawn = [Structure(s.lattice, s.species, s.frac_coords + rng.normal(0, 0.05, (5, 3))) for s in true]
    began = time.process_time()
    rate, rms = StructureMatch().matched(drawn, true)
    took = time.process_time() - began
    print(f"match rate of {n} structures: {took:.1f} s CPU (rate {rate:.3f}, rms {rms:.3f}); bound 300 s")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument(
        "--smiles", type=Path, help="a CSV with a column smiles; a few alkanes where left out"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    bench_step(given.rounds)
    bench_graph_step(given.rounds)
    bench_alignment(given.rounds)
    bench_hidden(given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        file = given.smiles
        if file is None:
            file = Path(folder) / "alkanes.csv"
            file.write_text("smiles\n" + "\n".join("C" * k + "(=O)O" for k in range(1, 61)))
        bench_conformers(file)
    bench_match()


if __name__ == "__main__":
    main()
