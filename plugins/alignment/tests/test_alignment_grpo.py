"""Policy gradients of walks: every formula beside torch's own distributions."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

import flowloom as fl
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, TrainingError
from flowloom.layout import Layout
from flowloom.objectives import Batch, Step
from flowloom.parts import tensors
from flowloom.trained import Trained
from flowloom.training import TrainConfig, load_checkpoint, save_checkpoint
from flowloom.training.feeds import Feeding
from flowloom_alignment.energies import Along, DistanceTo
from flowloom_alignment.flow_grpo import FlowGRPO
from flowloom_alignment.groups import groups_of, rewards_of, standardised
from flowloom_alignment.noise_search import NoiseSearch
from flowloom_alignment.rollout_feed import RolloutFeed
from flowloom_alignment.rollouts import log_density, means_of, roll_out
from flowloom_alignment.sde import FlowSDE

A = 0.7


def grpo(model, **settings):
    reference = Trained(fl.Flow(type(model)()))
    return FlowGRPO(DistanceTo([3.0, 0.0]), reference, **settings)


def batch(n=64):
    x0 = torch.randn(n, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(x0, x0 * float("nan"))


def step():
    return Step(generator=torch.Generator().manual_seed(2))


def test_means_and_deviations_are_those_of_the_paper(gaussian):
    """dx = [v + g^2/2 (t v - x)/(1 - t)] dt + g dW, g = a sqrt((1 - t)/t); at 0 the authors' code divides by
    the next t, and leaves 1 - t as it is."""
    model, sde = gaussian(), FlowSDE(5, diffusion=A)
    field = FlowGRPO(DistanceTo([0.0, 0.0])).policy(model)
    states = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, std, _ = means_of(sde, field, states, {}, None)
    mean, std = mean.reshape(3, 5, 2), std.reshape(3, 5)
    for k, t in enumerate((0.0, 0.2, 0.4, 0.6, 0.8)):
        g = A * torch.tensor((1 - t) / (t if k else 0.2), dtype=torch.float64).sqrt()
        x = states[:, k]
        v = model(x, torch.full((3,), t, dtype=torch.float64))
        wanted = x + (v + g**2 / 2 * (t * v - x) / (1 - t)) * 0.2
        assert torch.allclose(std[:, k], g * 0.2**0.5)
        assert torch.allclose(mean[:, k], wanted, atol=2e-5)


def test_the_solver_takes_the_steps_that_are_asked_about(gaussian, draws):
    model, sde = gaussian(), FlowSDE(4)
    field = FlowGRPO(DistanceTo([0.0, 0.0])).policy(model)
    x0 = torch.randn(5, 2, generator=draws, dtype=torch.float64)
    solved = sde.solve(field, x0, generator=torch.Generator().manual_seed(7), keep=5)
    draw = Draw(torch.Generator().manual_seed(7), dtype=torch.float64)
    states, _ = roll_out(sde, field, x0, {}, None, draw)
    assert torch.allclose(torch.stack(solved.trajectory, 1), states, atol=1e-12)


def test_the_first_gradient_is_that_of_the_log_density(gaussian):
    """q is 1, so the gradient is -E A grad log N(x_{k+1}; m, s^2), as torch's own Normal has it."""
    model = gaussian()
    objective = grpo(model)
    walks = objective.walked(model, batch(), torch.Generator().manual_seed(2))
    loss = objective.loss(model, walks, step())
    (found,) = torch.autograd.grad(loss.total, model.shift)
    mean, std, _ = means_of(walks.sde, objective.policy(model), walks.states, {}, None)
    log = Normal(mean, std[:, None]).log_prob(walks.states[:, 1:].flatten(0, 1)).sum(1)
    advantage = walks.advantage.repeat_interleave(walks.sde.steps)
    (wanted,) = torch.autograd.grad(-(advantage * log).mean(), model.shift)
    assert torch.allclose(found, wanted, rtol=1e-4)  # walks are float64, scores 1e-6 from the source
    assert float(loss.total.detach().abs()) < 1e-6  # advantages have mean 0
    assert float(loss.parts["clipped"]) == 0


def test_descent_raises_the_reward(gaussian):
    model = gaussian()
    objective = grpo(model)
    loss = objective.loss(model, batch(512), step())
    (slope,) = torch.autograd.grad(loss.total, model.shift)
    assert float(slope[0]) < 0  # towards (3, 0) from (1.5, 1.5)
    assert float(slope[1]) > 0


def test_ratios_are_those_of_densities_and_clipped(gaussian):
    model = gaussian()
    objective = grpo(model, clip=0.05)
    walks = objective.walked(model, batch(), torch.Generator().manual_seed(2))
    old, std, _ = means_of(walks.sde, objective.policy(model), walks.states, {}, None)
    with torch.no_grad():
        model.shift.add_(0.3)
    new, _, _ = means_of(walks.sde, objective.policy(model), walks.states, {}, None)
    after = walks.states[:, 1:].flatten(0, 1)
    logs = [Normal(m, std[:, None]).log_prob(after).sum(1) for m in (new, old)]
    q = (logs[0] - logs[1]).exp().reshape(64, -1)
    gain = walks.advantage[:, None]
    wanted = -torch.minimum(q * gain, q.clamp(0.95, 1.05) * gain).mean()
    found = objective.loss(model, walks, step())
    assert torch.allclose(found.total, wanted, rtol=1e-4)
    assert 0.2 < float(found.parts["clipped"]) <= 1


def test_the_divergence_is_that_of_the_steps(gaussian):
    model = gaussian()
    with torch.no_grad():
        model.shift.add_(torch.tensor([0.2, -0.1]))
    held = grpo(model, kl=2.0)
    walks = held.walked(model, batch(), torch.Generator().manual_seed(2))
    means = [means_of(walks.sde, held.policy(m), walks.states, {}, None) for m in (model, held.reference)]
    (new, std, _), (old, _, _) = means
    wanted = kl_divergence(Normal(new, std[:, None]), Normal(old, std[:, None])).sum(1).mean()
    found = held.loss(model, walks, step())
    assert torch.allclose(found.parts["kl"], wanted, rtol=1e-6)
    free = grpo(model).loss(model, walks, step())
    assert torch.allclose(found.total - free.total, 2 * wanted, rtol=1e-6)


def test_per_entry_is_the_mean(draws):
    away = torch.randn(4, 3, generator=draws)
    whole, each = (log_density(away, None, per_entry=one) for one in (False, True))
    assert torch.allclose(whole, -0.5 * away.square().sum(1))
    assert torch.allclose(each * 3, whole)


def test_padding_counts_nothing(draws):
    away = torch.randn(2, 3, generator=draws)
    layout = Layout(torch.tensor([[True, True, False], [True, False, False]]))
    found = log_density(away, layout, per_entry=False)
    assert torch.allclose(found, -0.5 * torch.stack([away[0, :2].square().sum(), away[1, 0] ** 2]))
    mean = log_density(away, layout, per_entry=True)
    assert torch.allclose(mean, found / torch.tensor([2.0, 1.0]))


def test_rewards_stand_beside_those_of_the_same_prompt():
    label = torch.tensor([2, 0, 2, 0, 1])
    groups = groups_of({"label": label}, 5)
    assert len(groups.unique()) == 3
    reward = torch.tensor([1.0, 5.0, 3.0, 9.0, 4.0])
    found = standardised(reward, groups)
    assert torch.allclose(found, torch.tensor([-1.0, -1.0, 1.0, 1.0, 0.0]))
    assert torch.allclose(standardised(reward + 10.0 * label, groups), found)
    assert not torch.allclose(standardised(reward, groups_of({}, 5)), found)
    assert torch.equal(standardised(torch.full((4,), 1e6), torch.zeros(4, dtype=torch.long)), torch.zeros(4))
    alike = torch.full((7,), 1e9 + 0.1, dtype=torch.float64)  # whose mean is rounded
    assert torch.equal(standardised(alike, torch.zeros(7, dtype=torch.long)), torch.zeros_like(alike))


def test_rewards_that_are_not_finite_are_told():
    with pytest.raises(TrainingError, match="1 of 2 samples are not finite, says Along"):
        rewards_of(Along([1.0]), torch.tensor([[1.0], [torch.inf]]), {})


def test_a_search_climbs_to_the_best_noise(draws):
    search = NoiseSearch(rounds=12, candidates=64, elites=8)
    goal = torch.tensor([[1.0, -0.5], [-1.0, 0.5]])
    mean = torch.zeros(2, 2)

    def score(states):
        return -(states.reshape(2, 64, 2) - goal[:, None]).square().sum(-1).flatten()

    centre, width = search(score, mean, torch.tensor([2.0, 0.5]), Draw(draws))
    # States are mean + std * noise.
    assert torch.allclose(centre, goal / torch.tensor([[2.0], [0.5]]), atol=0.1)
    assert float(width.min()) == pytest.approx(search.floor)


def test_at_the_source_a_search_tells_nothing(gaussian):
    """Every noise decodes to the mean of the data there; after some steps it does not."""
    model = gaussian()
    path = fl.paths.AffinePath()
    z = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spread = []
    for t in (0.0, 0.5):
        time = torch.full((50,), t, dtype=torch.float64)
        spread.append(float(path.convert(model(z, time).detach(), z, time, "velocity", "data").std(0).max()))
    assert spread[0] < 1e-4 < 0.1 < spread[1]


def flow_of(model, energy=None, **settings):
    objective = FlowGRPO(energy or DistanceTo([3.0, 0.0]), **settings)
    return fl.Flow(model, objective=objective, coupling=fl.couplings.Independent())


def test_searched_walks_are_driven_by_the_mean_found(gaussian):
    flow = flow_of(gaussian())
    feed = RolloutFeed(flow.objective.energy, shape=[2], group=4, search=NoiseSearch(after=3))
    feed.start(Feeding(flow, 4))
    told = feed.refresh(flow, 0, torch.Generator().manual_seed(0))
    noise = feed.kept["noise"]
    assert torch.equal(noise[:, 2], noise[:1, 2].expand(4, 2))
    assert not torch.equal(noise[0, 1], noise[1, 1])
    assert float(noise[0, 2, 0]) > 0  # (3, 0) lies that way
    assert told["reward_calls"] == 4 + 48


def test_a_search_sees_states_without_what_stands_in_padding(gaussian):
    """Candidates are laid out as walks are: an energy that looks at all entries meets zeros there."""
    seen = []

    class Looks(DistanceTo):
        def __call__(self, x, cond):
            seen.append(x)
            return super().__call__(x, cond)

    mask = torch.tensor([[True, False]]).expand(4, 2)
    data = fl.data.Tensors(torch.randn(4, 2), {"mask": mask}, roles={"mask": "real"})
    flow = flow_of(gaussian(conditions=data.spec.conditions), Looks([3.0, 0.0]))
    feed = RolloutFeed(flow.objective.energy, data, group=4, search=NoiseSearch(1, 4, 2))
    feed.start(Feeding(flow, 4))
    feed.refresh(flow, 0, torch.Generator().manual_seed(0))
    assert len(seen) == 2
    assert all(not bool(x[:, 1].any()) and bool(x[:, 0].any()) for x in seen)


def test_prompts_are_walked_in_groups(gaussian):
    labels = {"label": fl.Condition(3)}
    data = fl.data.Tensors(torch.randn(9, 2), {"label": torch.arange(9) % 3})
    flow = flow_of(gaussian(conditions=labels))
    feed = RolloutFeed(flow.objective.energy, data, prompts=2, group=3)
    feed.start(Feeding(flow, 6))
    feed.refresh(flow, 0, torch.Generator().manual_seed(0))
    label = feed.kept["cond.label"].reshape(2, 3)
    assert bool((label == label[:, :1]).all())
    assert torch.allclose(feed.kept["advantage"].sum(), torch.zeros((), dtype=torch.float64), atol=1e-6)
    again = feed.batch(0, torch.Generator()).advantage
    assert torch.equal(again.sort().values, feed.kept["advantage"].sort().values)


def test_what_cannot_work_is_told(gaussian):
    with pytest.raises(IncompatibleError, match="reference"):
        FlowGRPO(DistanceTo([0.0]), kl=0.1)
    with pytest.raises(IncompatibleError, match="score"):
        FlowGRPO(DistanceTo([0.0]), path=fl.paths.GeodesicPath(fl.geometry.FlatTorus()))
    with pytest.raises(IncompatibleError, match=r"search.after is step 11, and walks have 10"):
        RolloutFeed(DistanceTo([0.0]), shape=[1], search=NoiseSearch(after=11))
    feed = RolloutFeed(DistanceTo([0.0, 0.0, 0.0]), shape=[2])
    with pytest.raises(
        IncompatibleError, match=r"shape \(2,\), and energy \w+ is of real values of shape \(3,\)"
    ):
        feed.start(Feeding(flow_of(gaussian()), 4))
    silent = FlowSDE(diffusion=0.0)
    with pytest.raises(IncompatibleError, match=r"step 1 of \d+ draws no noise"):
        RolloutFeed(DistanceTo([0.0, 0.0]), shape=[2], sde=silent).start(Feeding(flow_of(gaussian()), 4))
    with pytest.raises(IncompatibleError, match="flow-grpo compares densities"):
        FlowGRPO(DistanceTo([0.0, 0.0]), sde=silent).turns(flow_of(gaussian()))
    for one in (FlowSDE(1), FlowSDE(grid=[0.0, 1.0])):
        FlowGRPO(DistanceTo([0.0, 0.0]), sde=one).turns(flow_of(gaussian()))
    with pytest.raises(ValueError, match="elites"):
        NoiseSearch(candidates=2)


def test_a_killed_run_goes_on_with_the_same_bits(tmp_path):
    def trainer():
        torch.manual_seed(0)
        spec = fl.Spec((2,))
        reference = Trained(fl.Flow(fl.models.MLP(spec, width=8, depth=1)))
        model = fl.models.MLP(spec, width=8, depth=1)
        flow = flow_of(model, reference=reference, kl=0.1)
        feed = RolloutFeed(flow.objective.energy, shape=[2], group=6, every=3, search=NoiseSearch())
        return flow.trainer(feed, TrainConfig(steps=8, batch=6, ema=0.9, lr=1e-2), seed=0)

    whole, stopped, continued = trainer(), trainer(), trainer()
    list(whole.run())
    list(stopped.run(until=4))  # between two looks
    load_checkpoint(continued, save_checkpoint(stopped, tmp_path))
    list(continued.run())
    first, second = tensors(whole.flow), tensors(continued.flow)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.out.weight"], tensors(trainer().flow)["model.out.weight"])
