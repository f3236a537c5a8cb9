"""Every few-step objective has the exact flow map for its fixed point, and no wrong one."""

from __future__ import annotations

import types

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, TrainingError
from flowloom.fields import AverageVelocityMap, NetworkField
from flowloom.geometry import FlatTorus, Sphere
from flowloom.objectives import Batch, Step
from flowloom.paths import AffinePath, GeodesicPath
from flowloom.spec import Spec
from flowloom.times import LogitNormal, Uniform
from flowloom.trained import Trained
from flowloom.training import TrainConfig, load_checkpoint, save_checkpoint
from flowloom_fewstep.align_your_flow import AlignYourFlow
from flowloom_fewstep.alphaflow import AlphaFlow
from flowloom_fewstep.composition import composition_residual
from flowloom_fewstep.consistency_fm import ConsistencyFM
from flowloom_fewstep.guided_target import GuidedTarget
from flowloom_fewstep.intervals import gap_first
from flowloom_fewstep.meanflow import MeanFlow
from flowloom_fewstep.modular_meanflow import ModularMeanFlow
from flowloom_fewstep.pairs import Pair
from flowloom_fewstep.ratios import ExponentialRatio, SigmoidRatio
from flowloom_fewstep.segments import Segments
from flowloom_fewstep.soflow import SoFlow
from flowloom_fewstep.splitmeanflow import SplitMeanFlow
from flowloom_fewstep.terminal_velocity_matching import TerminalVelocityMatching

N = 64
AXIS = torch.tensor([0.3, -0.5, 2.0], dtype=torch.float64)


def times(draws):
    return torch.rand(2, N, generator=draws, dtype=torch.float64).mul(0.98).sort(0).values


def pair_of(model, draws) -> Pair:
    """States of the exact flow's marginals, with the flow's own velocity."""
    s, t = times(draws)
    x = model.place(torch.randn(N, generator=draws, dtype=torch.float64), s)[:, None]
    network = AverageVelocityMap(model, AffinePath())
    exact = type(model)(model.m, model.c)
    with torch.no_grad():
        velocity = exact(x, s, span=torch.zeros_like(s))
    return Pair(network, x, s, t, velocity, {})


class Rotation(nn.Module):
    """The average velocity of a rotation of the sphere: along the great circle to where it ends."""

    def spin(self, x):
        return torch.linalg.cross(AXIS.expand_as(x), x)

    def turned(self, x, angle):
        speed = AXIS.norm()
        axis, turn = (AXIS / speed).expand_as(x), (speed * angle)[:, None]
        along = (axis * x).sum(-1, keepdim=True) * axis
        return turn.cos() * (x - along) + turn.sin() * torch.linalg.cross(axis, x) + along

    def forward(self, x, s, /, span, **cond):
        wide = (span > 1e-9)[:, None]
        safe = torch.where(span > 1e-9, span, torch.ones_like(span))
        return torch.where(wide, Sphere(2).log(x, self.turned(x, safe)) / safe[:, None], self.spin(x))


def on_sphere(draws) -> Pair:
    model, sphere = Rotation(), Sphere(2)
    s, t = times(draws)
    x = sphere.random((N, 3), Draw(draws, dtype=torch.float64))
    return Pair(AverageVelocityMap(model, GeodesicPath(sphere)), x, s, t, model.spin(x), {})


def step_of(model, progress: float = 0.5) -> Step:
    """A step whose averaged flow, which is asked for its network alone, is ``model``."""
    flow = types.SimpleNamespace(model=model)
    return Step(int(1000 * progress), 1000, torch.Generator().manual_seed(0), average=lambda: flow)


class ExactTeacher(Trained):
    """A teacher that is the flow itself."""

    def __init__(self, velocity) -> None:
        nn.Module.__init__(self)
        self.flow, self.velocity = nn.Identity(), velocity

    def field(self):
        return NetworkField(lambda x, t: self.velocity(x, t), "velocity")


SYSTEMS = {
    "meanflow": lambda path, teacher: MeanFlow(path),
    "alphaflow, at 0": lambda path, teacher: AlphaFlow(path, ratio=0.0),
    "shortcut": lambda path, teacher: AlphaFlow(path, ratio=0.5, first="own"),
    "splitmeanflow": lambda path, teacher: SplitMeanFlow(path),
    "terminal": lambda path, teacher: TerminalVelocityMatching(path),
    "modular": lambda path, teacher: ModularMeanFlow(path, through=0.7, warm=0.0),
    "modular, averaged": lambda path, teacher: ModularMeanFlow(path, tangent="averaged"),
    "aligned, start": lambda path, teacher: AlignYourFlow(teacher, path),
    "aligned, end": lambda path, teacher: AlignYourFlow(teacher, path, end="lagrangian"),
}


def largest(found) -> float:
    return float(found.error.abs().max().detach())


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_exact_map_of_a_gaussian_has_no_error_and_others_have(name, draws, gaussian):
    model, exact = gaussian(), gaussian()
    teacher = ExactTeacher(lambda x, t: exact(x, t, span=torch.zeros_like(t)).detach())
    pair = pair_of(model, draws)
    objective = SYSTEMS[name](AffinePath(), teacher)
    assert largest(objective.residual(pair, step_of(exact))) < 1e-8
    with torch.no_grad():
        model.slope.fill_(1.1)
    assert largest(objective.residual(pair, step_of(exact))) > 1e-2


@pytest.mark.parametrize("name", SYSTEMS)
def test_so_does_a_rotation_of_the_sphere(name, draws):
    pair = on_sphere(draws)
    model = pair.network.model
    teacher = ExactTeacher(lambda x, t: model.spin(x))
    teacher.field = lambda: NetworkField(lambda x, t: model.spin(x), "velocity", GeodesicPath(Sphere(2)))
    objective = SYSTEMS[name](GeodesicPath(Sphere(2)), teacher)
    assert largest(objective.residual(pair, step_of(model))) < 1e-6


def test_short_steps_along_the_velocity_are_right_to_first_order(draws, gaussian):
    """What is left over the ratio halves with it: alpha v + (1 - alpha) u is exact to first order."""
    pair = pair_of(gaussian(), draws)
    for make in (lambda r: AlphaFlow(ratio=r), lambda r: SoFlow(ratio=r)):
        left = []
        for ratio in (2e-3, 1e-3):
            error = largest(make(ratio).residual(pair, step_of(None)))
            left.append(error)
        assert left[1] < 5e-2
        assert left[1] / left[0] == pytest.approx(0.5, rel=0.05)


def test_exchanged_pieces_are_no_composition(draws, gaussian):
    """The pitfall of the second weight: lambda belongs to the piece next to the state."""
    pair = pair_of(gaussian(), draws)
    ratio = torch.full((N,), 0.3, dtype=torch.float64)
    middle = pair.s + ratio * (pair.t - pair.s)
    first = pair.mean(pair.x, pair.s, middle)
    rest = pair.mean(pair.along(pair.x, first, middle - pair.s), middle, pair.t)
    whole = pair.mean(pair.x, pair.s, pair.t)
    assert float((0.3 * first + 0.7 * rest - whole).abs().max().detach()) < 1e-9
    assert float((0.7 * first + 0.3 * rest - whole).abs().max().detach()) > 1e-2


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1)).double()

    def forward(self, x, s, /, span, **cond):
        return self.net(torch.cat([x, s[:, None], span[:, None]], 1))


def gradient(objective, pair, step, model) -> torch.Tensor:
    total = objective.score(objective.residual(pair, step)).total
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, list(model.parameters()))])


@pytest.fixture
def small(draws, gaussian):
    torch.manual_seed(0)
    model, pair = Small(), pair_of(gaussian(), draws)
    return model, Pair(AverageVelocityMap(model, AffinePath()), pair.x, pair.s, pair.t, pair.velocity, {})


@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize("method", [AlphaFlow, SoFlow])
def test_at_small_ratios_the_gradient_is_meanflow_s(small, method, power):
    model, pair = small
    mean = gradient(MeanFlow(power=power), pair, step_of(model), model)
    found = gradient(method(ratio=1e-4, power=power), pair, step_of(model), model)
    assert float(torch.cosine_similarity(found, mean, 0)) > 0.999
    if power == 0:
        assert float(found.norm() / mean.norm()) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("first", ["velocity", "own"])
def test_the_composition_is_a_target(small, first):
    """Gradient of the long jump alone: that of a regression on numbers."""
    model, pair = small
    ratio = torch.full((N,), 0.4, dtype=torch.float64)
    found = composition_residual(pair, ratio, pair.velocity if first == "velocity" else None)
    ours = torch.autograd.grad(found.error.square().sum(), list(model.parameters()))
    mean = pair.mean(pair.x, pair.s, pair.t)
    target = (mean - found.error).detach()
    theirs = torch.autograd.grad((mean - target).square().sum(), list(model.parameters()))
    assert all(torch.allclose(a, b) for a, b in zip(ours, theirs, strict=True))


def test_terminal_velocities_are_differentiated_and_their_targets_not(small):
    model, pair = small
    torch.manual_seed(1)
    average = Small()
    whole = gradient(TerminalVelocityMatching(), pair, step_of(average), model)

    def rate_of(t):
        return pair.x + (t - pair.s)[:, None] * model(pair.x, pair.s, span=t - pair.s)

    h = 1e-5
    end, rate = rate_of(pair.t), (rate_of(pair.t + h) - rate_of(pair.t - h)) / (2 * h)
    wanted = average(end, pair.t, span=pair.t * 0).detach()
    by_hand = torch.autograd.grad((rate - wanted).square().sum(1).mean(), list(model.parameters()))
    assert torch.allclose(whole, torch.cat([g.flatten() for g in by_hand]), atol=1e-6)
    detached = gradient(TerminalVelocityMatching(detached=True), pair, step_of(average), model)
    assert float(torch.cosine_similarity(whole, detached, 0)) < 0.99
    assert all(p.grad is None for p in average.parameters())


def test_terminal_matching_needs_averages(small):
    with pytest.raises(TrainingError, match="ema"):
        TerminalVelocityMatching().residual(small[1], Step())


def test_lambda_is_of_the_gradient_alone(small):
    model, pair = small
    step = step_of(model)
    found = {a: ModularMeanFlow(through=a, warm=0.0, power=0) for a in (0.0, 0.5, 1.0)}
    losses = [float(o.score(o.residual(pair, step)).total.detach()) for o in found.values()]
    assert losses == pytest.approx([losses[0]] * 3)
    none, half, whole = (gradient(o, pair, step, model) for o in found.values())
    assert torch.allclose(none, gradient(MeanFlow(power=0), pair, step, model))
    assert torch.allclose(half, (none + whole) / 2)
    assert float(torch.cosine_similarity(none, whole, 0)) < 0.99
    curriculum = ModularMeanFlow(through=0.8, warm=0.5)
    assert [curriculum.share(p) for p in (0.0, 0.25, 0.5, 0.9)] == pytest.approx([0, 0.4, 0.8, 0.8])


@pytest.mark.parametrize("end", ["eulerian", "lagrangian"])
def test_aligned_tangents_are_normalised_and_have_the_gradient_of_u(small, gaussian, end):
    model, pair = small
    exact = gaussian()
    teacher = ExactTeacher(lambda x, t: exact(x, t, span=torch.zeros_like(t)).detach())
    objective = AlignYourFlow(teacher, end=end, warm=0.0, cut=0.1)
    g = objective.residual(pair, step_of(model)).error.detach()
    ours = gradient(objective, pair, step_of(model), model)
    mean = pair.mean(pair.x, pair.s, pair.t)
    tangent = 2 * g / (g.abs() + 0.1) / N
    theirs = torch.autograd.grad((mean * tangent).sum(), list(model.parameters()))
    assert torch.allclose(ours, torch.cat([v.flatten() for v in theirs]), atol=1e-10)


def test_autoguidance_extrapolates_from_the_weak_teacher(small):
    pair = small[1]
    strong, weak = (ExactTeacher(lambda x, t, v=v: x * 0 + v) for v in (2.0, 1.0))
    objective = AlignYourFlow(strong, weak=weak, scale=3.0)
    assert float(objective.taught(pair.x, pair.s, pair.cond, Step()).unique()) == 3 * 2 - 2 * 1
    assert float(AlignYourFlow(strong).taught(pair.x, pair.s, pair.cond, Step()).unique()) == 2


class ToPoint(nn.Module):
    """The flow to one point, which is straight: v = slope (p - x) / (1 - t)."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x, t, /, **cond):
        return self.slope * (2.0 - x) / (1 - t)[:, None]


@pytest.mark.parametrize("progress", [0.1, 0.9])
def test_consistency_fm_is_at_rest_on_straight_flows(draws, progress):
    model = ToPoint()
    x0 = torch.randn(N, 2, generator=draws, dtype=torch.float64)
    objective = ConsistencyFM(times=Uniform(latest=0.99), velocity_weight=0.1)
    batch = Batch(x0, torch.full_like(x0, 2.0))
    assert float(objective.loss(model, batch, step_of(None, progress)).total.detach()) < 1e-20
    with torch.no_grad():
        model.slope.fill_(1.1)
    loss = objective.loss(model, batch, step_of(None, progress)).total
    assert float(loss.detach()) > 1e-6


def test_consistency_fm_regresses_on_ends_then_on_itself(draws):
    """Before its second stage the target is the path's point; then its own, without gradient."""
    x0, x1 = torch.randn(2, N, 2, generator=draws, dtype=torch.float64)
    model, objective = ToPoint(), ConsistencyFM(velocity_weight=0.0, segments=2, boundary=1.0)
    t = Uniform().sample(N, Draw(torch.Generator().manual_seed(0), dtype=torch.float64))
    end = Segments(2).end(t)
    at = lambda time: x0 + time[:, None] * (x1 - x0)  # noqa: E731
    f = lambda x, time: x + (end - time)[:, None] * model(x, time)  # noqa: E731
    first = objective.loss(model, Batch(x0, x1), step_of(None, 0.2)).total
    assert float(first) == pytest.approx(float((f(at(t), t) - at(end)).square().sum(1).mean()))
    r = torch.minimum(t + 1e-3, end)
    own = (f(at(t), t) - f(at(r), r).detach()).square().sum(1).mean()
    second = objective.loss(model, Batch(x0, x1), step_of(None, 0.7)).total
    assert float(second) == pytest.approx(float(own), rel=1e-6)
    grads = [torch.autograd.grad(v, model.slope)[0] for v in (second, own)]
    assert torch.allclose(*grads)


def test_segments_end_where_the_next_begins():
    t = torch.tensor([0.0, 0.49, 0.5, 0.99, 1.0])
    assert Segments(2).end(t).tolist() == [0.5, 0.5, 1, 1, 1]


def test_curricula():
    fall = SigmoidRatio(end=0.6)
    assert [fall(p) for p in (0.0, 0.3, 0.6, 1.0)] == [1, 0.5, 0, 0]
    assert fall(0.25) == pytest.approx(1 - 1 / (1 + 2.718281828 ** (25 * 0.05 / 0.6)))
    ratio = ExponentialRatio(0.1, 0.001)
    assert [ratio(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.1, 0.01, 0.001])


def test_gap_first_pairs_have_both_laws(draws):
    gap, law = LogitNormal(mean=-0.8), LogitNormal(mean=0.4)
    s, t = gap_first(law, gap, 20_000, Draw(draws, dtype=torch.float64))
    assert bool((s >= 0).all() and (s < t).all() and (t <= 1).all())
    length = t - s
    median = float(gap.quantile(torch.tensor(0.5, dtype=torch.float64)))
    assert float((length < median).double().mean()) == pytest.approx(0.5, abs=0.02)
    # Among gaps of about 0.3, t has the law cut at 0.3: half lies beyond the cut law's median.
    near = (length - 0.3).abs() < 0.02
    free = law.sample(200_000, Draw(draws, dtype=torch.float64))
    expected = float(free[free > 0.3].median())
    assert float((t[near] < expected).double().mean()) == pytest.approx(0.5, abs=0.06)


def test_guidance_fades_at_the_noise():
    guided = GuidedTarget(scale=0.75, mix=0.75, fade=0.2)
    x, s = torch.zeros(3, 1), torch.tensor([0.0, 0.1, 0.5])
    told = lambda x, s, cond: torch.where(cond["null"][:, None], -1.0, 5.0) + 0 * x  # noqa: E731
    found = guided(told, x, s, torch.full((3, 1), 3.0), {"label": torch.zeros(3)})[:, 0]
    # SoFlow: 0.25 (v + D (w - 1) (v - F0)) + 0.75 F, with w = 3 and D = 0, 1/2, 1.
    assert found.tolist() == pytest.approx([0.25 * (3 + d * 2 * 4) + 0.75 * 5 for d in (0, 0.5, 1)])


def test_what_has_no_meaning_is_refused():
    with pytest.raises(IncompatibleError, match="velocities at two points"):
        ConsistencyFM(GeodesicPath(Sphere(2)))
    ConsistencyFM(GeodesicPath(Sphere(2)), velocity_weight=0.0)
    with pytest.raises(ValueError, match="own"):
        AlphaFlow(first="own")
    for wrong in (lambda: AlphaFlow(ratio=1.5), lambda: SoFlow(ratio=0.0), lambda: SigmoidRatio(end=0.0)):
        with pytest.raises(ValueError, match=r"ratio|begin"):
            wrong()
    jumpy = types.SimpleNamespace(jvp_safe=False)
    network = AverageVelocityMap.__new__(AverageVelocityMap)
    network.model, network.jvp_safe = jumpy, False
    pair = Pair(network, *(torch.zeros(2),) * 4, {})
    for objective in (MeanFlow(), ModularMeanFlow(), TerminalVelocityMatching()):
        with pytest.raises(IncompatibleError, match="jvp_safe"):
            objective.residual(pair, step_of(None))


def test_a_student_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    """Its teacher is frozen, and part of the checkpoint."""

    def trainer():
        torch.manual_seed(0)
        data = fl.data.EightGaussians(64, labelled=False)
        teacher = Trained(fl.Flow(fl.models.MLP(data.spec, width=8, depth=2)))
        objective = AlignYourFlow(teacher, warm=0.5)
        model = fl.models.MLP(data.spec.plus(objective.conditions()), width=8, depth=2)
        flow = fl.Flow(model, data.spec, objective=objective, solver=fl.solvers.FlowMapSteps(1))
        return flow.trainer(data, TrainConfig(steps=8, batch=8, ema=0.9), seed=1)

    whole, first, second = trainer(), trainer(), trainer()
    for _ in whole.run():
        pass
    for _ in first.run(5):
        pass
    load_checkpoint(second, save_checkpoint(first, tmp_path))
    for _ in second.run():
        pass
    expected, found = whole.flow.state_dict(), second.flow.state_dict()
    assert [k for k, v in expected.items() if not torch.equal(v, found[k])] == []
    teachers = [n for n, p in whole.flow.named_parameters() if "teacher" in n]
    assert teachers
    assert not any(n in whole.flow.trainable() for n in teachers)


@pytest.mark.parametrize("space", [Sphere(2), FlatTorus(2)], ids=str)
@pytest.mark.parametrize("name", [*SYSTEMS, "soflow", "alphaflow"])
def test_losses_and_gradients_are_finite_on_curved_and_wrapped_spaces(name, space, draws):
    """Rows that look no further than where they stand, and geodesics of length 0, among them."""
    torch.manual_seed(0)
    path, size = GeodesicPath(space), 3 if isinstance(space, Sphere) else 2
    teacher = ExactTeacher(lambda x, t: space.to_tangent(x, torch.ones_like(x)))
    teacher.field = lambda: NetworkField(lambda x, t: torch.ones_like(x), "velocity", path)
    more = {"soflow": lambda p, _: SoFlow(p), "alphaflow": lambda p, _: AlphaFlow(p, ratio=0.3)}
    objective = (SYSTEMS | more)[name](path, teacher)
    model = fl.models.MLP(Spec((size,)).plus(objective.conditions()), width=8, depth=2)
    x0, x1 = (space.random((32, size), Draw(draws, dtype=torch.float32)) for _ in "ab")
    loss = objective.loss(model, Batch(x0, x1), step_of(model))
    loss.total.backward()
    assert bool(loss.total.isfinite())
    grads = [p.grad for p in model.parameters()]
    assert all(g is not None and bool(g.isfinite().all()) for g in grads)
    assert max(float(g.abs().max()) for g in grads) > 0
