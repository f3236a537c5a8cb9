"""Jump-process sampling and its loss against the published ``flow_matching`` package.

    python benchmarks/bench_sequences.py [--repeats 7] [--threads 1] [--clock cpu|wall]

Same process, same network, same law. The network is a table look-up (logits computed beforehand), so that
what is timed is the solver. Libraries are interleaved and medians reported; beside each ratio stands that of
the plain-torch code a careful user writes by hand. Laws are compared first: the histogram of tokens.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
from flow_matching.loss import MixturePathGeneralizedKL
from flow_matching.path import MixtureDiscreteProbPath
from flow_matching.path.scheduler import PolynomialConvexScheduler
from flow_matching.solver import MixtureDiscreteEulerSolver
from flow_matching.utils import ModelWrapper
from torch import Tensor
from torch.nn import functional as F

from flowloom.fields import Field
from flowloom.geometry import Discrete
from flowloom.objectives import PosteriorMatching
from flowloom.paths import MixturePath, Point
from flowloom.schedules import Polynomial
from flowloom.solvers import CTMCEuler
from flowloom.sources import Uniform
from flowloom_sequences.elbo import generalized_kl

B, L, V, STEPS = 64, 256, 256, 64


class Table(Field):
    """A posterior that is the same everywhere."""

    kind = "posterior"

    def __init__(self, logits: Tensor, path: MixturePath) -> None:
        self.logits, self.path, self.geometry = logits, path, path.geometry

    def __call__(self, x, t, cond):
        return self.logits


class Theirs(ModelWrapper):
    """The same as probabilities, which the peer's solver asks of its model."""

    def __init__(self, p: Tensor) -> None:
        super().__init__(torch.nn.Identity())
        self.p = p

    def forward(self, x, t, **extras):
        return self.p


def by_hand(logits: Tensor, x: Tensor, n: float, generator: torch.Generator) -> Tensor:
    """What a careful user writes: draw where a jump happens."""
    x, rows = x.flatten().clone(), logits.flatten(0, -2)
    for k in range(STEPS):
        t, h = k / STEPS, 1 / STEPS
        rate = n * t ** (n - 1) / (1 - t**n)
        if k == STEPS - 1:
            where = torch.arange(len(x))
        else:
            where = (torch.rand(len(x), generator=generator) < -math.expm1(-h * rate)).nonzero()[:, 0]
        if len(where):
            p = torch.softmax(rows[where], -1)
            edges = p.cumsum(-1)
            u = torch.rand(len(where), 1, generator=generator) * edges[:, -1:]
            x[where] = torch.searchsorted(edges, u)[:, 0].clamp(max=V - 1)
    return x


def interleaved(cases: dict[str, Callable[[], object]], repeats: int, clock) -> dict[str, float]:
    """Median milliseconds of every case, run in turn."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for run in cases.values():
        run()
    for _ in range(repeats):
        for name, run in cases.items():
            began = clock()
            run()
            times[name].append(1000 * (clock() - began))
    return {name: statistics.median(values) for name, values in times.items()}


def report(title: str, medians: dict[str, float], peer: str = "flow_matching") -> None:
    """One line a case: milliseconds and the peer's time over it."""
    print(title)
    for name, value in medians.items():
        print(f"  {name:<28}{value:10.2f} ms   {medians[peer] / value:6.2f}x")


def main() -> None:
    """Run every case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)

    # The laws: every row starts from token 0, so that the histogram shows both jumps and draws.
    row = torch.randn(V)
    logits = row.expand(B, L, V).contiguous()
    schedule = Polynomial(2.0)
    geometry = Discrete(V)
    path = MixturePath(geometry, schedule, source=Uniform(geometry))
    field = Table(logits, path)
    peer_path = MixtureDiscreteProbPath(PolynomialConvexScheduler(n=2.0))
    peer = MixtureDiscreteEulerSolver(
        Theirs(torch.softmax(logits, -1)), peer_path, V, torch.full((V,), 1.0 / V)
    )
    x0 = torch.zeros(B, L, dtype=torch.long)
    wanted = torch.softmax(row.double(), 0)
    floor = 0.5 * (torch.bincount(torch.multinomial(wanted, B * L, True), minlength=V) / (B * L) - wanted)
    results = {
        "flowloom": CTMCEuler(STEPS).solve(field, x0, generator=generator).x.flatten(),
        "flow_matching": peer.sample(x0.clone(), step_size=1 / STEPS).flatten(),
        "by hand": by_hand(logits, x0, 2.0, generator),
    }
    for name, x in results.items():
        gap = 0.5 * (torch.bincount(x, minlength=V) / x.numel() - wanted).abs().sum()
        print(f"law of {name}: total variation {float(gap):.4f} (floor {float(floor.abs().sum()):.4f})")

    logits = torch.randn(B, L, V)
    field.logits, peer.model.p = logits, torch.softmax(logits, -1)
    x0 = torch.randint(V, (B, L))
    medians = interleaved(
        {
            "flow_matching": lambda: peer.sample(x0.clone(), step_size=1 / STEPS),
            "flowloom": lambda: CTMCEuler(STEPS).solve(field, x0, generator=generator),
            "hand-written limit": lambda: by_hand(logits, x0, 2.0, generator),
        },
        max(3, options.repeats // 2),
        clock,
    )
    report(f"sampling {B} x {L} tokens, vocabulary {V}, {STEPS} steps, solver only", medians)

    stochastic = CTMCEuler(STEPS, stochasticity=1.0, powers=(0.0, 0.0))
    field.path = MixturePath(geometry, Polynomial(1.0), source=Uniform(geometry))
    out = stochastic.solve(field, x0, generator=generator).x
    field.path = path
    assert int(out.min()) >= 0
    assert int(out.max()) < V
    straight = MixtureDiscreteProbPath(PolynomialConvexScheduler(n=1.0))
    try:
        MixtureDiscreteEulerSolver(peer.model, straight, V, torch.full((V,), 1.0 / V)).sample(
            x0.clone(), step_size=1 / STEPS, div_free=1.0
        )
        verdict = "runs"
    except RuntimeError as error:
        verdict = f"fails: {str(error).splitlines()[0][:60]}"
    print(f"corrector from t=0, kappa = t: flowloom runs, tokens in range; flow_matching {verdict}")
    # From just after 0 the peer runs too: same law, so the same span for both.
    span = torch.tensor([0.02, 1.0])
    medians = interleaved(
        {
            "flow_matching": lambda: peer.sample(
                x0.clone(), step_size=0.98 / STEPS, div_free=1.0, time_grid=span
            ),
            "flowloom": lambda: stochastic.solve(field, x0, span=(0.02, 1.0), generator=generator),
        },
        max(3, options.repeats // 2),
        clock,
    )
    report("the same with corrector, c = 1, from t = 0.02", medians)

    small = torch.randn(16, L, V, requires_grad=True)
    x1, start = torch.randint(V, (16, L)), torch.randint(V, (16, L))
    t = torch.rand(16) * 0.99
    x_t = path.sample(start, x1, t, generator=generator).x_t
    kl, objective = MixturePathGeneralizedKL(peer_path), PosteriorMatching(path)
    point = Point(x_t, t, None, start, x1)

    def ours() -> None:
        rate = path.rate(t)[:, None]
        (rate * generalized_kl(small, x1, x_t, False)).mean().backward()

    def theirs() -> None:
        kl(logits=small, x_1=x1, x_t=x_t, t=t).backward()

    def hand_kl() -> None:
        normaliser = small.logsumexp(-1)
        at1, at_t = (small.gather(-1, i[..., None])[..., 0] - normaliser for i in (x1, x_t))
        same = x_t == x1
        bracket = torch.where(same, 1 - at_t.exp(), -at1 - at_t.exp())
        (path.rate(t)[:, None] * bracket).mean().backward()

    mine = (path.rate(t)[:, None] * generalized_kl(small, x1, x_t, False)).mean()
    assert torch.allclose(mine, kl(logits=small, x_1=x1, x_t=x_t, t=t), rtol=1e-4)
    medians = interleaved(
        {"flow_matching": theirs, "flowloom": ours, "hand-written limit": hand_kl}, options.repeats * 3, clock
    )
    report("generalised KL, 16 x 256 x 256, forward and backward", medians)
    medians = interleaved(
        {
            "flow_matching": lambda: F.cross_entropy(small.flatten(0, 1), x1.flatten()).backward(),
            "flowloom": lambda: objective.compare(small, point, {}).mean().backward(),
        },
        options.repeats * 3,
        clock,
    )
    report("cross-entropy (the peer's example calls torch's), forward and backward", medians)


if __name__ == "__main__":
    main()
