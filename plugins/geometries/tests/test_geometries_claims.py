"""What Riemannian flow matching (2302.03660) buys, small: same network, steps and seeds, baseline beside.

Data, networks, seeds and thresholds were fixed before the first run; thresholds are for means over the seeds.
MMD is the root of the unbiased squared MMD, kernel exp(-d^2 / 2 w^2) of geodesic distances d, w = 0.5;
its floor is that of two real sets. Figures are printed; run with ``-s`` to see them.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

import flowloom as fl
from flowloom.data import Tensors
from flowloom.draw import Draw
from flowloom.geometry import Euclidean, FlatTorus, Geometry, Sphere
from flowloom.paths import AffinePath
from flowloom.solvers import Dopri5, Euler, Midpoint
from flowloom.sources import FromDataset, Gaussian, Uniform
from flowloom.training import Cosine
from flowloom_geometries.data import VonMisesFisherMixture, WrappedNormalMixture
from flowloom_geometries.mesh import MeshSurface
from flowloom_geometries.mesh.premetric import PremetricPath
from flowloom_geometries.mesh.shapes import walled_square
from flowloom_geometries.models import PeriodicMLP

pytestmark = pytest.mark.slow

SEEDS = (0, 1, 2)
SETTINGS = {"steps": 2000, "batch": 512, "lr": 2e-3, "decay": Cosine(50), "ema": 0.995}
N = 4000


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def mmd(space: Geometry, x: Tensor, y: Tensor, width: float = 0.5) -> float:
    def kernel(a: Tensor, b: Tensor) -> Tensor:
        rows = [space.distance(row.expand_as(b), b) for row in a]
        return torch.exp(-torch.stack(rows).square() / (2 * width**2))

    n, m = len(x), len(y)
    xx, yy = kernel(x, x), kernel(y, y)
    inside = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return math.sqrt(max(0.0, float(inside - 2 * kernel(x, y).mean())))


def fitted(seed: int, data, model, **parts) -> fl.Flow:
    torch.manual_seed(seed)
    flow = fl.Flow(model(data.spec), **parts)
    flow.fit(data, seed=seed, **SETTINGS)
    return flow


def plain(spec):
    return fl.models.MLP(spec, width=128, depth=3)


def periodic(spec):
    return PeriodicMLP(spec, width=128, depth=3)


def drawn(flow: fl.Flow, space: Geometry, seed: int) -> Tensor:
    return space.project(flow.solve(N, seed=seed, solver=Midpoint(50)).x)


def nll_gap(flow: fl.Flow, data) -> float:
    held = data.split("test").take(torch.arange(1000)).x
    with torch.no_grad():
        return float((data.log_prob(held) - flow.log_prob(held, solver=Dopri5(1e-5, 1e-5))).double().mean())


def invariants(flow: fl.Flow, space: Geometry, seed: int) -> tuple[float, float]:
    """Largest distance from the manifold and largest normal part of the field, along float32 trajectories."""
    solution = flow.solve(1000, seed=seed, solver=Midpoint(50), keep=11)
    off, normal = 0.0, 0.0
    with torch.no_grad():
        for t, x in zip(solution.times, solution.trajectory, strict=True):
            off = max(off, float(space.violation(x).max()))
            v = flow.field()(x, torch.full((len(x),), t), {})
            normal = max(normal, float((v - space.to_tangent(x, v)).abs().max()))
    return off, normal


def clusters(name: str, make_data, space: Geometry, arms) -> dict[str, float]:
    """Train every arm at every seed; print and return means."""
    columns: dict[str, list[float]] = {arm: [] for arm in ("floor", *arms, "gap", "off", "normal")}
    for seed in SEEDS:
        data = make_data(seed)
        held, other = (data.split(s).take(torch.arange(N)).x for s in ("test", "val"))
        columns["floor"].append(mmd(space, held, other))
        for arm, (model, parts) in arms.items():
            flow = fitted(seed, data, model, **parts)
            columns[arm].append(mmd(space, drawn(flow, space, seed), held))
            if arm == "rfm":
                columns["gap"].append(nll_gap(flow, data))
                off, normal = invariants(flow, space, seed)
                columns["off"].append(off)
                columns["normal"].append(normal)
    for arm, values in columns.items():
        print(f"riemannian-flow-matching: {name}: {arm} {mean(values):.2g}", [f"{v:.2g}" for v in values])
    return {arm: max(v) if arm in ("off", "normal", "gap") else mean(v) for arm, v in columns.items()}


def test_clusters_on_the_sphere() -> None:
    """Four clusters, two of them on either side of the south pole; the baseline flows in R^3 and projects."""
    sphere = Sphere(2)
    found = clusters(
        "sphere, MMD",
        lambda seed: VonMisesFisherMixture(seed=seed),
        sphere,
        {
            "rfm": (plain, {"geometry": sphere}),
            "euclidean": (plain, {"geometry": Euclidean(), "source": Gaussian()}),
        },
    )
    assert found["gap"] <= 0.15
    assert found["off"] <= 1e-5
    assert found["normal"] <= 1e-6


def test_clusters_across_the_seam_of_the_torus() -> None:
    """Three clusters, each of them across a seam.

    Baselines: straight paths in the chart, with the network that sees angles (the only difference then is
    the path), and with a plain one of the same width on unwrapped coordinates, wrapped at the end. All
    three arms start from the uniform law.
    """
    torus = FlatTorus()
    chart = {"geometry": Euclidean(), "path": AffinePath(), "source": Uniform(torus)}
    found = clusters(
        "torus, MMD",
        lambda seed: WrappedNormalMixture(seed=seed),
        torus,
        {
            "rfm": (periodic, {"geometry": torus}),
            "euclidean": (periodic, chart),
            "euclidean, plain network": (plain, chart),
        },
    )
    ratios = {arm: found["rfm"] / found[arm] for arm in ("euclidean", "euclidean, plain network")}
    print("riemannian-flow-matching: torus: MMD ratio RFM / Euclidean", ratios)
    assert found["gap"] <= 0.15
    assert found["off"] <= 1e-5
    assert found["normal"] <= 1e-6
    assert ratios["euclidean"] <= 0.8


def test_exp_and_log_are_inverse_in_float32() -> None:
    """Round trips on both spaces, to 1e-5 where the points are not opposite."""
    for space, shape in ((Sphere(2), (3,)), (FlatTorus(), (2,))):
        draws = torch.Generator().manual_seed(0)
        x, y = (space.random((N, *shape), Draw(draws)) for _ in "xy")
        back = space.distance(space.exp(x, space.log(x, y)), y)
        print(f"riemannian-flow-matching: round trip on {space}: {float(back.max()):.1e}")
        assert float(back.max()) <= 1e-5


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
            flow.fit(data, seed=seed, **(SETTINGS | {"steps": 300, "batch": 128}))
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
