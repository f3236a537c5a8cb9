"""CatFlow (2406.04843) against plain flow matching on small graphs: same network, same one-hots, same seeds.

Thresholds are for means over the seeds 0, 1 and 2. Figures are printed; run with ``-s`` to see them.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import flowloom as fl
from flowloom.data import Tensors
from flowloom.geometry import Euclidean
from flowloom.metrics import sliced_wasserstein
from flowloom.models import MLP
from flowloom.objectives import FlowMatching, Objective, PosteriorMatching
from flowloom.paths import AffinePath
from flowloom.solvers import Euler, Solver
from flowloom.spec import Spec
from flowloom_sequences.simplex import OneHot, SimplexEuler

SEEDS = (0, 1, 2)
NODES = 10
EDGES = torch.triu_indices(NODES, NODES, offset=1)
SPEC = Spec(shape=(EDGES.shape[1],), vocab=2)


def graphs(n: int, seed: int) -> Tensor:
    """Edges ``(n, 45)``: half with two communities of five nodes, half stars around a random hub."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.arange(NODES) // 5
    within = side[EDGES[0]] == side[EDGES[1]]
    p = torch.where(within, 0.85, 0.10)
    communities = torch.rand(n, len(p), generator=generator) < p
    hub = torch.randint(NODES, (n, 1), generator=generator)
    stars = (EDGES[0] == hub) | (EDGES[1] == hub)
    return torch.where(torch.rand(n, 1, generator=generator) < 0.5, stars, communities).long()


def statistics(edges: Tensor) -> tuple[Tensor, float]:
    """Sorted degrees and triangles / 10 of every graph ``(n, 11)``, and the share without triangles."""
    a = torch.zeros(len(edges), NODES, NODES, dtype=torch.float64)
    a[:, EDGES[0], EDGES[1]] = edges.double()
    a = a + a.transpose(1, 2)
    triangles = (a @ a @ a).diagonal(dim1=1, dim2=2).sum(1) / 6
    features = torch.cat([a.sum(1).sort(1).values, triangles[:, None] / 10], 1)
    return features, float((triangles == 0).double().mean())


def trained(objective: Objective, solver: Solver, seed: int) -> fl.Flow:
    torch.manual_seed(seed)
    codec = OneHot(SPEC)
    flow = fl.Flow(
        MLP(codec.spec, width=192, depth=3),
        codec=codec,
        source=fl.sources.Gaussian(),
        objective=objective,
        solver=solver,
    )
    data = Tensors(graphs(20_000, seed), spec=SPEC)
    flow.fit(data, steps=1500, batch=192, lr=1e-3, ema=0.995, seed=seed)
    return flow


@pytest.mark.slow
def test_categorical_posteriors_make_better_graphs_than_velocities() -> None:
    """Sliced Wasserstein of degrees and triangles, and how far the end points are off the simplex."""
    flat = Euclidean()
    arms: dict[str, tuple[Objective, Solver, Solver]] = {
        # `step` makes the last step like all others, so that the drift at t = 1 is the flow's own.
        "CatFlow": (
            PosteriorMatching(AffinePath(geometry=flat)),
            SimplexEuler(50, finish="step"),
            SimplexEuler(10, finish="step"),
        ),
        "velocities": (FlowMatching(AffinePath(geometry=flat)), Euler(50), Euler(10)),
    }
    real, real_share = statistics(graphs(4000, 1_000))
    floor = sum(sliced_wasserstein(statistics(graphs(2000, 2_000 + s))[0], real) for s in SEEDS) / len(SEEDS)
    print(f"catflow: floor SW {floor:.3f}, triangle-free {real_share:.3f}")
    distance, drift, share = {}, {}, {}
    for name, (objective, fine, coarse) in arms.items():
        rows = []
        for seed in SEEDS:
            flow = trained(objective, fine, seed)
            row = []
            for solver in (fine, coarse):
                x = flow.solve(2000, solver=solver, seed=seed).x
                assert isinstance(x, Tensor)
                assert flow.codec is not None
                features, free = statistics(flow.codec.decode_state(x))
                row += [sliced_wasserstein(features, real), free, float((x.sum(-1) - 1).abs().mean())]
            rows.append(row)
            print(
                f"catflow: {name} seed {seed}: SW {row[0]:.3f}, triangle-free {row[1]:.3f}, "
                f"drift {row[2]:.1e}; 10 steps: SW {row[3]:.3f}, triangle-free {row[4]:.3f}"
            )
        mean = torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
        distance[name], share[name], drift[name] = mean[0], mean[1], mean[2]
        print(
            f"catflow: {name} mean: SW {mean[0]:.3f}, triangle-free {mean[1]:.3f}, drift {mean[2]:.1e}; "
            f"10 steps: SW {mean[3]:.3f}"
        )
    assert distance["CatFlow"] / distance["velocities"] <= 0.6
    assert drift["CatFlow"] <= 1e-3
    assert drift["velocities"] > 10 * drift["CatFlow"]
    assert abs(share["CatFlow"] - real_share) < abs(share["velocities"] - real_share)
