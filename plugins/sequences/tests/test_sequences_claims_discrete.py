"""Discrete flow matching (2407.15595) on an order-2 Markov chain, whose law judges samples exactly.

Thresholds are for means over the seeds 0, 1 and 2; every seed has a chain, data and network of its own. The
uniform source is shown for seed 0, to keep the time down. Figures are printed; run with ``-s`` to see them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import flowloom as fl
from flowloom import sources
from flowloom.data import Examples
from flowloom.fields import Field
from flowloom.geometry import Discrete
from flowloom.objectives import PosteriorMatching
from flowloom.paths import MixturePath
from flowloom.solvers import Solver, TauLeaping
from flowloom.sources import Mask, Source
from flowloom.times import Uniform
from flowloom.training import AdamW, Cosine
from flowloom_sequences.languages import Markov
from flowloom_sequences.languages.base import choose
from flowloom_sequences.languages.markov import MarkovChain
from flowloom_sequences.metrics import LanguageGap
from flowloom_sequences.models import SequenceTransformer
from flowloom_sequences.prompts import Infill

SEEDS = (0, 1, 2)
VOCAB, LENGTH = 12, 32


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def listed(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ({', '.join(f'{v:.3f}' for v in values)})"


def chain(seed: int) -> Markov:
    return Markov(vocab=VOCAB, order=2, length=LENGTH, seed=seed, language_seed=seed)


def trained(seed: int, mask: bool) -> fl.Flow:
    """A small transformer trained with kappa = t, a minute of CPU time."""
    data, space = chain(seed), Discrete(VOCAB)
    source: Source = Mask(space) if mask else sources.Uniform(space)
    torch.manual_seed(seed)
    flow = fl.Flow(
        SequenceTransformer(data.spec, width=64, depth=2, heads=4, local=3),
        geometry=space,
        source=source,
        objective=PosteriorMatching(MixturePath(space, source=source), Uniform(1 - 1e-3, stratified=True)),
        solver=TauLeaping(32),
        spec=data.spec,
    )
    flow.fit(
        data,
        steps=1300,
        batch=64,
        lr=6e-3,
        optimizer=AdamW((0.9, 0.98)),
        decay=Cosine(50),
        ema=0.99,
        seed=seed,
    )
    return flow


@pytest.fixture(scope="module")
def from_masks() -> list[fl.Flow]:
    return [trained(seed, mask=True) for seed in SEEDS]


@pytest.fixture(scope="module")
def from_uniform() -> list[fl.Flow]:
    return [trained(0, mask=False)]


def without_context(data: Markov, n: int, seed: int) -> Tensor:
    """Every token drawn by itself from the frequencies at its place: a posterior without context."""
    x = data.all().x
    generator = torch.Generator().manual_seed(seed)
    counts = [torch.bincount(x[:, i], minlength=VOCAB).double() for i in range(LENGTH)]
    return torch.stack([torch.multinomial(c, n, True, generator=generator) for c in counts], 1)


def judged(data: Markov, x: Tensor) -> tuple[float, float]:
    """Nats a token above the law's entropy, and the share of the single-token entropy that is missing."""
    metric = LanguageGap()
    metric.fit(data)
    out = metric(Examples(x), data.split("test").all())
    return out["language_gap"], out["entropy_drop"]


def gaps(flows: list[fl.Flow], solver: Solver, n: int = 400) -> tuple[list[float], list[float]]:
    rows = []
    for seed, flow in enumerate(flows):
        x = flow.sample(n, solver=solver, seed=seed)
        assert isinstance(x, Tensor)
        rows.append(judged(chain(seed), x))
    return [gap for gap, _ in rows], [drop for _, drop in rows]


class Conditional:
    """The exact law of an order-2 Markov chain given some of its tokens, by messages over pairs of tokens.

    Args:
        law: the chain.
        x: tokens ``(n, L)``.
        given: which of them are given.
    """

    def __init__(self, law: MarkovChain, x: Tensor, given: Tensor) -> None:
        self.law, self.x, k = law, x, law.vocab
        self.table = law.table.reshape(k, k, k)
        shown = F.one_hot(torch.where(given, x, 0), k).bool()
        self.allowed = torch.where(given[..., None], shown, True).double()
        first = self.allowed[:, 0, :, None] * self.allowed[:, 1, None, :] / k**2
        total = first.sum((1, 2), keepdim=True)
        self.messages, self.log_given = [first / total], total[:, 0, 0].log()
        for i in range(2, x.shape[1]):
            step = torch.einsum("nab,abc->nbc", self.messages[-1], self.table) * self.allowed[:, i, None]
            total = step.sum((1, 2), keepdim=True)
            self.log_given += total[:, 0, 0].log()
            self.messages.append(step / total)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log probability of the open tokens given the others."""
        return self.law.log_prob(x) - self.log_given

    def draw(self, generator: torch.Generator) -> Tensor:
        """The open tokens from their exact conditional law, backwards."""
        k, n, length = self.law.vocab, *self.x.shape
        x = torch.empty_like(self.x)
        pair = choose(self.messages[-1].reshape(n, -1), generator)
        x[:, -2], x[:, -1] = pair // k, pair % k
        rows = torch.arange(n)
        for i in range(length - 3, -1, -1):
            weight = self.messages[i][rows, :, x[:, i + 1]] * self.table[:, x[:, i + 1], x[:, i + 2]].T
            x[:, i] = choose(weight, generator)
        return x

    def marginals(self) -> Tensor:
        """Probabilities of every token by itself, ``(n, L, K)``."""
        behind = torch.ones_like(self.messages[0])
        out = []
        for i in range(self.x.shape[1] - 1, 0, -1):
            pairs = self.messages[i - 1] * behind
            pairs = pairs / pairs.sum((1, 2), keepdim=True)
            out.append(pairs.sum(1))
            if i > 1:
                behind = torch.einsum("nbc,abc->nab", behind * self.allowed[:, i, None], self.table)
                behind = behind / behind.amax((1, 2), keepdim=True)
        return torch.stack([pairs.sum(2), *reversed(out)], 1)


class Exact(Field):
    """The true posterior of the chain under the mask source: what a perfect network would answer."""

    kind = "posterior"

    def __init__(self, law: MarkovChain) -> None:
        space = Discrete(law.vocab)
        self.law, self.path, self.geometry = law, MixturePath(space, source=Mask(space)), space

    def __call__(self, x, t, cond):
        return Conditional(self.law, x, x < VOCAB).marginals().clamp_min(1e-300).log()


def exact_gaps(solver: Solver, n: int = 300) -> tuple[list[float], list[float]]:
    rows = []
    for seed in SEEDS:
        data, generator = chain(seed), torch.Generator().manual_seed(seed)
        assert isinstance(data.language, MarkovChain)
        masks = torch.full((n, LENGTH), VOCAB)
        rows.append(judged(data, solver.solve(Exact(data.language), masks, generator=generator).x))
    return [gap for gap, _ in rows], [drop for _, drop in rows]


def squared(steps: int) -> TauLeaping:
    """kappa = t^2: the posterior depends on time through kappa only, so a schedule is a grid in kappa."""
    return TauLeaping(grid=[(k / steps) ** 2 for k in range(steps + 1)])


def show(name: str, gap: list[float], drop: list[float]) -> None:
    print(f"discrete-fm: {name}: gap {listed(gap)} nats a token, entropy drop {mean(drop):+.3f}")


@pytest.mark.slow
def test_samples_are_near_the_law_of_the_chain(from_masks, from_uniform) -> None:
    """Gap to the truth of the flow in 8, 32 and 128 steps, against tokens drawn without context."""
    rows = [judged(chain(s), without_context(chain(s), 2000, s)) for s in SEEDS]
    alone = [gap for gap, _ in rows]
    show("independent tokens", alone, [drop for _, drop in rows])
    for steps in (8, 32):
        show(f"mask, the exact posterior, {steps} steps", *exact_gaps(TauLeaping(steps)))
    found: dict[str, dict[int, float]] = {}
    for name, flows, ways in (
        ("mask, kappa = t", from_masks, TauLeaping),
        ("mask, kappa = t^2", from_masks, squared),
        ("uniform, kappa = t", from_uniform, TauLeaping),
        ("uniform, kappa = t^2", from_uniform, squared),
    ):
        found[name] = {}
        for steps in (8, 32, 128):
            gap, drop = gaps(flows, ways(steps), n=400 if steps < 128 else 150)
            show(f"{name}, {steps} steps", gap, drop)
            found[name][steps] = mean(gap)
        ratio = found[name][32] / mean(alone[: len(flows)])
        print(f"discrete-fm: {name}: ratio to independent tokens {ratio:.3f}")
    for name, gap_in in found.items():
        if name.startswith("mask"):
            assert gap_in[32] / mean(alone) <= 0.4, name
        assert gap_in[8] * 1.05 >= gap_in[32] >= gap_in[128] / 1.05, name


@pytest.mark.slow
def test_correctors_mend_early_mistakes(from_masks, from_uniform) -> None:
    """At 8 steps; one corrector step after each is one evaluation more, so 15 plain steps stand beside."""
    arms = {
        "8 steps": TauLeaping(8),
        "8 steps, stochasticity 1": TauLeaping(8, stochasticity=1.0, powers=(0.5, 0.5)),
        "8 steps, stochasticity 5": TauLeaping(8, stochasticity=5.0, powers=(0.5, 0.5)),
        "8 steps and 7 corrector steps": TauLeaping(8, corrector_steps=1),
        "15 steps": TauLeaping(15),
    }
    for name, solver in arms.items():
        show(f"mask, the exact posterior, {name}", *exact_gaps(solver))
    for source, flows in (("mask", from_masks), ("uniform", from_uniform)):
        found = {}
        for name, solver in arms.items():
            gap, drop = gaps(flows, solver)
            show(f"{source}, {name}", gap, drop)
            found[name] = (mean(gap), mean(drop))
        corrected, dropped = found["8 steps and 7 corrector steps"]
        assert corrected / found["8 steps"][0] <= 0.95
        assert dropped - found["8 steps"][1] <= 0.1


def test_the_exact_conditional_is_one() -> None:
    """Sums to 1 over the open tokens, and draws follow it."""
    law = MarkovChain(3, 2, 5, 0.5, 0)
    generator = torch.Generator().manual_seed(0)
    one, _ = law.draw(1, generator)
    given = torch.tensor([[True, False, True, False, True]])
    fills = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    x = one.repeat(9, 1)
    x[:, 1], x[:, 3] = fills[:, 0], fills[:, 1]
    p = Conditional(law, one, given).log_prob(x).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-9)
    draws = Conditional(law, one.repeat(20_000, 1), given.repeat(20_000, 1)).draw(generator)
    assert (draws[:, given[0]] == one[:, given[0]]).all()
    counts = torch.bincount(3 * draws[:, 1] + draws[:, 3], minlength=9) / 20_000
    assert float((counts - p).abs().max()) < 0.015
    wanted = torch.stack([p.reshape(3, 3).sum(1), p.reshape(3, 3).sum(0)])
    assert torch.allclose(Conditional(law, one, given).marginals()[0, [1, 3]], wanted)


@pytest.mark.slow
def test_infilling_follows_the_conditional_law(from_masks) -> None:
    """Nats an open token under the exact conditional, half of the tokens given and not trained on prompts."""
    rows: dict[str, list[float]] = {"exact draw": [], "independent": [], "flow, 32 steps": []}
    right: dict[str, list[float]] = {name: [] for name in rows}
    for seed, flow in zip(SEEDS, from_masks, strict=True):
        data = chain(seed)
        law = data.language
        assert isinstance(law, MarkovChain)
        x = data.split("test").all().x[:1000]
        generator = torch.Generator().manual_seed(seed)
        given = torch.rand(x.shape, generator=generator) < 0.5
        exact = Conditional(law, x, given)
        fills = {
            "exact draw": exact.draw(generator),
            "independent": torch.where(given, x, without_context(data, len(x), seed)),
            "flow, 32 steps": Infill()(flow, Examples(x, {"prompt_mask": given}), seed=seed).x,
        }
        for name, filled in fills.items():
            assert torch.equal(filled[given], x[given])
            open_places = (~given).sum(1).clamp_min(1)
            rows[name].append(float((-exact.log_prob(filled) / open_places).clamp(max=20).mean()))
            right[name].append(float((filled == x)[~given].double().mean()))
    for name, values in rows.items():
        same = listed(right[name])
        print(f"discrete-fm: infill: {name}: {listed(values)} nats a token, the same token {same}")
    truth = mean(rows["exact draw"])
    ratio = (mean(rows["flow, 32 steps"]) - truth) / (mean(rows["independent"]) - truth)
    share = mean(right["flow, 32 steps"]) / mean(right["exact draw"])
    print(f"discrete-fm: infill: gap ratio to independent {ratio:.3f}; accuracy / exact draw's {share:.3f}")
    assert ratio <= 0.4
