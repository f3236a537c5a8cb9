"""Jump-process sampling and its losses against the published package ``flow_matching``, and by hand.

    python benchmarks/bench_sequences.py [--rounds 5] [--threads 1] [--clock cpu|wall]

Same process, same network, same law. The network is a table look-up (logits computed beforehand; the package
asks for probabilities and gets them ready-made), so that what is timed is the solver. Every case is run in
turn and medians are reported; beside each stands the plain-torch code that a careful user writes by hand (the
limit). Laws are compared first: the histogram of tokens against the table, and losses to four digits.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

import torch
from flow_matching.loss import MixturePathGeneralizedKL
from flow_matching.path import MixtureDiscreteProbPath
from flow_matching.path.scheduler import PolynomialConvexScheduler
from flow_matching.solver import MixtureDiscreteEulerSolver
from flow_matching.utils import ModelWrapper
from interleave import in_turn, medians
from torch import Tensor
from torch.nn import functional as F

from flowloom.fields import Field
from flowloom.geometry import Discrete
from flowloom.objectives import PosteriorMatching
from flowloom.paths import MixturePath, Point
from flowloom.schedules import Polynomial
from flowloom.solvers import CTMCEuler, TauLeaping
from flowloom.sources import Mask, Uniform
from flowloom_sequences.elbo import generalized_kl

B, L, V, STEPS = 64, 256, 256, 64

Case = Callable[[], Any]


class Table(Field):
    """A posterior that was computed beforehand."""

    kind = "posterior"

    def __init__(self, logits: Tensor, path: MixturePath) -> None:
        self.logits, self.path, self.geometry = logits, path, path.geometry

    def __call__(self, x, t, cond):
        return self.logits


class Theirs(ModelWrapper):
    """The same as probabilities, which the package's solver asks of its model."""

    def __init__(self, p: Tensor) -> None:
        super().__init__(torch.nn.Identity())
        self.p = p

    def forward(self, x, t, **extras):
        return self.p


def by_hand(logits: Tensor, x: Tensor, n: float, generator: torch.Generator, mask: bool = False) -> Tensor:
    """What a careful user writes: draw where a jump happens; from masks, where one is still to happen."""
    x, rows = x.flatten().clone(), logits.flatten(0, -2)
    for k in range(STEPS):
        t, h = k / STEPS, 1 / STEPS
        rate = n * t ** (n - 1) / (1 - t**n)
        waiting = x == V if mask else torch.ones(len(x), dtype=torch.bool)
        if k < STEPS - 1:
            waiting &= torch.rand(len(x), generator=generator) < -math.expm1(-h * rate)
        where = waiting.nonzero()[:, 0]
        if len(where):
            edges = torch.softmax(rows[where], -1).cumsum(-1)
            u = torch.rand(len(where), 1, generator=generator) * edges[:, -1:]
            x[where] = torch.searchsorted(edges, u)[:, 0].clamp(max=V - 1)
    return x


def measure(title: str, cases: dict[str, Case], rounds: int, clock: str) -> None:
    """Run every case in turn, in changing order, and print a line of a table for each."""
    milliseconds = medians(in_turn(cases, rounds, warmup=1, clock=clock))
    for name, value in milliseconds.items():
        ratio = milliseconds["flow-matching"] / value
        print(f"| {title} | {name} | {value:.1f} ms | {ratio:.2f}x |", flush=True)


def main() -> None:
    """Run every case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=("cpu", "wall"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print("| case | who | median | flow-matching / this |\n|---|---|---|---|")
    sampling(options.rounds, options.clock)
    losses(options.rounds * 8, options.clock)


def sampling(rounds: int, clock: str) -> None:
    """Samplers from uniform tokens and from masks, and with a corrector."""
    generator = torch.Generator().manual_seed(0)
    space = Discrete(V)
    free = MixturePath(space, Polynomial(2.0), source=Uniform(space))
    absorbing = MixturePath(space, Polynomial(2.0), source=Mask(space))
    # One row everywhere, so that the histogram shows the law; the starts are no draws of it.
    row = torch.randn(V)
    wanted = torch.softmax(row.double(), 0)
    logits = row.expand(B, L, V).contiguous()
    uniform, masked = Table(logits, free), Table(logits, absorbing)
    zeros, masks = torch.zeros(B, L, dtype=torch.long), torch.full((B, L), V)
    peer_path = MixtureDiscreteProbPath(PolynomialConvexScheduler(n=2.0))
    even = torch.full((V,), 1.0 / V)
    peer = MixtureDiscreteEulerSolver(Theirs(torch.softmax(logits, -1)), peer_path, V, even)
    # The package has no masks of its own: they are one more token, of probability 0.
    peer_masks = MixtureDiscreteEulerSolver(Theirs(F.pad(peer.model.p, (0, 1))), peer_path, V + 1)
    euler, leap = CTMCEuler(STEPS), TauLeaping(STEPS)
    # A velocity that is free of divergence is added from just after 0: at 0 the package's is infinite.
    span, near = (0.02, 1.0), torch.tensor([0.02, 1.0])
    noisy = CTMCEuler(STEPS, stochasticity=1.0, powers=(0.0, 0.0))
    cases: dict[str, dict[str, Case]] = {
        "uniform source": {
            "flow-matching": lambda: peer.sample(zeros.clone(), step_size=1 / STEPS),
            "flowloom ctmc-euler": lambda: euler.solve(uniform, zeros, generator=generator).x,
            "flowloom tau-leaping": lambda: leap.solve(uniform, zeros, generator=generator).x,
            "by hand": lambda: by_hand(uniform.logits, zeros, 2.0, generator),
        },
        "mask source": {
            "flow-matching": lambda: peer_masks.sample(masks.clone(), step_size=1 / STEPS),
            "flowloom ctmc-euler": lambda: euler.solve(masked, masks, generator=generator).x,
            "flowloom tau-leaping": lambda: leap.solve(masked, masks, generator=generator).x,
            "by hand": lambda: by_hand(masked.logits, masks, 2.0, generator, mask=True),
        },
        "uniform source with corrector, c = 1": {
            "flow-matching": lambda: peer.sample(
                zeros.clone(), step_size=0.98 / STEPS, div_free=1.0, time_grid=near
            ),
            "flowloom ctmc-euler": lambda: noisy.solve(uniform, zeros, span=span, generator=generator).x,
        },
    }

    def variation(x: Tensor) -> float:
        counts = torch.bincount(x.flatten(), minlength=V)
        if len(counts) > V:
            raise SystemExit("a sampler left masks or made tokens out of range")
        return 0.5 * float((counts / x.numel() - wanted).abs().sum())

    floor = variation(torch.multinomial(wanted, B * L, True, generator=generator))
    for title, group in cases.items():
        for name, case in group.items():
            distance = variation(case())
            print(f"<!-- law: {title}, {name}: total variation {distance:.4f}, floor {floor:.4f} -->")
            if distance > 1.3 * floor:
                raise SystemExit(f"{title}, {name}: not the law")
    from_zero(uniform, noisy, zeros, generator, even)
    # Timed with another row for every token.
    fresh = torch.randn(B, L, V)
    uniform.logits = masked.logits = fresh
    peer.model.p = torch.softmax(fresh, -1)
    peer_masks.model.p = F.pad(peer.model.p, (0, 1))
    for title, group in cases.items():
        measure(f"{B} x {L} tokens, vocabulary {V}, {STEPS} steps, {title}", group, rounds, clock)


def from_zero(field: Table, noisy: CTMCEuler, x0: Tensor, generator: torch.Generator, even: Tensor) -> None:
    """A corrector from t = 0 with kappa = t, where the package divides by 0."""
    usual = field.path
    field.path = MixturePath(usual.geometry, Polynomial(1.0), source=usual.source)
    x = noisy.solve(field, x0, generator=generator).x
    field.path = usual
    assert isinstance(x, Tensor)
    if int(x.min()) < 0 or int(x.max()) >= V:
        raise SystemExit("a corrector from t = 0 left the vocabulary")
    straight = MixtureDiscreteProbPath(PolynomialConvexScheduler(n=1.0))
    peer = MixtureDiscreteEulerSolver(Theirs(torch.softmax(field.logits, -1)), straight, V, even)
    try:
        peer.sample(x0.clone(), step_size=1 / STEPS, div_free=1.0)
        verdict = "runs"
    except RuntimeError as error:
        verdict = f"fails: {str(error).splitlines()[0][:60]}"
    print(
        f"<!-- corrector from t = 0, kappa = t: flowloom runs, tokens in range; flow-matching {verdict} -->"
    )


def losses(rounds: int, clock: str) -> None:
    """Generalised KL and cross-entropy, forward and backward."""
    generator = torch.Generator().manual_seed(1)
    space, n = Discrete(V), 16
    path = MixturePath(space, Polynomial(2.0), source=Uniform(space))
    absorbing = MixturePath(space, Polynomial(2.0), source=Mask(space))
    logits = torch.randn(n, L, V, generator=generator, requires_grad=True)
    x1, start = (torch.randint(V, (n, L), generator=generator) for _ in range(2))
    t = torch.rand(n, generator=generator) * 0.99
    x_t = path.sample(start, x1, t, generator=generator).x_t
    masked = absorbing.sample(torch.full_like(x1, V), x1, t, generator=generator).x_t
    assert isinstance(x_t, Tensor)
    assert isinstance(masked, Tensor)
    point, masked_point = Point(x_t, t, None, start, x1), Point(masked, t, None, masked, x1)
    plain, only_masks = PosteriorMatching(path), PosteriorMatching(absorbing)
    kl = MixturePathGeneralizedKL(MixtureDiscreteProbPath(PolynomialConvexScheduler(n=2.0)))

    def hand_kl() -> Tensor:
        normaliser = logits.logsumexp(-1)
        at1, at_t = (logits.gather(-1, i[..., None])[..., 0] - normaliser for i in (x1, x_t))
        bracket = torch.where(x_t == x1, 1 - at_t.exp(), -at1 - at_t.exp())
        return (path.rate(t)[:, None] * bracket).mean()

    def hand_masks() -> Tensor:
        # The package's example counts every token; who knows that arrived ones are known, counts the rest.
        flat = F.cross_entropy(logits.flatten(0, 1), x1.flatten(), reduction="none").reshape(n, L)
        return (flat * (masked == V)).mean()

    def cross_entropy() -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), x1.flatten())

    groups: dict[str, dict[str, Callable[[], Tensor]]] = {
        "generalised KL": {
            "flow-matching": lambda: kl(logits=logits, x_1=x1, x_t=x_t, t=t),
            "flowloom": lambda: (path.rate(t)[:, None] * generalized_kl(logits, x1, x_t, False)).mean(),
            "by hand": hand_kl,
        },
        "cross-entropy (the package's example calls torch's)": {
            "flow-matching": cross_entropy,
            "flowloom": lambda: plain.compare(logits, point, {}).mean(),
            "by hand": cross_entropy,
        },
    }
    for title, group in groups.items():
        values = {name: loss().item() for name, loss in group.items()}
        if max(values.values()) - min(values.values()) > 1e-4 * max(values.values()):
            raise SystemExit(f"{title}: values differ: {values}")
    close = torch.allclose(only_masks.compare(logits, masked_point, {}).mean(), hand_masks(), rtol=1e-4)
    if not close:
        raise SystemExit("cross-entropy of masked tokens: values differ")
    groups["cross-entropy of masked tokens only"] = {
        "flow-matching": cross_entropy,
        "flowloom": lambda: only_masks.compare(logits, masked_point, {}).mean(),
        "by hand": hand_masks,
    }

    def both(loss: Callable[[], Tensor]) -> Case:
        def run() -> None:
            logits.grad = None
            loss().backward()

        return run

    for title, group in groups.items():
        cases = {name: both(loss) for name, loss in group.items()}
        measure(f"{title}, {n} x {L} x {V}, forward and backward", cases, rounds, clock)


if __name__ == "__main__":
    main()
