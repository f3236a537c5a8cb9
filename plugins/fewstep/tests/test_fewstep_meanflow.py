"""MeanFlow's loss, its times, weights and guidance, against formulas worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.geometry import Discrete, Sphere
from flowloom.objectives import Batch, Step
from flowloom.paths import AffinePath, GeodesicPath, MixturePath
from flowloom.solvers import FlowMapSteps
from flowloom.spec import Condition, Spec
from flowloom.times import LogitNormal, Uniform
from flowloom_fewstep.guided_target import GuidedTarget
from flowloom_fewstep.intervals import Intervals
from flowloom_fewstep.meanflow import MeanFlow
from flowloom_fewstep.weighting import adaptive


def test_pairs_are_ordered_and_a_share_coincides(draws):
    s, t = Intervals(Uniform(), 0.25).sample(4000, Draw(draws))
    assert bool((s <= t).all())
    assert int((s < t).sum()) == 1000
    # The state stands at the smaller of two draws of the law, also where it looks no further.
    for part in (s[:1000], s[1000:]):
        assert float((part < 1 - math.sqrt(0.5)).double().mean()) == pytest.approx(0.5, abs=0.05)
    # The larger of two uniform draws has the median sqrt(1/2).
    assert float((t[:1000] < math.sqrt(0.5)).double().mean()) == pytest.approx(0.5, abs=0.05)


def test_the_papers_times_face_the_noise(draws):
    """The paper's logit-normal(-0.4, 1) of a time with noise at 1 lies towards data: above 1/2 in ours."""
    paper, ours = (LogitNormal(mean=m).sample(4000, Draw(draws)) for m in (-0.4, 0.4))
    assert float((1 - paper).mean() - ours.mean()) == pytest.approx(0, abs=0.02)
    assert float(ours.mean()) > 0.55


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_adaptive_weight_has_no_gradient(power):
    error = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(adaptive(error.square(), power).sum(), error)
    by_hand = 2 * error / (error.square() + 1e-3) ** power if power else 2 * error
    assert torch.allclose(found, by_hand.detach())


class Told(nn.Module):
    """Answers with its label, with -1 where that is withheld; keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple] = []
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(self, x, t, /, **cond):
        self.seen.append((t, cond))
        label = torch.where(cond.get("null", torch.zeros_like(t).bool()), -1.0, cond["label"].float())
        return label[:, None] + 0 * x + self.zero


def test_guidance_mixes_three_velocities_in_its_window_where_rows_are_told():
    guided = GuidedTarget(scale=0.2, mix=0.92, interval=(0.25, 1.0))
    assert guided.effective_scale == pytest.approx(2.5)
    x, v = torch.zeros(4, 2), torch.full((4, 2), 3.0)
    s = torch.tensor([0.5, 0.5, 0.1, 1.0])
    cond = {"label": torch.tensor([5, 5, 5, 7]), "null": torch.tensor([False, True, False, False])}
    model = Told()
    found = guided(lambda x, s, told: model(x, s, **told), x, s, v, cond)
    untold = (1 - 0.2 - 0.92) * -1
    expected = [0.2 * 3 + 0.92 * 5 + untold, 3, 3, 0.2 * 3 + 0.92 * 7 + untold]
    assert torch.allclose(found[:, 0], torch.tensor(expected))
    assert not found.requires_grad


def test_guidance_enters_target_and_tangent(draws):
    """With u constant in x and s the target is the guided velocity itself; its gradient stops there."""
    objective = MeanFlow(power=0, distinct=0.5, guided=GuidedTarget(scale=2.0, mix=0.0))
    model, n = Told(), 64
    x0, x1 = torch.randn(2, n, 2, generator=draws)
    batch = Batch(x0, x1, {"label": torch.full((n,), 4)})
    loss = objective.loss(model, batch, Step(generator=draws))
    target = 2 * (x1 - x0) + (1 - 2) * -1
    assert float(loss.total.detach()) == pytest.approx(float((4 - target).square().sum(1).mean()), rel=1e-5)
    (grad,) = torch.autograd.grad(loss.total, model.zero)
    assert float(grad) == pytest.approx(float(2 * (4 - target).sum(1).mean()), rel=1e-5)


class Gaussian(nn.Module):
    """The exact average velocity from N(0, 1) to N(m, c^2) in one dimension, times ``slope``.

    x_t = a_t + r_t z with a_t = m t and r_t^2 = (1 - t)^2 + c^2 t^2: the flow keeps z.
    """

    def __init__(self, m: float, c: float) -> None:
        super().__init__()
        self.m, self.c = m, c
        self.slope = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def place(self, z, t):
        return self.m * t + ((1 - t) ** 2 + (self.c * t) ** 2).sqrt() * z

    def forward(self, x, s, /, span, **cond):
        r = ((1 - s) ** 2 + (self.c * s) ** 2).sqrt()
        dr = (s * (1 + self.c**2) - 1) / r
        z, now = (x[:, 0] - self.m * s) / r, self.m
        wide = span > 1e-6
        mean = (self.place(z, s + span) - x[:, 0]) / torch.where(wide, span, torch.ones_like(span))
        return (self.slope * torch.where(wide, mean, now + dr * z) + self.shift)[:, None]


def test_the_marginal_average_velocity_is_where_the_gradient_vanishes():
    """Targets are made of conditional velocities; their mean must be the marginal's."""
    torch.manual_seed(0)
    n, m, c = 200_000, 1.5, 0.4
    draws = torch.Generator().manual_seed(1)
    x0, x1 = torch.randn(2, n, 1, generator=draws, dtype=torch.float64)
    model = Gaussian(m, c)
    objective = MeanFlow(times=Uniform(latest=0.98), power=0, distinct=0.75)

    def gradient() -> list[float]:
        loss = objective.loss(model, Batch(x0, m + c * x1), Step(generator=torch.Generator().manual_seed(2)))
        return [float(g) for g in torch.autograd.grad(loss.total, list(model.parameters()))]

    assert max(map(abs, gradient())) < 0.03
    with torch.no_grad():
        model.slope.fill_(1.2)
    assert abs(gradient()[0]) > 0.3


@pytest.mark.parametrize("geometry", ["flat", "sphere"])
def test_training_finds_a_flow_in_one_evaluation(geometry):
    torch.manual_seed(0)
    if geometry == "flat":
        path, x = AffinePath(), torch.tensor([2.0, -1.0, 0.5]) + 0.1 * torch.randn(512, 3)
    else:
        path = GeodesicPath(Sphere(2))
        x = nn.functional.normalize(torch.tensor([0.0, 0.6, 0.8]) + 0.1 * torch.randn(512, 3), dim=1)
    objective = MeanFlow(path, distinct=0.5, power=0)
    model = fl.models.MLP(Spec((3,)).plus(objective.conditions()), width=32, depth=2)
    flow = fl.Flow(model, Spec((3,)), objective=objective, solver=FlowMapSteps(1))
    flow.fit(x, steps=120, batch=64, lr=5e-3, ema=0.98, clip=0, seed=0)
    solution = flow.solve(500, seed=0)
    assert solution.nfe == 1
    assert float((solution.x.mean(0) - x.mean(0)).norm()) < 0.12
    assert float(solution.x.std(0).mean()) < 0.3
    path.geometry.require(solution.x, atol=1e-4)


def test_the_network_reads_the_state_s_time_and_the_span(draws):
    model, n = Told(), 8
    batch = Batch(*torch.randn(2, n, 2, generator=draws), {"label": torch.arange(n)})
    MeanFlow(distinct=0.5).loss(model, batch, Step(generator=draws))
    s, cond = model.seen[0]
    assert set(cond) == {"label", "span"}
    assert len(model.seen) == 1
    assert bool((cond["span"][4:] == 0).all())
    assert MeanFlow().conditions() == {"span": Condition(role="setting")}
    assert set(MeanFlow().conditions()) == set(MeanFlow.tells)
    field = MeanFlow().field(model)
    field.jump(batch.x0, torch.full((n,), 0.25), torch.full((n,), 0.75), batch.cond)
    s, cond = model.seen[-1]
    assert float(s[0]) == 0.25
    assert float(cond["span"][0]) == 0.5


def test_what_cannot_be_averaged_or_differentiated_is_refused(draws):
    with pytest.raises(IncompatibleError, match="discrete states have none"):
        MeanFlow(MixturePath(Discrete(4)))
    model = Told()
    model.jvp_safe = False
    with pytest.raises(IncompatibleError, match="jvp_safe"):
        MeanFlow().loss(model, Batch(torch.zeros(2, 2), torch.ones(2, 2)), Step())
    for wrong in ({"distinct": 1.5}, {"power": -1}, {"condition_dropout": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            MeanFlow(**wrong)
    with pytest.raises(ValueError, match="mix"):
        GuidedTarget(mix=1.0)
