"""What Riemannian flow matching (2302.03660) buys, small: claims of recipes, and a walk round a wall.

``-s`` shows figures.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

import flowloom as fl
from flowloom.data import Tensors
from flowloom.geometry import Euclidean
from flowloom.paths import AffinePath
from flowloom.solvers import Euler
from flowloom.sources import FromDataset
from flowloom.training import Cosine
from flowloom_geometries.mesh import MeshSurface
from flowloom_geometries.mesh.premetric import PremetricPath
from flowloom_geometries.mesh.shapes import walled_square
from flowloom_registry.studies.verify import find_claims, verify

pytestmark = pytest.mark.slow

SEEDS = (0, 1, 2)
SETTINGS = {"steps": 300, "batch": 128, "lr": 2e-3, "decay": Cosine(50), "ema": 0.995}


@pytest.mark.parametrize(("recipe", "count"), [("sphere-clusters", 2), ("torus-seam", 3)])
def test_the_claims_of_a_recipe_hold(recipe: str, count: int, tmp_path) -> None:
    decided = verify(find_claims([recipe]), tmp_path)
    print("", *decided, sep="\n")
    assert len(decided) == count
    assert all(one.holds for one in decided), [str(one) for one in decided if not one.holds]


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def plain(spec):
    return fl.models.MLP(spec, width=128, depth=3)


LEFT, RIGHT = (0.1, 0.1, 0.0), (0.65, 0.1, 0.0)


def room(corner, n: int, seed: int) -> Tensor:
    unit = torch.rand(n, 3, generator=torch.Generator().manual_seed(seed))
    return torch.tensor(corner) + 0.25 * torch.tensor([1.0, 1.0, 0.0]) * unit


def enters_wall(states, between: int) -> float:
    """Share of trajectories of which a point lies in the wall (less a hair), steps cut into ``between``."""
    hit = torch.zeros(len(states[0]), dtype=torch.bool)
    for a, b in itertools.pairwise(states):
        for k in range(between + 1):
            p = a + k / between * (b - a)
            hit |= ((p[:, 0] - 0.5).abs() < 0.045) & (p[:, 1] < 0.745)
    return float(hit.float().mean())


def test_flows_walk_round_a_wall() -> None:
    """A square of 426 vertices with a wall that leaves a gap: biharmonic premetric against straight lines."""
    vertices, triangles = walled_square(20)
    square = MeshSurface(vertices=vertices, triangles=triangles, count=100, normalize=False)
    premetric = PremetricPath(square, steps=60)
    ticks = torch.linspace(0, 1, 21).tolist()
    shares: dict[str, list[float]] = {
        "conditional paths, premetric": [],
        "conditional paths, straight": [],
        "trained, premetric": [],
        "trained, straight": [],
    }
    arrived = []
    for seed in SEEDS:
        x0, x1 = room(LEFT, 100, 10 + seed), room(RIGHT, 100, 20 + seed)
        simulated = [premetric.sample(x0, x1, torch.full((100,), t)).x_t for t in ticks]
        shares["conditional paths, premetric"].append(enters_wall(simulated, between=1))
        straight = [x0 + t * (x1 - x0) for t in ticks]
        shares["conditional paths, straight"].append(enters_wall(straight, between=1))
        data, source = (Tensors(room(c, 2000, s + seed)) for c, s in ((RIGHT, 30), (LEFT, 40)))
        arms = {
            "trained, premetric": {"geometry": square, "path": PremetricPath(square, steps=12)},
            "trained, straight": {"geometry": Euclidean(), "path": AffinePath()},
        }
        for arm, parts in arms.items():
            torch.manual_seed(seed)
            flow = fl.Flow(plain(data.spec), source=FromDataset(source), **parts)
            flow.fit(data, seed=seed, **(SETTINGS))
            solution = flow.solve(200, seed=seed, solver=Euler(100), keep=101)
            shares[arm].append(enters_wall(solution.trajectory, between=4))
            if arm == "trained, premetric":
                arrived.append(float((solution.x[:, 0] > 0.55).float().mean()))
    for name, values in shares.items():
        print(f"riemannian-flow-matching: wall entered by {name}: {mean(values):.3f}", values)
    print("riemannian-flow-matching: trained on the premetric, share that ends beyond the wall:", arrived)
    assert mean(shares["conditional paths, premetric"]) <= 0.02
    assert mean(shares["conditional paths, straight"]) >= 0.3
    assert mean(shares["trained, premetric"]) <= 0.02
    assert mean(shares["trained, straight"]) >= 0.3
    assert mean(arrived) >= 0.9
