"""Jump processes on a closed form: two tokens of three symbols with a known joint law."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import flowloom as fl
from flowloom.data import Examples
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, ShapeError, SolverError
from flowloom.fields import Field
from flowloom.geometry import Discrete
from flowloom.layout import Layout
from flowloom.objectives import PosteriorMatching
from flowloom.paths import MixturePath
from flowloom.schedules import CondOT, Polynomial
from flowloom.solvers import AdaptiveCTMC, CTMCEuler, TauLeaping
from flowloom.solvers.categorical import draw, probability_of
from flowloom.sources import Mask, Uniform
from flowloom.spec import Spec
from flowloom_sequences.bound import NLLBound
from flowloom_sequences.elbo import GeneralizedKL, generalized_kl, nll_bound
from flowloom_sequences.noisy_mixture import NoisyMixturePath
from flowloom_sequences.schedules import Cubic

V, N = 3, 1500


def joint() -> Tensor:
    table = torch.rand(V, V, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 2
    return table / table.sum()


class Exact(Field):
    """The true posterior of the toy, of x1 or of x0."""

    def __init__(self, path: MixturePath, kind: str = "posterior") -> None:
        self.path, self.geometry, self.kind = path, path.geometry, kind

    def __call__(self, x, t, cond):
        kappa = self.path.schedule.alpha(t.double())[:, None]
        symbols = torch.arange(V)
        masked = isinstance(self.path.source, Mask)
        noise = (x == V).double() if masked else torch.full(x.shape, 1 / V).double()
        c = getattr(self.path, "noise", 0.0)
        rest = (1 - kappa) * ((1 - c * kappa) * noise + c * kappa * (x < V) / V)
        likelihood = kappa[..., None] * (x[..., None] == symbols) + rest[..., None]
        both = likelihood[:, 0, :, None] * likelihood[:, 1, None, :] * joint()
        both = both / both.sum((1, 2), keepdim=True)
        p1 = torch.stack([both.sum(2), both.sum(1)], 1)
        if self.kind == "source-posterior":
            # Uniform source: arrived with probability p1(x) kappa / (kappa + (1 - kappa) / V), then uniform.
            arrived = p1.gather(2, x[..., None]) * (kappa / (kappa + (1 - kappa) / V))[..., None]
            p1 = arrived / V + (1 - arrived) * (x[..., None] == symbols)
        return p1.clamp_min(1e-30).log().float()


def variation(x: Tensor, law: Tensor) -> float:
    counts = torch.bincount(x[:, 0] * law.shape[1] + x[:, 1], minlength=law.numel()).double() / len(x)
    return 0.5 * float((counts - law.flatten()).abs().sum())


def floor(law: Tensor, n: int = N) -> float:
    generator = torch.Generator().manual_seed(9)
    draws = torch.multinomial(law.flatten(), 20 * n, True, generator=generator).reshape(20, n)
    pairs = [torch.stack([d // law.shape[1], d % law.shape[1]], 1) for d in draws]
    return sum(variation(p, law) for p in pairs) / len(pairs)


def make(mask: bool, schedule=None) -> tuple[MixturePath, Mask | Uniform]:
    space = Discrete(V)
    source = Mask(space) if mask else Uniform(space)
    return MixturePath(space, schedule or CondOT(), source=source), source


def repeated(solver, mask: bool, schedule=None, span=(0.0, 1.0), seeds: int = 4) -> list[Tensor]:
    path, source = make(mask, schedule)
    out = []
    for seed in range(10, 10 + seeds):
        g = torch.Generator().manual_seed(seed)
        out.append(solver.solve(Exact(path), source.sample((N, 2), Draw(g)), span=span, generator=g).x)
    return out


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize(
    ("solver", "schedule"),
    [
        (CTMCEuler(64), CondOT()),
        (TauLeaping(64), Polynomial(2.0)),
        (TauLeaping(64), Cubic(1.0, 0.5)),
        (AdaptiveCTMC(1 / 48), Polynomial(2.0)),
    ],
    ids=lambda s: type(s).__name__,
)
def test_samples_have_the_true_law(mask, schedule, solver):
    mean = sum(variation(x, joint()) for x in repeated(solver, mask, schedule)) / 4
    assert mean <= 1.5 * floor(joint())


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize(
    "solver",
    [
        CTMCEuler(128, stochasticity=2.0),
        TauLeaping(128, stochasticity=2.0),
        TauLeaping(128, corrector_steps=1),
    ],
    ids=["euler", "leap", "steps"],
)
def test_correctors_keep_the_law(mask, solver):
    mean = sum(variation(x, joint()) for x in repeated(solver, mask)) / 4
    assert mean <= 1.5 * floor(joint())


def test_corrector_keeps_the_marginal_at_a_fixed_time():
    path, source = make(mask=False)
    g = torch.Generator().manual_seed(0)
    pairs = torch.multinomial(joint().flatten(), 20_000, True, generator=g)
    x1 = torch.stack([pairs // V, pairs % V], 1)
    t = torch.full((len(x1),), 0.5)
    x = path.sample(source.sample(tuple(x1.shape), Draw(g)), x1, t, generator=g).x_t
    # The exact law of x at t = 1/2.
    mix = 0.5 * torch.eye(V, dtype=torch.float64) + 0.5 / V
    law = mix.T @ joint() @ mix
    assert variation(x, law) <= 2 * floor(law, len(x1))
    solver, field, moved = CTMCEuler(1), Exact(path), x
    for _ in range(40):
        moved = solver.correct(field(moved, t, {}), moved, path, 0.5, 0.1, g)
    assert float((moved != x).double().mean()) > 0.3
    assert variation(moved, law) <= 2 * floor(law, len(x1))


def test_half_way_law():
    path, _ = make(mask=False)
    mix = 0.5 * torch.eye(V, dtype=torch.float64) + 0.5 / V
    law = mix.T @ joint() @ mix
    g = torch.Generator().manual_seed(1)
    x = torch.randint(V, (2 * N, 2), generator=g)
    field = Exact(path)
    for k in range(64):
        t = 0.5 * k / 64
        logits = field(x, torch.full((len(x),), t), {})
        x = TauLeaping(1).advance(logits, x, path, t, t + 0.5 / 64, False, g)
    assert variation(x, law) <= 1.5 * floor(law, 2 * N)


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize(
    "solver", [CTMCEuler(96), TauLeaping(64), AdaptiveCTMC(1 / 48)], ids=["euler", "leap", "adaptive"]
)
def test_three_terms_have_the_true_law_and_half_way_too(mask, solver):
    plain, source = make(mask, Polynomial(1.5))
    path = NoisyMixturePath(plain.geometry, 0.8, plain.schedule, source)
    laws = []
    for span in ((0.0, 1.0), (0.0, 0.6)):
        runs = []
        for seed in range(10, 14):
            g = torch.Generator().manual_seed(seed)
            x0 = source.sample((N, 2), Draw(g))
            runs.append(solver.solve(Exact(path), x0, span=span, generator=g).x)
        laws.append(runs)
    assert sum(variation(x, joint()) for x in laws[0]) / 4 <= 1.5 * floor(joint())
    # At t = 0.6, tokens (the mask among them) have the law of the path's own draws, marginally.
    g = torch.Generator().manual_seed(0)
    pairs = torch.multinomial(joint().flatten(), 200_000, True, generator=g)
    x1 = torch.stack([pairs // V, pairs % V], 1)
    x0 = source.sample(tuple(x1.shape), Draw(g))
    there = path.sample(x0, x1, torch.full((len(x1),), 0.6), generator=g).x_t
    table = torch.bincount(there[:, 0] * (V + 1) + there[:, 1], minlength=(V + 1) ** 2).double()
    law = (table / table.sum()).reshape(V + 1, V + 1)
    assert sum(variation(x, law) for x in laws[1]) / 4 <= 1.5 * floor(law)


def test_three_terms_sum_to_one_and_refuse_what_they_cannot():
    path = NoisyMixturePath(Discrete(V), 0.5)
    for t in (0.0, 0.3, 1.0):
        assert math.isclose(sum(path.shares(t)), 1.0)
    # The rate is minus the logarithmic derivative of the share of x0, and arrival its integral.
    t = torch.tensor(0.4, dtype=torch.float64)
    slope = (math.log(path.shares(0.4 + 1e-6)[2]) - math.log(path.shares(0.4 - 1e-6)[2])) / 2e-6
    assert math.isclose(float(path.rate(t)), -slope, rel_tol=1e-6)
    with pytest.raises(IncompatibleError, match="corrector"):
        TauLeaping(4, stochasticity=1.0).prepare(Exact(path))
    with pytest.raises(IncompatibleError, match="path: mixture"):
        GeneralizedKL(path)
    with pytest.raises(ValueError, match="noise must lie"):
        NoisyMixturePath(Discrete(V), 1.0)


def test_noise_prediction_runs_back_to_the_source():
    path, _ = make(mask=False)
    g = torch.Generator().manual_seed(0)
    pairs = torch.multinomial(joint().flatten(), 2 * N, True, generator=g)
    x1 = torch.stack([pairs // V, pairs % V], 1)
    back = TauLeaping(64).solve(Exact(path, "source-posterior"), x1, span=(1.0, 0.0), generator=g).x
    law = torch.full((V, V), 1 / V**2, dtype=torch.float64)
    assert variation(back, law) <= 1.5 * floor(law, 2 * N)
    with pytest.raises(IncompatibleError, match="turn the span"):
        TauLeaping(4).solve(Exact(path, "source-posterior"), x1, generator=g)


def test_corrector_from_time_zero_is_finite_for_every_source():
    for mask in (True, False):
        path, source = make(mask)
        g = torch.Generator().manual_seed(0)
        solver = CTMCEuler(8, stochasticity=3.0, powers=(0.0, 0.0), corrector_steps=2)
        x = solver.solve(Exact(path), source.sample((500, 2), Draw(g)), generator=g).x
        assert int(x.min()) >= 0
        assert int(x.max()) < V
    with pytest.raises(IncompatibleError, match="source: mask or uniform"):
        CTMCEuler(8, stochasticity=1.0).solve(Exact(MixturePath(Discrete(V))), torch.zeros(2, 2).long())


def test_known_tokens_and_prompts_stay():
    path, _ = make(mask=True)

    class Wild(Field):
        kind = "posterior"

        def __init__(self):
            self.path, self.geometry = path, path.geometry

        def __call__(self, x, t, cond):
            return torch.randn(*x.shape, V)

    x0 = torch.tensor([[0, V], [V, 2], [1, 1]])
    for solver in (CTMCEuler(16), TauLeaping(16), AdaptiveCTMC()):
        x = solver.solve(Wild(), x0).x
        assert torch.equal(x[x0 != V], x0[x0 != V])
        assert int(x.max()) < V
    path_u, _ = make(mask=False)
    given = torch.tensor([[True, False]] * 3)
    field = Wild()
    field.path = path_u
    start = torch.tensor([[0, 1], [2, 2], [1, 0]])
    solver = CTMCEuler(16, stochasticity=2.0, corrector_steps=1)
    x = solver.solve(field, start, layout=Layout(given=given, values=start)).x
    assert torch.equal(x[:, 0], start[:, 0])
    with pytest.raises(ShapeError, match="does not fit"):
        solver.solve(field, start, layout=Layout(given=given[:, :1], values=start))


def test_adaptive_steps_change_what_they_say():
    path, source = make(mask=True, schedule=Polynomial(3.0))
    x0 = source.sample((4000, 2))
    solution = AdaptiveCTMC(0.1).solve(Exact(path), x0, generator=torch.Generator().manual_seed(0), keep=1000)
    masked = torch.tensor([float((x == V).double().mean()) for x in solution.trajectory])
    assert 9 <= solution.nfe <= 13
    assert float((masked[:-1] - masked[1:]).max()) < 0.13
    with pytest.raises(SolverError, match="max_nfe"):
        AdaptiveCTMC(0.01, max_nfe=5).solve(Exact(path), x0)


def test_bound_is_exact_for_masks_and_above_for_uniform():
    truth = -joint().log()
    x1 = torch.cartesian_prod(torch.arange(V), torch.arange(V)).repeat_interleave(200, 0)
    wanted = truth[x1[:, 0], x1[:, 1]].reshape(9, 200).mean(1)
    for mask, slack in ((True, 0.06), (False, 0.10)):
        path, source = make(mask)
        g = torch.Generator().manual_seed(0)
        bound = nll_bound(Exact(path), source, x1, draws=48, generator=g).reshape(9, 200)
        error = 3 * bound.std(1) / 14
        assert (bound.mean(1) >= wanted - error).all()
        if mask:
            assert ((bound.mean(1) - wanted).abs() <= error + slack).all()


def test_the_score_is_the_exact_likelihood_behind_masks():
    """Padding counts nothing, and the number is in nats a token."""
    path, source = make(mask=True)
    spec = Spec(shape=(2,), vocab=V)
    exact = Exact(path)

    class Network(nn.Module):
        def forward(self, x, t, **cond):
            return exact(x, t, {})

    flow = fl.Flow(
        Network(),
        spec=spec,
        geometry=path.geometry,
        source=source,
        path=path,
        objective=PosteriorMatching(path),
        solver=TauLeaping(4),
    )
    g = torch.Generator().manual_seed(0)
    pairs = torch.multinomial(joint().flatten(), 8000, True, generator=g)
    x1 = torch.stack([pairs // V, pairs % V], 1)
    truth = -float(joint().log()[x1[:, 0], x1[:, 1]].mean()) / 2
    values = NLLBound(draws=8)(flow, Examples(x1))
    assert abs(values["nll_bound"] - truth) < 0.02
    assert math.isclose(values["bits"], values["nll_bound"] / math.log(2))
    assert math.isclose(values["perplexity_bound"], math.exp(values["nll_bound"]))
    # A given second token is seen all the time: what is left is the conditional entropy of the first.
    shown = Layout(given=torch.tensor([[False, True]]).expand(8000, -1))
    wanted = -float((joint() / joint().sum(0)).log()[x1[:, 0], x1[:, 1]].mean())
    assert abs(NLLBound(draws=8)(flow, Examples(x1, layout=shown))["nll_bound"] - wanted) < 0.02
    # What stands in padding is not looked at.
    real = Layout(torch.tensor([[True, False]]).expand(8000, -1))
    spoiled = torch.stack([x1[:, 0], torch.full((8000,), -1)], 1)
    first, second = (NLLBound(draws=2)(flow, Examples(x, layout=real)) for x in (x1, spoiled))
    assert first == second
    continuous = fl.Flow(fl.models.MLP(Spec(shape=(2,)), width=4, depth=1))
    with pytest.raises(IncompatibleError, match="path: mixture"):
        NLLBound().require(continuous)


def test_generalized_kl_is_the_sum_over_jumps():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 4, V, generator=g, dtype=torch.float64)
    x1, x_t = torch.randint(V, (50, 4), generator=g), torch.randint(V, (50, 4), generator=g)
    p, given = torch.softmax(logits, -1), torch.nn.functional.one_hot(x1, V).double()
    elsewhere = torch.arange(V) != x_t[..., None]
    # sum over y != x of model - given + given log(given / model), with 0 log 0 = 0
    ratio = torch.where(given > 0, (given / p).log(), 0.0)
    brute = torch.where(elsewhere, p - given + given * ratio, 0.0).sum(-1)
    assert torch.allclose(generalized_kl(logits, x1, x_t, False), brute, atol=1e-10)


def test_draws_follow_the_logits():
    g = torch.Generator().manual_seed(0)
    logits = torch.tensor([0.0, 1.0, -torch.inf, 2.0])
    p = torch.softmax(logits, 0).double()
    x = draw(logits.expand(60_000, -1), 1.0, g)
    assert (torch.bincount(x, minlength=4) / 60_000 - p).abs().max() < 0.01
    assert not (x == 2).any()
    x = draw(logits.expand(60_000, -1), 0.5, g)
    assert (torch.bincount(x, minlength=4) / 60_000 - torch.softmax(2 * logits, 0)).abs().max() < 0.01
    # 0.67 and 0.24 hold 0.8 together: the third is cut.
    assert set(draw(logits.expand(2000, -1), 1.0, g, top_p=0.8).unique().tolist()) == {1, 3}
    assert torch.allclose(
        probability_of(logits.expand(3, -1), torch.tensor([0, 3, 4])).double(),
        torch.tensor([float(p[0]), float(p[3]), 0.0]).double(),
    )
    with pytest.raises(SolverError, match="not finite"):
        draw(torch.full((2, 4), math.nan), 1.0, g)


@pytest.mark.parametrize("vocab", [63, 64, 100, 257, 1000])
def test_draws_from_large_vocabularies(vocab):
    """Two stages have the law of one, for every size of the last block; what is forbidden is never drawn."""
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(vocab, generator=g)
    logits[::3] = -torch.inf
    logits[-2:] = torch.tensor([3.0, -torch.inf])
    p, n = torch.softmax(logits.double(), 0), 40_000
    counts = torch.bincount(draw(logits.expand(n, -1), 1.0, g), minlength=vocab)
    assert len(counts) == vocab
    assert int(counts[p == 0].sum()) == 0
    seen = p > 0
    chi2 = float(((counts[seen] - n * p[seen]).square() / (n * p[seen])).sum())
    k = int(seen.sum()) - 1
    assert abs(chi2 - k) < 4.5 * math.sqrt(2 * k)
    one = draw(torch.eye(vocab).log(), 1.0, g)
    assert torch.equal(one, torch.arange(vocab))


def test_cubic_ends_and_slopes():
    schedule = Cubic(2.0, 0.5)
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    kappa = schedule.alpha(t)
    assert kappa[0] == 0
    assert torch.isclose(kappa[-1], torch.ones((), dtype=torch.float64))
    slope = torch.func.vmap(torch.func.grad(schedule.alpha))(t)
    assert torch.allclose(slope, schedule.d_alpha(t))
    assert torch.allclose(schedule.d_alpha(t)[[0, -1]], torch.tensor([2.0, 0.5]).double())
    assert (kappa.diff() > 0).all()
    a, b = 2.0, 0.5
    paper = -2 * t**3 + 3 * t**2 + a * (t**3 - 2 * t**2 + t) + b * (t**3 - t**2)
    assert torch.allclose(kappa, paper)
