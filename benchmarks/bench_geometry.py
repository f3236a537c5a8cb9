"""Paths, solving and likelihoods on manifolds against the published package ``flow_matching``, and by hand.

For every case three functions do the same work on the same tensors in one process, in turn: flowloom, the
package, and the plain PyTorch that a careful user would write (the limit). Outputs are compared first.
The clock is the CPU time of this process, on one thread, so that a busy machine does not matter.

Run: python benchmarks/bench_geometry.py [--rounds 30] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import itertools
import math

import torch
from flow_matching.path import GeodesicProbPath
from flow_matching.path.scheduler import CondOTScheduler
from flow_matching.solver import ODESolver, RiemannianODESolver
from flow_matching.utils import ModelWrapper
from flow_matching.utils.manifolds import FlatTorus as PeerTorus
from flow_matching.utils.manifolds import Sphere as PeerSphere
from interleave import in_turn, medians
from torch import nn

import flowloom as fl
from flowloom import likelihood
from flowloom.draw import Draw
from flowloom.geometry import FlatTorus, Sphere
from flowloom.paths import GeodesicPath
from flowloom.sources import Gaussian

HEADER = "| case | flowloom ms | package ms | hand ms | package / flowloom | flowloom / hand | target |"


def measure(functions, rounds):
    """Median CPU milliseconds of every function, called in turn in changing order."""
    return medians(in_turn(functions, rounds, clock="cpu"))


def row(case, milliseconds, target):
    """One line of the table."""
    ours, theirs, hand = (milliseconds[name] for name in ("flowloom", "package", "hand"))
    print(
        f"| {case} | {ours:.3f} | {theirs:.3f} | {hand:.3f} | {theirs / ours:.2f}x | {ours / hand:.2f}x "
        f"| {target} |",
        flush=True,
    )
    return theirs / ours


def agree(name, tolerance, *values):
    """Stop where outputs that should be equal are not."""
    for other in values[1:]:
        worst = float((values[0] - other).abs().max())
        if not worst <= tolerance:
            raise SystemExit(f"{name}: outputs differ by {worst:.2g}, more than {tolerance:g}")


def sphere_path_by_hand(x0, x1, t):
    """Great circle with a safe direction; antipodes are left to luck, as users do."""
    along = (x0 * x1).sum(-1, keepdim=True)
    across = x1 - along * x0
    sin = across.norm(dim=-1, keepdim=True)
    angle = torch.atan2(sin, along)
    e = across / sin.clamp_min(1e-12)
    swept = t[:, None] * angle
    cos, sin = swept.cos(), swept.sin()
    return cos * x0 + sin * e, angle * (cos * e - sin * x0)


def torus_path_by_hand(x0, x1, t):
    """Shorter way round."""
    way = x1 - x0
    way = way - 2 * math.pi * torch.round(way / (2 * math.pi))
    return torch.remainder(x0 + t[:, None] * way, 2 * math.pi), way


def bench_path(name, space, peer, by_hand, dims, batch, rounds):
    """Sampling a geodesic path."""
    g = torch.Generator().manual_seed(0)
    x0, x1 = space.random((batch, dims), Draw(g)), space.random((batch, dims), Draw(g))
    t = torch.rand(batch, generator=g)
    ours, theirs = GeodesicPath(space), GeodesicProbPath(scheduler=CondOTScheduler(), manifold=peer)
    a, b, c = ours.sample(x0, x1, t), theirs.sample(x0, x1, t), by_hand(x0, x1, t)
    # Rows at the cut locus are decided by rounding; compare the others.
    d = space.distance(x0, x1)
    keep = d < 0.99 * math.pi if isinstance(space, Sphere) else (c[1].abs() < 0.999 * math.pi).all(1)
    agree(f"{name} points", 2e-3, a.x_t[keep].cos(), b.x_t[keep].cos(), c[0][keep].cos())
    agree(f"{name} velocities", 2e-2, a.velocity[keep], b.dx_t[keep], c[1][keep])
    functions = {
        "flowloom": lambda: ours.sample(x0, x1, t),
        "package": lambda: theirs.sample(x0, x1, t),
        "hand": lambda: by_hand(x0, x1, t),
    }
    row(f"geodesic path, {name}, batch {batch}, {dims} coordinates", measure(functions, rounds), ">= 8x")


class Swirl(nn.Module):
    """A smooth field on the sphere that costs almost nothing, so that the solver shows."""

    def __init__(self):
        super().__init__()
        self.axis = nn.Parameter(torch.tensor([0.3, -0.5, 0.8]))

    def forward(self, x, t):
        # Without the time: the package hands over one number, flowloom one for each row.
        return torch.linalg.cross(self.axis.expand_as(x), x) + torch.sin(2 * x.roll(1, -1))


class Peer(ModelWrapper):
    """A module as the package's solvers call it."""

    def forward(self, x, t, **extras):
        return self.model(x, t, **extras)


def solve_by_hand(model, x, steps):
    """The midpoint rule with projection."""

    def field(z, s):
        v = model(z, torch.full((len(z),), s, dtype=z.dtype))
        return v - (z * v).sum(-1, keepdim=True) * z

    dt = 1 / steps
    for i in range(steps):
        k = field(x, i * dt)
        half = x + 0.5 * dt * k
        half = half / half.norm(dim=-1, keepdim=True)
        x = x + dt * field(half, (i + 0.5) * dt)
        x = x / x.norm(dim=-1, keepdim=True)
    return x


def order_of(solve):
    """Measured order of convergence in float64: errors at 20 and 40 steps against 640."""
    fine = solve(640)
    errors = [float((solve(n) - fine).norm(dim=-1).mean()) for n in (20, 40)]
    return math.log2(errors[0] / errors[1])


def bench_solver(name, model, batch, rounds):
    """Solving on the sphere with the midpoint rule: two evaluations a step in all three."""
    space, steps = Sphere(2), 20
    x = space.random((batch, 3), Draw(torch.Generator().manual_seed(0)))
    field = fl.objectives.FlowMatching(GeodesicPath(space)).field(model)
    peer = RiemannianODESolver(manifold=PeerSphere(), velocity_model=Peer(model))

    def ours(n, z=x):
        with torch.no_grad():
            return fl.solvers.Midpoint(n).solve(field, z)

    def theirs(n, z=x):
        return peer.sample(z, step_size=1 / n, method="midpoint")

    def hand(n, z=x):
        with torch.no_grad():
            return solve_by_hand(model, z, n)

    assert ours(steps).nfe == 2 * steps
    model.double()
    orders = [order_of(lambda n: ours(n, x[:64].double()).x), order_of(lambda n: theirs(n, x[:64].double()))]
    model.float()
    agree("solver", 2e-2, ours(100).x, theirs(100), hand(100))
    functions = {
        "flowloom": lambda: ours(steps),
        "package": lambda: theirs(steps),
        "hand": lambda: hand(steps),
    }
    each = {k: v / (2 * steps) for k, v in measure(functions, rounds).items()}
    note = f"order {orders[0]:.2f} and {orders[1]:.2f}"
    row(f"sphere, midpoint, per evaluation, {name}, batch {batch} ({note})", each, ">= 1x")


class Perceptron(nn.Module):
    """Hidden layers with SiLU, the time appended."""

    def __init__(self, dims, width, depth):
        super().__init__()
        sizes = [dims + 1, *(width,) * depth]
        layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.SiLU())]
        self.net = nn.Sequential(*layers, nn.Linear(width, dims))

    def forward(self, x, t):
        return self.net(torch.cat([x, t.expand(len(x))[:, None]], 1))


def likelihood_by_hand(model, x, steps):
    """Euler backwards; the Jacobian's diagonal by one vectorised forward-mode pass, as textbooks have it."""
    basis = torch.eye(x.shape[1])
    gain, dt = torch.zeros(len(x)), 1 / steps

    def field(z, t):
        return model(z, torch.full((len(z),), t))

    for i in range(steps):
        t = 1 - i * dt

        def along(e, z=x, t=t):
            value, slope = torch.func.jvp(lambda y: field(y, t), (z,), (e.expand_as(z),))
            return value, slope @ e

        v, diagonal = torch.func.vmap(along, out_dims=(None, 0))(basis)
        x, gain = x - dt * v, gain + dt * diagonal.sum(0)
    return -0.5 * x.square().sum(1) - 0.5 * x.shape[1] * math.log(2 * math.pi) - gain


def bench_likelihood(dims, batch, shape, rounds, target):
    """Exact log-likelihood by 10 Euler steps."""
    torch.manual_seed(0)
    model, steps = Perceptron(dims, *shape), 10
    x = torch.randn(batch, dims)
    field = fl.objectives.FlowMatching().field(model, fl.sources.Gaussian())
    peer = ODESolver(velocity_model=Peer(model))
    solver, source = fl.solvers.Euler(steps), Gaussian()

    def ours():
        with torch.no_grad():
            return likelihood.log_prob(field, source, x, solver=solver).log_prob

    def theirs():
        return peer.compute_likelihood(
            x, source.log_prob, step_size=1 / steps, method="euler", exact_divergence=True
        )[1]

    def hand():
        with torch.no_grad():
            return likelihood_by_hand(model, x, steps)

    agree("likelihood", 1e-3 * dims, ours(), theirs(), hand())
    row(
        f"exact log-likelihood, {dims} dimensions, batch {batch}, MLP {shape[0]} x {shape[1]}",
        measure({"flowloom": ours, "package": theirs, "hand": hand}, rounds),
        target,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--only", choices=["path", "solve", "likelihood"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, CPU time on one thread, medians of {options.rounds} rounds")
    print(HEADER)
    print("|---" * 7 + "|")
    if options.only in (None, "path"):
        bench_path("sphere", Sphere(2), PeerSphere(), sphere_path_by_hand, 3, 4096, options.rounds)
        bench_path("torus", FlatTorus(), PeerTorus(), torus_path_by_hand, 7, 4096, options.rounds)
    if options.only in (None, "solve"):
        for batch in (256, 4096):
            bench_solver("bare field", Swirl(), batch, options.rounds)
            torch.manual_seed(0)
            bench_solver("MLP 64 x 3", Perceptron(3, 64, 3), batch, options.rounds)
    if options.only in (None, "likelihood"):
        few = max(5, options.rounds // 3)
        # The wider the network, the more of the time is matrix products that all three have in common.
        for shape in ((64, 3), (128, 2), (256, 3)):
            for batch in (64, 256):
                bench_likelihood(8, batch, shape, few, ">= 1.8x")
            bench_likelihood(64, 64, shape, few, ">= 3x")


if __name__ == "__main__":
    main()
