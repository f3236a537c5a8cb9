"""The losses of adversarial flow models, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import flowloom as fl
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, SolverError
from flowloom.geometry import Sphere
from flowloom.models import Critic, MLPCritic
from flowloom.objectives import Batch, Step
from flowloom.paths import GeodesicPath
from flowloom.solvers import FlowMapSteps
from flowloom.spec import Condition, Spec
from flowloom_fewstep.adversarial_flow import AdversarialFlow
from flowloom_fewstep.gradient_scale import GradientScale
from flowloom_fewstep.jumps import JumpMap
from flowloom_fewstep.relativistic import centring, relativistic, steepness
from flowloom_fewstep.transport import assignment_cost

SLOPE = torch.tensor([3.0, -1.0])
N = 4096


class Linear(Critic):
    """``D(x, t) = a . x + b``; keeps what it was shown."""

    def __init__(self, slope: Tensor = SLOPE, level: float = 0.0) -> None:
        super().__init__()
        self.slope, self.level = nn.Parameter(slope.clone()), level
        self.seen: list[tuple[Tensor, Tensor, dict[str, Tensor]]] = []

    def forward(self, x, t, /, **cond):
        self.seen.append((x.detach(), t, cond))
        return x @ self.slope + self.level


class Shift(nn.Module):
    """Answers with ``shift``, plus the state where it predicts landings; keeps what it was asked."""

    def __init__(self, shift=(0.0, 0.0), *, lands: bool = True) -> None:
        super().__init__()
        self.shift, self.lands = nn.Parameter(torch.tensor(shift)), lands
        self.seen: list[dict[str, Tensor]] = []

    def forward(self, x, t, /, **cond):
        self.seen.append({"x": x.detach(), "t": t, **cond})
        return (x if self.lands else torch.zeros_like(x)) + self.shift


def batch(draws, n: int = N) -> Batch:
    x0, x1 = torch.randn(2, n, 2, generator=draws)
    return Batch(x0, 5 + x1, {"label": torch.arange(n) % 3})


def step(draws, number: int = 0) -> Step:
    return Step(number, 100, draws)


def test_pairs_centring_and_slopes():
    real, made = torch.tensor([2.0]), torch.tensor([-1.0])
    assert float(relativistic(real, made)) == pytest.approx(math.log1p(math.exp(-3)))
    assert float(relativistic(made, real)) == pytest.approx(math.log1p(math.exp(3)))
    assert float(centring(real, made)) == 1
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(100_000, 2, generator=draws, dtype=torch.float64)
    beside = x + 0.01 * torch.randn(x.shape, generator=draws, dtype=torch.float64)
    slope = SLOPE.double()
    assert float(steepness(x @ slope, beside @ slope, 0.01).mean()) == pytest.approx(10, rel=0.02)
    # Not of a linear critic alone: the slope of |x|^2 is 2x, of squared mean 4 d.
    square = steepness(x.square().sum(1), beside.square().sum(1), 0.01).mean()
    assert float(square) == pytest.approx(8, rel=0.02)


@pytest.mark.parametrize("steps", [1, 4])
def test_penalties_are_squared_slopes_times_the_length_of_the_jump(draws, steps):
    objective = AdversarialFlow(Linear(), steps=steps, penalty=0.25, penalty_share=1.0)
    loss = objective.critic_loss(Shift(), batch(draws), step(draws))
    for name in ("r1", "r2"):
        assert float(loss.parts[name]) == pytest.approx(0.25 * 10 / steps, rel=0.1)
    assert float(loss.total.detach()) == pytest.approx(sum(map(float, loss.parts.values())), rel=1e-5)


def test_a_critic_that_tells_nothing_apart_pays_log_2_and_its_level(draws):
    objective = AdversarialFlow(Linear(torch.zeros(2), level=3.0), centring=0.01)
    loss = objective.critic_loss(Shift(), batch(draws), step(draws))
    assert float(loss.parts["adversarial"]) == pytest.approx(math.log(2))
    assert float(loss.parts["centring"]) == pytest.approx(0.01 * 36)
    assert float(loss.parts["r1"]) == float(loss.parts["r2"]) == 0


def test_penalties_look_at_their_share_of_rows(draws):
    critic = Linear()
    objective = AdversarialFlow(critic, penalty_share=0.25)
    objective.critic_loss(Shift(), batch(draws, 100), step(draws))
    x, t, cond = critic.seen[0]
    assert len(x) == len(t) == len(cond["label"]) == 250
    near = x[200:225] - x[:25]
    assert float(near.std()) == pytest.approx(0.01, rel=0.3)
    assert torch.equal(cond["label"][:100], cond["label"][100:200])


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_transport_of_a_whole_walk_does_not_depend_on_its_steps(draws, steps):
    """lambda |y - x|^2 / (w d): K steps of a constant velocity v cost K (|v| / K)^2 / (1 / K) = |v|^2."""
    objective = AdversarialFlow(Linear(torch.zeros(2)), steps=steps, predict="velocity", transport=0.2)
    loss = objective.loss(Shift((3.0, 1.0), lands=False), batch(draws), step(draws))
    # Of one jump, of which there are K, each taken once in K rows.
    assert float(loss.parts["transport"]) * steps == pytest.approx(0.2 * 10 / 2, rel=1e-4)


def test_lambda_falls_along_half_a_cosine():
    objective = AdversarialFlow(Linear(), transport=0.2, transport_end=0.005, transport_decay=0.5)
    found = [objective.transport_weight(p) for p in (0.0, 0.25, 0.5, 0.9)]
    assert found == pytest.approx([0.2, 0.1025, 0.005, 0.005])
    assert AdversarialFlow(Linear(), transport=0.0).transport_weight(0.0) == 0


def gradient_of_shift(objective, draws, shift=(1.0, 0.0)) -> Tensor:
    model = Shift(shift)
    given = batch(draws)
    (grad,) = torch.autograd.grad(objective.loss(model, given, step(draws)).total, model.shift)
    return grad


def test_only_the_critic_s_gradient_is_normalised(draws):
    """A transport term of lambda |shift|^2 / d keeps its own; the critic's scale is forgotten."""
    alone = AdversarialFlow(Linear(torch.zeros(2)), transport=0.3)
    assert torch.allclose(gradient_of_shift(alone, draws), torch.tensor([0.3, 0.0]), atol=1e-6)
    both = []
    for size in (1e-3, 1e-2):
        torch.manual_seed(0)
        objective = AdversarialFlow(Linear(size * SLOPE), transport=0.0)
        both.append(gradient_of_shift(objective, torch.Generator().manual_seed(0)))
    assert torch.allclose(*both, rtol=5e-2)
    raw = [
        gradient_of_shift(AdversarialFlow(Linear(a * SLOPE), transport=0.0, normalise=False), draws)
        for a in (1e-3, 1e-2)
    ]
    assert float(raw[1].norm() / raw[0].norm()) == pytest.approx(10, rel=0.1)


def test_a_normalised_gradient_is_that_of_a_mean_whatever_the_loss_scale():
    scale, x = GradientScale(memory=0.0), torch.zeros(50, 4, requires_grad=True)
    (grad,) = torch.autograd.grad(1000 * scale(x).mean(), x)
    assert torch.allclose(grad, torch.full_like(grad, 1 / 200))
    slow = GradientScale(memory=0.9)
    torch.autograd.grad(slow(x).sum(), x)
    # 200 entries of gradient 1: n |g|^2 = 200^2, a tenth of which is remembered.
    assert float(slow.square) == pytest.approx(0.1 * 200**2)
    torch.autograd.grad(slow(x).sum(), x)
    assert float(slow.square) == pytest.approx(0.19 * 200**2)


def test_the_generator_moves_towards_what_looks_real(draws):
    """Down the loss is up the critic's slope."""
    grad = gradient_of_shift(AdversarialFlow(Linear(), transport=0.0), draws)
    assert float(-(grad @ SLOPE)) > 0


def test_the_critic_sees_landings_and_their_time_only(draws):
    critic, model = Linear(), Shift(lands=False)
    objective = AdversarialFlow(critic, steps=2)
    given = batch(draws)
    objective.loss(model, given, step(draws))
    (real, t, cond), (made, _, _) = critic.seen
    asked = model.seen[0]
    assert set(asked) == {"x", "t", "label"}
    assert set(cond) == {"label"}
    assert torch.allclose(t, asked["t"] + 0.5)
    assert torch.equal(made, asked["x"])
    # Real states at t share the row of data with the start, and not its noise.
    half = asked["t"] == 0
    noise = (real[half] - 0.5 * given.x1[half]) / 0.5
    own = given.x0[half]
    assert abs(float((noise * own).mean())) < 0.1
    assert float(noise.std()) == pytest.approx(1, abs=0.1)


def test_times_of_grids_and_of_any_step(draws):
    s, t = AdversarialFlow(Linear(), steps=4).draw_times(N, Draw(draws))
    assert set(s.tolist()) == {0.0, 0.25, 0.5, 0.75}
    assert torch.allclose(t - s, torch.full_like(s, 0.25))
    s, t = AdversarialFlow(Linear(), steps=None).draw_times(N, Draw(draws))
    assert bool((s <= t).all())
    assert float(s.mean()) == pytest.approx(0.5, abs=0.02)
    # E[1 - u u'] = 3/4.
    assert float(t.mean()) == pytest.approx(0.75, abs=0.02)


def test_two_players_own_their_parameters(draws):
    spec = Spec((2,))
    objective = AdversarialFlow(MLPCritic(spec, width=8), critic_moves=2)
    flow = fl.Flow(fl.models.MLP(spec, width=8, depth=1), spec, objective=objective)
    critic, generator = objective.turns(flow)
    assert (critic.name, critic.repeat, generator.name, generator.repeat) == ("critic", 2, "generator", 1)
    assert all(name.startswith("objective.critic.") for name in critic.parameters)
    assert all(name.startswith("model.") for name in generator.parameters)
    given = Batch(*torch.randn(2, 8, 2, generator=draws))
    critic.loss(given, step(draws)).total.backward()
    assert all(p.grad is None for p in generator.parameters.values())


def test_jumps_of_another_grid_are_refused(draws):
    spec = Spec((2,))
    flow = fl.Flow(Shift(), spec, objective=AdversarialFlow(Linear(), steps=2), solver=FlowMapSteps(2))
    assert flow.solve(4, seed=0).nfe == 2
    with pytest.raises(SolverError, match="steps: 2"):
        flow.solve(4, seed=0, solver=FlowMapSteps(3))
    with pytest.raises(IncompatibleError, match="has no velocity"):
        flow.field().velocity(torch.zeros(1, 2), torch.zeros(1), {})
    whole = AdversarialFlow(Linear(), steps=None)
    assert whole.conditions() == {"span": Condition(role="setting")}
    assert set(whole.conditions()) == set(whole.tells)
    model = Shift((2.0, 0.0), lands=False)
    jump = JumpMap(model, whole.path, "velocity", None)
    s, t = torch.tensor([0.25]), torch.tensor([0.75])
    assert torch.equal(jump.jump(torch.zeros(1, 2), s, t, {}), torch.tensor([[1.0, 0.0]]))
    assert float(model.seen[0]["span"]) == 0.5


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(IncompatibleError, match="curved"):
        AdversarialFlow(Linear(), GeodesicPath(Sphere(2)))
    with pytest.raises(IncompatibleError, match="tokens"):
        MLPCritic(Spec((3,), vocab=5))
    for wrong in ({"steps": 0}, {"transport": -1.0}, {"penalty_share": 0.0}, {"critic_moves": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            AdversarialFlow(Linear(), **wrong)


def test_the_best_pairing_of_shuffled_points_is_free(draws):
    x = torch.randn(60, 2, generator=draws)
    assert assignment_cost(x, x[torch.randperm(60, generator=draws)]) == pytest.approx(0, abs=1e-12)
    assert assignment_cost(x, x + torch.tensor([3.0, 4.0])) == pytest.approx(25, rel=1e-5)
