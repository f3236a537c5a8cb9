"""Flows on the simplex: speed, path, geometry, guidance, conversion, distillation."""

from __future__ import annotations

from types import SimpleNamespace

import mpmath as mp
import numpy as np
import pytest
import torch

import flowloom as fl
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Field, read_as
from flowloom.geometry import Euclidean
from flowloom.models import MLP
from flowloom.objectives import PosteriorMatching
from flowloom.paths import AffinePath
from flowloom.solvers import RK4, Euler
from flowloom.sources import Paired
from flowloom.spec import Condition, Spec
from flowloom_registry import build, load_recipe
from flowloom_sequences.languages import Independent, MotifDNA
from flowloom_sequences.simplex import (
    AtSource,
    DirichletPath,
    DirichletSource,
    ExponentialTimes,
    FlatSimplex,
    OneHot,
    SimplexClassifier,
    SimplexClassifierFree,
    SimplexEuler,
    train_classifier,
)
from flowloom_sequences.simplex.distil import Distilled, distillation_pairs
from flowloom_sequences.simplex.guidance import posterior_to_score, score_to_posterior
from flowloom_sequences.simplex.speed import SpeedTable, exact_speed


@pytest.mark.parametrize("classes", [2, 4, 20, 80])
def test_speed_agrees_with_many_digits(classes):
    mp.mp.dps = 260
    n = classes - 1
    for a in (1.0, 2.5, 8.0):
        for b in (1e-4, 0.03, 0.5, 0.9):
            slope = mp.diff(
                lambda s, b=b: mp.betainc(s, n, 0, b, regularized=True), mp.mpf(a), h=mp.mpf(10) ** -25
            )
            wanted = -slope * mp.beta(a, n) / (mp.mpf(b) ** (a - 1) * (1 - mp.mpf(b)) ** n)
            assert abs(float(exact_speed(b, a, classes) / wanted) - 1) < 1e-11


def test_speed_at_the_ends_and_for_large_alphabets():
    assert exact_speed(0.0, 3.0, 20) == 0
    for classes in (3, 50, 1000):
        c = exact_speed(np.linspace(0, 1, 200), 4.0, classes)
        assert np.isfinite(c).all()
        assert (c >= 0).all()
    limit = exact_speed(1.0, 3.0, 20)
    assert abs(limit - exact_speed(1 - 1e-9, 3.0, 20)) < 1e-8


def test_table_interpolates():
    table = SpeedTable(20, 8.0)
    b, a = torch.rand(2000, dtype=torch.float64), 1 + 7 * torch.rand(2000, dtype=torch.float64)
    exact = torch.as_tensor(exact_speed(b.numpy(), a.numpy(), 20))
    assert float((table(b, a) - exact).abs().max()) < 2e-4 * float(exact.max())


def test_velocity_moves_the_marginal():
    # d/da of I_b(a, n) must be the flux of the flow: -f(b) db/da with db/da = c (1 - b).
    from scipy.special import betainc
    from scipy.stats import beta

    b, a, n, h = np.linspace(0.05, 0.9, 9), 3.0, 19, 1e-4
    slope = (betainc(a + h, n, b) - betainc(a - h, n, b)) / (2 * h)
    flux = -beta.pdf(b, a, n) * exact_speed(b, a, 20) * (1 - b)
    assert np.allclose(slope, flux, atol=1e-6)


def moments(x, a, token, classes):
    law = torch.distributions.Dirichlet(torch.ones(classes) + (a - 1) * torch.eye(classes)[token])
    return float((x.mean(0) - law.mean).abs().max()), float((x.var(0) - law.variance).abs().max())


def test_path_draws_the_dirichlet_law_and_starts_at_x0():
    classes, n = 8, 30_000
    g = torch.Generator().manual_seed(0)
    path = DirichletPath()
    x0 = DirichletSource().sample((n, 1, classes), Draw(g))
    x1 = torch.eye(classes)[2].expand(n, 1, classes)
    assert torch.equal(path.sample(x0, x1, torch.zeros(n), generator=g).x_t, x0)
    for t in (0.1, 0.5, 1.0):
        point = path.sample(x0, x1, torch.full((n,), t), generator=g)
        mean, variance = moments(point.x_t[:, 0], 1 + 7 * t, 2, classes)
        assert mean < 4e-3
        assert variance < 2e-3
        assert point.velocity.isfinite().all()
        assert point.velocity.sum(-1).abs().max() < 1e-4
    assert FlatSimplex().violation(point.x_t).max() < 1e-5


class Certain(Field):
    """A posterior that knows the token."""

    kind = "posterior"

    def __init__(self, path, token, classes):
        self.path, self.geometry = path, path.geometry
        self.logits = torch.where(torch.arange(classes) == token, 0.0, -80.0)

    def __call__(self, x, t, cond):
        return self.logits.expand(x.shape)


def test_conditional_flow_reproduces_the_moments():
    classes = 8
    path = DirichletPath()
    x0 = DirichletSource().sample((6000, 1, classes), Draw(torch.Generator().manual_seed(0)))
    for solver in (RK4(24), SimplexEuler(100, finish="step")):
        x = solver.solve(Certain(path, 2, classes), x0).x[:, 0]
        mean, variance = moments(x, 8.0, 2, classes)
        assert mean < 1e-2
        assert variance < 1e-2


def test_posterior_velocity_is_the_mean_of_conditional_ones():
    g = torch.Generator().manual_seed(0)
    x = FlatSimplex().random((5, 3, 6), Draw(g))
    p = FlatSimplex().random((5, 3, 6), Draw(g))
    t = torch.rand(5, generator=g)
    path = DirichletPath()
    total = torch.zeros_like(x)
    for i in range(6):
        vertex = torch.eye(6)[i].expand_as(x)
        total += p[..., i : i + 1] * path.convert(vertex.log(), x, t, "posterior", "velocity")
    assert torch.allclose(path.convert(p.log(), x, t, "posterior", "velocity"), total, atol=1e-5)
    linear = AffinePath().convert(p.log(), x, t, "posterior", "velocity")
    assert torch.allclose(linear, (p - x) / (1 - t)[:, None, None], atol=1e-5)


def test_any_ode_solver_reads_a_posterior():
    field = Certain(AffinePath(), 1, 4)
    assert read_as(field, "velocity").kind == "velocity"
    x0 = torch.randn(10, 2, 4, generator=torch.Generator().manual_seed(0))
    # The straight path's velocity is singular at t = 1, where only Euler's last step does not look.
    x = Euler(20).solve(field, x0).x
    assert torch.allclose(x, torch.eye(4)[1].expand_as(x), atol=1e-4)
    assert (RK4(20).solve(field, x0).x.argmax(-1) == 1).all()


def test_projection_and_uniform_law():
    space = FlatSimplex()
    x = torch.randn(200, 3, 5, dtype=torch.float64)
    y = space.project(x)
    assert float(space.violation(y).max()) < 1e-12
    assert torch.allclose(space.project(y), y)
    # The projection is nearest: no other point of the simplex makes an obtuse angle with the residual.
    other = space.random((200, 3, 5), Draw(dtype=torch.float64))
    assert float(((x - y) * (other - y)).sum(-1).max()) < 1e-9
    source = DirichletSource()
    draws = source.sample((5, 2, 4), Draw(dtype=torch.float64))
    assert torch.allclose(source.log_prob(draws), torch.full((5,), space.log_uniform((2, 4))).double())
    mean = DirichletSource(0.3).sample((20_000, 1, 4)).mean(0)
    assert torch.allclose(mean, torch.full((1, 4), 0.25), atol=0.01)


def test_small_concentrations_lie_at_the_corners():
    g = torch.Generator().manual_seed(0)
    x = DirichletSource(1e-3).sample((5000, 1, 4), Draw(g))[:, 0]
    # Beyond 1 - e a row is near a corner; of two entries that is 1 - e^a each.
    assert float((x.amax(1) > 0.999).double().mean()) > 0.95
    assert torch.allclose(x.mean(0), torch.full((4,), 0.25), atol=0.03)
    two = DirichletSource(0.05).sample((20_000, 1, 2), Draw(g))[:, 0, 0]
    assert float(two.var()) == pytest.approx(0.25 / (2 * 0.05 + 1), rel=0.02)
    with pytest.raises(ValueError, match="concentration"):
        DirichletSource(float("nan"))


def test_tokens_that_either_branch_excludes_stay_excluded():
    field = Two(DirichletPath())
    field.p = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.4, 0.6]])
    x, t = FlatSimplex().random((4, 2, 3)), torch.full((4,), 0.5)
    guided = SimplexClassifierFree(2.0, mix="log")(field)
    p = torch.softmax(guided(x, t, {"label": torch.zeros(4, dtype=torch.long)}), -1)
    torch.testing.assert_close(p, torch.tensor([0.0, 1.0, 0.0]).expand_as(p))
    for rule in (SimplexClassifierFree, lambda scale: SimplexClassifier(torch.nn.Identity(), scale)):
        with pytest.raises(ValueError, match="scale must be finite"):
            rule(float("nan"))


def test_scores_and_posteriors_are_inverse():
    g = torch.Generator().manual_seed(0)
    x = FlatSimplex().random((50, 2, 6), Draw(g, dtype=torch.float64))
    p = FlatSimplex().random((50, 2, 6), Draw(g, dtype=torch.float64))
    a = torch.full((50, 1, 1), 3.5, dtype=torch.float64)
    score = posterior_to_score(p, x, a)
    assert torch.allclose(score_to_posterior(score, x, a), p)
    # The paper's way: the centred matrix with its last row replaced by the sum.
    m = (a[..., None] - 1) * torch.diag_embed(1 / x)
    m = m - m.mean(-2, keepdim=True)
    assert torch.allclose((m @ p[..., None])[..., 0], score)
    m[..., -1, :] = 1
    right = torch.cat([score[..., :-1], torch.ones(50, 2, 1, dtype=torch.float64)], -1)
    assert torch.allclose(torch.linalg.solve(m, right), p)
    # The score itself, by differentiating the mixture's log density along the simplex.
    point = x[:1].clone().requires_grad_(True)
    density = (p[:1] * point ** (a[:1] - 1)).sum(-1).log().sum()
    (gradient,) = torch.autograd.grad(density, point)
    weights = p[:1] * point.detach() ** (a[:1] - 1)
    posterior = weights / weights.sum(-1, keepdim=True)
    tangent = gradient - gradient.mean(-1, keepdim=True)
    assert torch.allclose(posterior_to_score(posterior, x[:1], a[:1]), tangent)


class Two(Field):
    """A posterior with a conditional and a null answer."""

    kind = "posterior"

    def __init__(self, path):
        self.path, self.geometry, self.rows, self.informs = path, path.geometry, 0, ("label",)
        self.p = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.3, 0.3]])

    def __call__(self, x, t, cond):
        self.rows += len(x)
        null = cond.get("null", torch.zeros(len(x), dtype=torch.bool))
        return self.p[null.long()][:, None].expand(-1, x.shape[1], -1).log()


def test_guidance_on_the_simplex():
    field = Two(DirichletPath())
    x, t = FlatSimplex().random((4, 2, 3)), torch.full((4,), 0.5)
    cond = {"label": torch.zeros(4, dtype=torch.long)}
    guided = SimplexClassifierFree(2.0)(field)
    p = torch.softmax(guided(x, t, cond), -1)
    assert field.rows == 8
    assert guided.calls(0.5, {"label": torch.zeros(1)}) == 2
    assert guided.calls(0.5, {"mask": torch.ones(1)}) == 1
    # 2 p_c - p_0 = (1.0, 0.1, -0.1), projected onto the simplex.
    wanted = FlatSimplex().project(2 * field.p[:1] - field.p[1:])
    assert torch.allclose(p, wanted.expand_as(p), atol=1e-6)
    assert FlatSimplex().violation(p).max() < 1e-6

    class Likes0(torch.nn.Module):
        def forward(self, x, t):
            return torch.stack([5 * x[..., 0].sum(1), torch.zeros(len(x))], 1)

    steered = SimplexClassifier(Likes0(), 3.0)(field)
    plain = torch.softmax(field(x, t, {"null": torch.ones(4, dtype=torch.bool)}), -1)
    q = torch.softmax(steered(x, t, cond), -1)
    assert (q[..., 0] > plain[..., 0]).all()
    assert torch.allclose(torch.softmax(steered(x, torch.zeros(4), cond), -1), plain, atol=1e-6)
    with pytest.raises(IncompatibleError, match="path: dirichlet"):
        SimplexClassifier(Likes0())(Two(AffinePath()))(x, t, cond)


def test_exponential_times_have_the_papers_law():
    law = ExponentialTimes()
    a = 1 + 7 * law.sample(200_000, Draw(torch.Generator().manual_seed(0), dtype=torch.float64))
    assert float(a.max()) <= 8
    # a - 1 is 2 Exp(1) given a <= 8.
    for level in (1.5, 2.0, 4.0):
        wanted = (1 - np.exp(-(level - 1) / 2)) / (1 - np.exp(-3.5))
        assert abs(float((a < level).double().mean()) - wanted) < 5e-3


def test_exponential_times_end_where_their_path_does():
    wide = DirichletPath(20.0)
    assert ExponentialTimes(path=wide).theta == ExponentialTimes(largest=20.0).theta == 2 / 19
    assert ExponentialTimes(path=AffinePath()).theta == ExponentialTimes().theta == 2 / 7
    built = build(load_recipe("dirichlet-toy", overrides=["path={use: dirichlet, largest: 20}"]))
    assert built["objective"].times.theta == 2 / 19


def test_one_word_changes_the_flow_and_a_student_takes_one_step():
    data = Independent(vocab=5, length=3, n=4000)
    codec = OneHot(data.spec)
    assert torch.equal(codec.decode(codec.encode(data.all())).x, data.all().x)
    for path, source in (
        (DirichletPath(), DirichletSource()),
        (AffinePath(geometry=FlatSimplex()), DirichletSource()),
        (AffinePath(geometry=Euclidean()), fl.sources.Gaussian()),
    ):
        torch.manual_seed(0)
        flow = fl.Flow(
            MLP(codec.spec, width=32, depth=2),
            codec=codec,
            source=source,
            objective=PosteriorMatching(path),
            solver=SimplexEuler(8),
        )
        history = flow.fit(data, steps=40, batch=128, lr=3e-3, log_every=20)
        assert history[-1]["loss"] < history[0]["loss"]
        x = flow.sample(16, seed=0)
        assert x.shape == (16, 3)
        assert int(x.max()) < 5
    teacher = fl.Flow(
        MLP(codec.spec, width=32), codec=codec, source=DirichletSource(),
        objective=PosteriorMatching(DirichletPath()), solver=SimplexEuler(4, finish="argmax"),
    )  # fmt: skip
    pairs = distillation_pairs(teacher, 256)
    assert pairs.examples.cond["x0"].shape == (256, 3, 5)
    student = fl.Flow(
        MLP(codec.spec, width=64), source=Paired(), solver=SimplexEuler(1, finish="argmax"),
        objective=PosteriorMatching(DirichletPath(), times=AtSource()),
    )  # fmt: skip
    student.fit(pairs, steps=150, batch=128, lr=5e-3, ema=0.9)
    answer = student.solver.solve(student.field(), pairs.examples.cond["x0"])
    agree = (answer.x.argmax(-1) == pairs.examples.x.argmax(-1)).double().mean()
    assert answer.nfe == 1
    assert float(agree) > 0.7


def test_parts_that_do_not_fit_are_told_apart():
    from flowloom.clashes import problems
    from flowloom.solvers import CTMCEuler

    codec = OneHot(Independent(n=10).spec)
    space, objective = FlatSimplex(), PosteriorMatching(DirichletPath())

    def clashes(**parts):
        return [c.message for c in problems({"spec": codec.spec, "geometry": space, **parts})]

    assert clashes(source=DirichletSource(), objective=objective, solver=SimplexEuler()) == []
    assert clashes(source=DirichletSource(), objective=objective, solver=Euler()) == []
    assert clashes(source=fl.sources.Uniform(space), objective=objective) == []
    assert "gaussian noise does not lie on" in clashes(source=fl.sources.Gaussian())[0]
    field = objective.field(MLP(codec.spec, width=8))
    with pytest.raises(IncompatibleError, match="path: mixture"):
        CTMCEuler(2).solve(field, torch.rand(1, 4, 20))
    tokens = fl.paths.MixturePath(fl.geometry.Discrete(20))
    with pytest.raises(IncompatibleError, match="dirichlet or affine"):
        SimplexEuler(2).solve(PosteriorMatching(tokens).field(MLP(codec.spec, width=8)), torch.rand(1, 4, 20))
    with pytest.raises(IncompatibleError, match="flat-simplex"):
        DirichletPath(geometry=Euclidean())
    with pytest.raises(IncompatibleError, match="velocity"):
        read_as(PosteriorMatching(tokens).field(MLP(codec.spec, width=8)), "velocity")


def test_classifiers_are_trained_on_points_of_the_path():
    data = MotifDNA(classes=2, motif=6, length=12, purity=1.0, n=2000)
    path = DirichletPath()
    classifier = train_classifier(data, path, width=16, steps=80, batch=64)
    assert not any(p.requires_grad for p in classifier.parameters())
    examples = data.split("test").take(torch.arange(500))
    x1 = OneHot(data.spec).encode_state(examples.x)
    g = torch.Generator().manual_seed(0)
    accuracy = []
    for time in (0.0, 1.0):
        t = torch.full((500,), time)
        x_t = path.sample(DirichletSource().sample(tuple(x1.shape), Draw(g)), x1, t, generator=g).x_t
        accuracy.append(float((classifier(x_t, t).argmax(1) == examples.cond["label"]).double().mean()))
    # Noise tells nothing of the class, points near the data nearly all.
    assert accuracy[0] < 0.65
    assert accuracy[1] > 0.85
    with pytest.raises(IncompatibleError, match="no classes named 'kind'"):
        train_classifier(data, path, label="kind")


def test_products_of_tokens_become_rows_part_by_part():
    parts = {"atoms": Spec((3,), vocab=4, tokens=tuple("CNOF")), "bonds": Spec((2, 2), vocab=2)}
    told = {"known": Condition(shape=(2, 2), role="values", of="bonds")}
    told["which"] = Condition(shape=(2, 2), role="given", of="bonds")
    told["real"] = Condition(shape=(3,), role="real", of="atoms")
    codec = OneHot(Spec(parts=parts, conditions=told))
    assert {k: v.shape for k, v in codec.spec.parts.items()} == {"atoms": (3, 4), "bonds": (2, 2, 2)}
    assert codec.spec.parts["atoms"].tokens == tuple("CNOF")
    assert codec.spec.conditions["known"].shape == (2, 2, 2)
    assert codec.spec.conditions["real"] == told["real"]
    x = {"atoms": torch.tensor([[0, 3, 1]]), "bonds": torch.tensor([[[0, 1], [1, 1]]])}
    rows = codec.encode_state(x)
    assert rows["atoms"][0].tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]]
    back = codec.decode_state(rows)
    assert all(torch.equal(back[k], x[k]) for k in x)
    with pytest.raises(ShapeError, match="id 2"):
        codec.encode_state({**x, "bonds": 2 * x["bonds"]})
    with pytest.raises(IncompatibleError, match="not made of tokens"):
        OneHot(Spec(parts={**parts, "pos": Spec((3, 3))}))


def test_pairs_of_data_sorted_by_class_are_of_all_classes(monkeypatch):
    """Ten pairs of forty rows, ten of each class in turn: not those of the first class alone."""
    label = torch.arange(40) // 10
    asked = []

    def pairs(flow, n, *, solver, seed, **cond):
        asked.append(cond["label"])
        raise InterruptedError

    monkeypatch.setattr("flowloom_sequences.simplex.distil.distillation_pairs", pairs)
    for n, counts in ((10, [3, 2, 3, 2]), (80, [20] * 4)):
        data = Distilled("", n=n)
        rows = fl.data.Tensors(torch.zeros(40, 2), {"label": label})
        assembly = SimpleNamespace(require_data=lambda why, rows=rows: rows)
        data._teacher = SimpleNamespace(flow=None, assembly=assembly)
        with pytest.raises(InterruptedError):
            data.take(torch.arange(1))
        assert asked[-1].bincount(minlength=4).tolist() == counts
