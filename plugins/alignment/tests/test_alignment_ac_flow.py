"""Reward-weighted flow matching and its critic, beside sums written out."""

import pytest
import torch
from torch.nn import functional as F

import flowloom as fl
from flowloom.errors import IncompatibleError, ShapeError, TrainingError
from flowloom.models import MLPCritic
from flowloom.objectives import Batch, Step
from flowloom.parts import tensors
from flowloom.trained import Trained
from flowloom.training import TrainConfig, load_checkpoint, save_checkpoint
from flowloom.training.feeds import Feeding
from flowloom_alignment.ac_flow import ACFlow
from flowloom_alignment.critic_fit import CriticFit
from flowloom_alignment.energies import Along
from flowloom_alignment.groups import groups_of
from flowloom_alignment.reward_metric import Reward
from flowloom_alignment.reward_weighted import Rewarded, RewardWeighted, shape
from flowloom_alignment.rewarded_feed import RewardedFeed

RIGHT = Along([1.0, 0.0])


class Knows(fl.models.Critic):
    """A critic that says one number, or half of the first coordinate at the data."""

    def __init__(self, says=None):
        super().__init__()
        self.says = torch.nn.Parameter(torch.tensor(0.0 if says is None else says, dtype=torch.float64))
        self.sees = says is None

    def forward(self, x, t, /, **cond):
        return (x[:, 0] / 2 if self.sees else 0 * x[:, 0]) + self.says


def batch(n=32):
    draws = torch.Generator().manual_seed(1)
    x0, x1 = (torch.randn(n, 2, generator=draws, dtype=torch.float64) for _ in "ab")
    reward = x1[:, 0]
    shaped = shape(reward, torch.zeros(n, dtype=torch.long))
    return Rewarded(x0, x1, reward=reward, shaped=shaped)


def step():
    return Step(generator=torch.Generator().manual_seed(2))


def point_of(objective, given):
    draws = torch.Generator().manual_seed(2)
    t = objective.times.sample(len(given.x1), fl.draw.Draw.like(given.x1, draws))
    return given.point(objective.path, t, draws)


def test_rewards_weigh_the_error(gaussian):
    model, given = gaussian(), batch()
    objective = RewardWeighted(RIGHT, tau=0.7)
    point = point_of(objective, given)
    error = (model(point.x_t, point.t) - (given.x1 - given.x0)).square().mean(1)
    wanted = ((0.7 * given.x1[:, 0]).exp() * error).mean()
    found = objective.loss(model, given, step()).total
    assert torch.allclose(found, wanted)
    # A batch without rewards is judged on the spot.
    plain = objective.loss(model, Batch(given.x0, given.x1), step()).total
    assert torch.allclose(plain, wanted)


def test_the_old_flow_pulls(gaussian):
    model, old, given = gaussian(), gaussian(m=1.0), batch()
    with torch.no_grad():
        model.shift.add_(0.4)
    free = RewardWeighted(RIGHT)
    held = RewardWeighted(RIGHT, Trained(fl.Flow(old)), pull=3.0)
    point = point_of(free, given)
    away = (model(point.x_t, point.t) - old(point.x_t, point.t)).square().mean()
    found = held.loss(model, given, step())
    assert torch.allclose(found.total - free.loss(model, given, step()).total, 3 * away)
    assert torch.allclose(found.parts["distance"], away)
    (slope,) = torch.autograd.grad(found.total, model.shift)
    assert old.shift.grad is None
    assert bool(slope.isfinite().all())


@pytest.mark.parametrize("weighting", ["exp", "linear", "sigmoid"])
def test_advantages_are_clipped_and_weigh_without_gradient(gaussian, weighting):
    model, given, critic = gaussian(), batch(), Knows()
    objective = ACFlow(critic, RIGHT, tau=0.8, clip=0.5, weighting=weighting)
    point = point_of(objective, given)
    value = point.x_t[:, 0] / 2
    advantage = (given.shaped - value).clamp(-0.5, 0.5)
    assert 0 < int((advantage.abs() == 0.5).sum()) < 32
    weight = {
        "exp": (0.8 * advantage).exp(),
        "linear": 1 + 0.8 * advantage,
        "sigmoid": (0.8 * advantage).sigmoid(),
    }
    error = (model(point.x_t, point.t) - (given.x1 - given.x0)).square().mean(1)
    found = objective.loss(model, given, step()).total
    assert torch.allclose(found, (weight[weighting] * error).mean())
    found.backward()
    assert critic.says.grad is None


def test_the_critic_regresses_shaped_rewards_on_the_way():
    given, critic = batch(), Knows()
    objective = ACFlow(critic, RIGHT)
    point = point_of(objective, given)
    found = objective.critic_loss(given, step())
    assert torch.allclose(found.total, F.huber_loss(point.x_t[:, 0] / 2, given.shaped))
    left = (point.x_t[:, 0] / 2 - given.shaped).square().mean() / given.shaped.var(correction=0)
    assert torch.allclose(found.parts["explained"], 1 - left)


def test_offsets_of_prompts_do_not_matter_once_in_shape():
    """+-10 for each prompt: shaped rewards stay, and raw weights do not."""
    draws = torch.Generator().manual_seed(0)
    label = torch.arange(60) % 3
    x = torch.randn(60, 2, generator=draws, dtype=torch.float64)
    offset = Along([1.0, 0.0], offsets=[10.0, -10.0, 0.0])
    groups = groups_of({"label": label}, 60)
    plain, moved = (shape(-e(x, {"label": label}), groups) for e in (RIGHT, offset))
    assert torch.allclose(plain, moved)
    assert float(plain.abs().max()) < 1
    everyone = torch.zeros(60, dtype=torch.long)
    assert not torch.allclose(
        shape(-RIGHT(x, {}), everyone), shape(-offset(x, {"label": label}), everyone), atol=0.5
    )
    with pytest.raises(ShapeError, match="offsets by 'label'"):
        offset(x, {})


def flow_of(objective, model):
    return fl.Flow(
        model, objective=objective, solver=fl.solvers.Euler(4), coupling=fl.couplings.Independent()
    )


def test_the_feed_keeps_the_present_flow_s_samples_alone(gaussian):
    flow = flow_of(RewardWeighted(RIGHT), gaussian())
    feed = RewardedFeed(RIGHT, event=[2], fresh=20, every=2, noise=0.5)
    feed.start(Feeding(flow, 8))
    for number in (0, 2):
        feed.refresh(flow, number, torch.Generator().manual_seed(number))
        assert feed.stored == 20
    noise = feed.kept["reward"] - feed.kept["x"][:, 0]
    assert 0.2 < float(noise.std()) < 0.9
    given = feed.batch(2, torch.Generator().manual_seed(3))
    rows = [int((feed.kept["x"] == row).all(1).nonzero()) for row in given.x1]
    assert torch.equal(given.reward, feed.kept["reward"][rows])
    assert torch.equal(given.shaped, feed.kept["shaped"][rows])


def test_samples_of_prompts_that_no_other_has_are_told(gaussian):
    data = fl.data.Tensors(torch.randn(999, 2), {"place": torch.randn(999, 1)})
    flow = flow_of(RewardWeighted(RIGHT), gaussian(conditions={"place": fl.Condition(shape=(1,))}))
    feed = RewardedFeed(RIGHT, data, fresh=4)
    feed.start(Feeding(flow, 4))
    with pytest.raises(IncompatibleError, match="per_prompt: false"):
        feed.refresh(flow, 3, torch.Generator().manual_seed(0))


def trainer(warmup=0, steps=8):
    torch.manual_seed(0)
    spec = fl.Spec((2,))
    reference = Trained(fl.Flow(fl.models.MLP(spec, width=8, depth=1)))
    objective = ACFlow(MLPCritic(spec, 8, 2), RIGHT, reference, pull=1.0, warmup=warmup)
    flow = flow_of(objective, fl.models.MLP(spec, width=8, depth=1))
    feed = RewardedFeed(RIGHT, event=[2], fresh=16, every=3)
    return flow.trainer(feed, TrainConfig(steps=steps, batch=16, ema=0.9, lr=1e-2), seed=0)


def test_the_critic_trains_alone_in_the_warm_up():
    before, one = tensors(trainer().flow), trainer(warmup=4)
    before = {name: value.clone() for name, value in before.items()}
    list(one.run(until=4))
    after = tensors(one.flow)
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"objective"}
    list(one.run(until=5))
    assert not torch.equal(before["model.out.weight"], tensors(one.flow)["model.out.weight"])


def test_a_killed_run_goes_on_with_the_same_bits(tmp_path):
    whole, stopped, continued = trainer(2), trainer(2), trainer(2)
    list(whole.run())
    list(stopped.run(until=4))  # between two looks
    load_checkpoint(continued, save_checkpoint(stopped, tmp_path))
    list(continued.run())
    first, second = tensors(whole.flow), tensors(continued.flow)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.out.weight"], tensors(trainer().flow)["model.out.weight"])


def test_a_critic_that_knows_fits(gaussian):
    """At the data, tanh of the standardised first coordinate is all but told by x_t; at noise it is not."""

    class Right(Knows):
        def forward(self, x, t, /, **cond):
            return ((x[:, 0] - 1.5) / 0.4).tanh() * (t > 0.7)

    flow = flow_of(ACFlow(Right(), RIGHT), gaussian())
    flow.solver = fl.solvers.Midpoint(20)
    nobody = fl.data.Examples(torch.zeros(4, 2, dtype=torch.float64))
    found = CriticFit(500)(flow, nobody, seed=1)
    assert found["critic_rise"] > 0.6
    assert found["critic_r2"] == pytest.approx(0.0, abs=0.05)  # it says 0 there
    with pytest.raises(IncompatibleError, match="critic"):
        CriticFit().require(flow_of(RewardWeighted(RIGHT), gaussian()))


def test_weights_that_could_be_negative_are_refused():
    with pytest.raises(ValueError, match="negative"):
        ACFlow(Knows(0.0), RIGHT, weighting="linear", tau=1.0, clip=1.0)
    with pytest.raises(IncompatibleError, match="reference"):
        RewardWeighted(RIGHT, pull=1.0)


def test_the_perceptron_critic_does_not_see_padding():
    spec = fl.Spec((4, 2), conditions={"mask": fl.Condition(shape=(4,), role="real")})
    critic = MLPCritic(spec, 8, 2)
    real = torch.tensor([[True, True, False, False], [True] * 4])
    x, t = torch.randn(2, 4, 2), torch.ones(2)
    other = torch.where(real[..., None], x, 1e6)
    assert torch.equal(critic(x, t, mask=real), critic(other, t, mask=real))
    assert not torch.equal(critic(x, t, mask=real)[0], critic(x, t)[0])


def test_rewards_whose_exponential_is_no_number_are_told(gaussian):
    given = batch(4)
    large = Rewarded(given.x0, given.x1, reward=given.reward + 1000, shaped=given.shaped)
    with pytest.raises(TrainingError, match=r"for a reward of .* at tau 1; take a smaller"):
        RewardWeighted(RIGHT).loss(gaussian(), large, step())


def test_a_reward_of_other_states_is_told_and_does_not_broadcast():
    with pytest.raises(
        IncompatibleError, match=r"metric reward has .* and energy \w+ is of real values of shape \(1,\)"
    ):
        Reward(Along([1.0])).fit(fl.data.EightGaussians(10))
    Reward(RIGHT).fit(fl.data.EightGaussians(10))


def test_classes_without_an_offset_are_told():
    energy = Along([1.0], offsets=[0.0, 1.0])
    with pytest.raises(ShapeError, match="of 2 classes, and there are rows of class 2"):
        energy(torch.zeros(2, 1), {"label": torch.tensor([0, 2])})
    assert energy(torch.zeros(0, 1), {"label": torch.zeros(0, dtype=torch.long)}).shape == (0,)
