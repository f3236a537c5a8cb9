"""Worlds, policies that learn in them, and what is done with plans there."""

import sys
import types

import numpy as np
import pytest
import torch

import flowloom as fl
from flowloom.errors import IncompatibleError
from flowloom.objectives import Step
from flowloom.training.feeds import Feeding
from flowloom_registry import load_recipe
from flowloom_registry.runs.assembly import assemble
from flowloom_trajectories.control import (
    FPO,
    Acts,
    ClosedLoop,
    Demonstrations,
    FlowPolicy,
    GaussianPolicy,
    GaussianPPO,
    Gymnasium,
    HiddenGoals,
    MazeEnv,
    OnPolicy,
    Regression,
    TwoGoals,
    ValueMLP,
    carried_out,
)
from flowloom_trajectories.control.advantage import advantages
from flowloom_trajectories.control.choices import Choices
from flowloom_trajectories.control.networks import RunningNorm
from flowloom_trajectories.control.policy_gradient import Acts as Batch

UMAZE = ("#####", "#...#", "###.#", "#...#", "#####")


def policy(env, objective=None, model=FlowPolicy, **sizes):
    data = Acts(env, n=64, episodes=4)
    net = model(data.spec, width=16, depth=2, **sizes)
    value = ValueMLP(data.spec, width=16, depth=1)
    solver = fl.solvers.Euler(1 if model is GaussianPolicy else 4)
    return data, fl.Flow(net, objective=objective or FPO(), solver=solver, roles={"value": value})


def started(env, objective=None, batch=16, model=FlowPolicy, **settings):
    data, flow = policy(env, objective, model)
    feed = OnPolicy(env, data, **{"envs": 16, "unroll": 4, "epochs": 2, **settings})
    feed.start(Feeding(flow, batch, seed=3))
    with torch.no_grad():
        feed.refresh(flow, 0, torch.Generator().manual_seed(1))
    return flow, feed


# Advantages


def test_advantages_are_discounted_sums_where_lambda_is_one(draws):
    rewards, values = torch.randn(3, 6, generator=draws), torch.randn(3, 7, generator=draws)
    none = torch.zeros(3, 6, dtype=torch.bool)
    over = none.clone()
    over[1, 2] = True
    found = advantages(rewards, values, over, none, 0.9, 1.0)
    for row, end, last in ((0, 6, 1.0), (1, 3, 0.0)):
        wanted = sum(0.9**k * rewards[row, k] for k in range(end)) + last * 0.9**end * values[row, end]
        torch.testing.assert_close(found[row, 0], wanted - values[row, 0])


def test_advantages_of_lambda_zero_look_one_step_ahead(draws):
    rewards, values = torch.randn(2, 4, generator=draws), torch.randn(2, 5, generator=draws)
    none = torch.zeros(2, 4, dtype=torch.bool)
    found = advantages(rewards, values, none, none, 0.9, 0.0)
    torch.testing.assert_close(found, rewards + 0.9 * values[:, 1:] - values[:, :-1])


def test_nothing_is_carried_over_a_step_whose_time_was_up(draws):
    rewards, values = torch.randn(1, 5, generator=draws), torch.randn(1, 6, generator=draws)
    none, cut = torch.zeros(1, 5, dtype=torch.bool), torch.zeros(1, 5, dtype=torch.bool)
    cut[0, 2] = True
    found = advantages(rewards, values, none, cut, 0.9, 0.8)
    assert found[0, 2] == 0
    alone = advantages(rewards[:, :2], values[:, :3], none[:, :2], none[:, :2], 0.9, 0.8)
    torch.testing.assert_close(found[:, :2], alone)


# Flow policy optimisation


def test_losses_are_those_of_the_noise_that_a_velocity_implies(draws):
    _, flow = policy(TwoGoals())
    action, cond = torch.randn(5, 2, generator=draws), {"observation": torch.randn(5, 2, generator=draws)}
    noise, t = torch.randn(5, 3, 2, generator=draws), torch.rand(5, 3, generator=draws)
    found = flow.objective.losses(flow.model, action, cond, noise, t)
    for i in range(5):
        for k in range(3):
            x = (1 - t[i, k]) * noise[i, k] + t[i, k] * action[i]
            v = flow.model(x[None], t[i, k][None], observation=cond["observation"][i : i + 1])[0]
            torch.testing.assert_close(found[i, k], (x - t[i, k] * v - noise[i, k]).square().mean())


@pytest.mark.parametrize(
    ("objective", "model"),
    [(FPO(), FlowPolicy), (FPO(mean_first=False), FlowPolicy), (GaussianPPO(), GaussianPolicy)],
)
def test_ratios_begin_at_one_in_every_epoch(objective, model):
    flow, feed = started(TwoGoals(), objective, model=model)
    for number in (0, 3, 7):
        batch = feed.batch(number, torch.Generator())
        assert flow.objective.log_ratio(flow.model, batch).abs().max() < 1e-5
    with torch.no_grad():
        flow.model.out.bias.add_(0.5)
    assert flow.objective.log_ratio(flow.model, feed.batch(0, torch.Generator())).abs().mean() > 1e-3


def test_losses_of_an_action_make_one_ratio_or_one_each(draws):
    flow, feed = started(TwoGoals())
    batch = feed.batch(0, torch.Generator())
    with torch.no_grad():
        flow.model.out.bias.add_(3.0)
    told = batch.told
    new = flow.objective.losses(flow.model, batch.x1, batch.cond, told["noise"], told["time"])
    drop = told["loss"] - new
    torch.testing.assert_close(FPO().log_ratio(flow.model, batch), drop.mean(1))
    each = FPO(mean_first=False)
    torch.testing.assert_close(each.log_ratio(flow.model, batch), drop.clamp(-3, 3))
    # Every pair is clipped by itself: pairs that lie on both sides of 1 do not make up for each other.
    gain = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std(correction=0) + 1e-8)
    ratio = drop.clamp(-3, 3).exp()
    wanted = -torch.minimum(ratio * gain[:, None], ratio.clamp(0.95, 1.05) * gain[:, None]).mean()
    torch.testing.assert_close(each.loss(flow.model, batch, Step()).total, wanted)


def test_the_gradient_at_the_start_is_that_of_the_policy_gradient():
    flow, feed = started(TwoGoals())
    batch = feed.batch(0, torch.Generator())
    flow.objective.loss(flow.model, batch, Step()).total.backward()
    found = flow.model.out.weight.grad.clone()
    flow.model.zero_grad()
    gain = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std(correction=0) + 1e-8)
    losses = flow.objective.losses(flow.model, batch.x1, batch.cond, batch.told["noise"], batch.told["time"])
    (losses.mean(1) * gain).mean().backward()
    torch.testing.assert_close(found, flow.model.out.weight.grad, atol=1e-6, rtol=1e-4)


def test_what_is_clipped_has_no_gradient():
    flow, _ = started(TwoGoals())
    one = torch.ones(2)

    class Told(FPO):
        def log_ratio(self, model, batch):
            return self.at

    for ratio, gains, moves in ((1.2, (1.0, -1.0), (False, True)), (0.8, (1.0, -1.0), (True, False))):
        objective = Told(clip=0.1)
        objective.at = torch.full((2,), ratio).log().requires_grad_()
        x = torch.zeros(2, 2)
        told = {"advantage": torch.tensor(gains), "target": one, "valid": one > 0, "told": {}}
        objective.loss(flow.model, Batch(x, x, {}, None, **told), Step()).total.backward()
        assert ((objective.at.grad != 0) == torch.tensor(moves)).all()


def test_values_are_not_learned_where_the_time_was_up():
    flow, feed = started(TwoGoals(steps=3), epochs=1, batch=64)
    batch = feed.batch(0, torch.Generator())
    assert 0 < (~batch.valid).sum() < 64
    (turn,) = flow.objective.turns(flow)
    off = turn.loss(batch, Step()).parts["value_error"]
    value = flow.roles["value"](batch.x1, torch.zeros(64), **batch.cond)
    wanted = torch.where(batch.valid, (value - batch.target).square(), 0.0).mean()
    torch.testing.assert_close(off, wanted.detach())


def test_a_gaussian_policy_draws_its_own_law(draws):
    _, flow = policy(TwoGoals(), GaussianPPO(), GaussianPolicy, std=0.3)
    seen = torch.tensor([[0.4, -0.2]]).expand(4000, -1)
    x = flow.solve(4000, cond={"observation": seen}, seed=0).x
    law = flow.model.law({"observation": seen[:1]}, x[:1])
    torch.testing.assert_close(x.mean(0), law.loc[0].detach(), atol=0.03, rtol=0)
    torch.testing.assert_close(x.std(0), law.scale[0].detach(), atol=0.03, rtol=0)


# Rollouts


def test_every_action_is_learned_from_once_an_epoch():
    _, feed = started(TwoGoals())
    assert feed.refresh_every == 8
    for epoch in (0, 1):
        rows = torch.cat([feed.batch(4 * epoch + k, torch.Generator()).x1 for k in range(4)])
        assert torch.equal(rows.sort(0).values, feed.kept["action"].sort(0).values)
    assert not torch.equal(feed.batch(0, torch.Generator()).x1, feed.batch(4, torch.Generator()).x1)


def test_worlds_go_on_and_episodes_are_followed_by_new_ones():
    flow, feed = started(TwoGoals(steps=6), envs=8, unroll=4, batch=8)
    age = feed.age.clone()
    again = OnPolicy(TwoGoals(steps=6), Acts(TwoGoals(), n=8, episodes=1), envs=8, unroll=4)
    again.start(Feeding(flow, 8, seed=3))
    again.restore(feed.tensors())
    with torch.no_grad():
        for one in (feed, again):
            torch.manual_seed(0)
            state = {k: v.clone() for k, v in flow.state_dict().items()}
            one.refresh(flow, 8, torch.Generator().manual_seed(2))
            flow.load_state_dict(state)
    assert age.max() == 4
    assert feed.age.max() < 6
    for name, value in feed.tensors().items():
        assert torch.equal(value, again.tensors()[name])


def test_observations_are_normalised_by_all_that_were_seen(draws):
    norm, rows = RunningNorm(3), 5 + 2 * torch.randn(500, 3, generator=draws)
    for some in rows.split(70):
        norm.include(some)
    wanted = (rows - rows.mean(0)) / rows.std(0, correction=0)
    torch.testing.assert_close(norm(rows), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: OnPolicy(TwoGoals(), Acts(HiddenGoals(), n=8, episodes=1)), "use data: acts"),
        (lambda: started(TwoGoals(), batch=100), "larger than a rollout"),
        (lambda: started(TwoGoals(), GaussianPPO(), model=FlowPolicy), "use model: gaussian-policy"),
        (lambda: Choices(MazeEnv()).require(policy(MazeEnv())[1]), "hidden-goals or two-goals"),
        (lambda: MazeEnv(goal=(0, 0)), "no free cell"),
        (lambda: ClosedLoop(MazeEnv()).require(policy(TwoGoals())[1]), "shows 4 numbers"),
    ],
)
def test_what_does_not_fit_is_told(make, says):
    with pytest.raises(Exception, match=says) as found:
        make()
    assert isinstance(found.value, fl.errors.FlowloomError)


# Worlds


def test_walls_are_met_and_slid_along(draws):
    env = MazeEnv(UMAZE, slip=0.0)
    state = torch.tensor([[1.5, 1.5, 3.5, 3.5], [1.5, 1.5, 3.5, 3.5]])
    after = env.step(state, torch.tensor([[0.4, 0.7], [-0.6, 0.1]]), draws)
    torch.testing.assert_close(after[:, :2], torch.tensor([[1.9, 1.5], [1.5, 1.6]]))
    stopped = MazeEnv(UMAZE, slip=0.0, walls="stop").step(
        state, torch.tensor([[0.4, 0.7], [0.1, 0.0]]), draws
    )
    torch.testing.assert_close(stopped[:, :2], torch.tensor([[1.5, 1.5], [1.6, 1.5]]))


def test_nobody_enters_a_wall_or_goes_farther_than_one_can(draws):
    env = MazeEnv(reach=0.4, slip=0.0)
    state = env.reset(64, draws)
    for _ in range(20):
        after = env.step(state, 3 * torch.randn(64, 2, generator=draws), draws)
        assert not env.maze.hits(after[:, :2]).any()
        assert (after - state)[:, :2].norm(dim=-1).max() < 0.4 + 1e-5
        state = after


def test_the_guide_knows_the_way(draws):
    env = MazeEnv(reach=0.5, slip=0.02)
    found = carried_out(env, lambda s, g, k: env.guide(s), env.reset(64, draws), draws)
    assert found.reached.all()
    # An episode that is over brings nothing, and its agent stays.
    assert torch.equal(found.returns, -found.alive.sum(1).float())
    last = found.alive.sum(1)
    rows = last < found.actions.shape[1]
    ends = found.observations[torch.arange(64), last]
    assert torch.equal(ends[rows], found.observations[rows, -1])


def test_goals_that_nobody_sees():
    env = HiddenGoals(tries=4)
    state = env.reset(5000, torch.Generator().manual_seed(0))
    draws = torch.Generator().manual_seed(1)

    def one(state, gained, step):
        return env.places[:1].expand(len(gained), -1)

    def any_of_them(state, gained, step):
        return env.places[torch.randint(4, (len(gained),), generator=draws)]

    assert abs(carried_out(env, one, state, draws).returns.mean() - 0.25) < 0.03
    assert abs(carried_out(env, any_of_them, state, draws).returns.mean() - (1 - 0.75**4)) < 0.03


def test_choices_counts_goals():
    class Told(fl.Flow):
        def solve(self, n, **rest):
            x = env.places[torch.arange(n) % 4] * (torch.arange(n) % 8 < 7)[:, None]
            return fl.solvers.Solution(x, 1)

    env = HiddenGoals()
    told = Told(FlowPolicy(Acts(env, n=8, episodes=1).spec), objective=FPO())
    found = Choices(env, draws=800)(told, Acts(env, n=8, episodes=1).take(torch.arange(8)))
    assert found == {"goals_known": 3.0, "least_share": 0.125} or found["goals_known"] == 3


# Demonstrations


def test_returns_to_come_and_stretches_are_of_the_same_episode():
    env = MazeEnv(UMAZE, (1, 1), (3, 1), reach=0.5, slip=0.0, within=0.3, steps=40)
    rows = Demonstrations(env, n=200, horizon=8, episodes=10, skills=(1.0,)).take(torch.arange(200))
    assert not (rows.x[:, 1:] - rows.x[:, :-1]).norm(dim=-1).gt(0.5 + 1e-5).any()
    assert torch.equal(rows.cond["now_values"][:, 0], rows.x[:, 0])
    assert rows.cond["now_values"][:, 1:].abs().sum() == 0
    # A guide needs as many steps as the return says: the goal is met there and not before.
    left = (40 * (1 - rows.cond["return"][:, 0])).round().long()
    goal = torch.tensor([1.5, 3.5])
    near = (rows.x - goal).norm(dim=-1) < 0.3
    short = left < 8
    assert short.any()
    assert (near[short].float().argmax(1) == left[short]).all()
    assert not near[~short].any()


def test_the_best_episodes_are_better():
    env = MazeEnv(UMAZE, (1, 1), (3, 1), reach=0.5, steps=60)
    pace = [
        Acts(env, n=500, episodes=30, skills=(0.2, 0.9), best=best).take(torch.arange(500)).x.norm(dim=-1)
        for best in (1.0, 0.2)
    ]
    assert pace[1].mean() > pace[0].mean()


def test_regression_answers_with_the_mean(draws):
    env = TwoGoals()
    data = Acts(env, n=64, episodes=4)
    flow = fl.Flow(FlowPolicy(data.spec, width=8), objective=Regression(), solver=fl.solvers.Euler(1))
    seen = data.take(torch.arange(5)).cond
    said = flow.model(torch.zeros(5, 2), torch.zeros(5), **seen)
    for seed in (0, 1):
        torch.testing.assert_close(flow.solve(5, cond=seen, seed=seed).x, said.detach(), atol=1e-3, rtol=0)


def test_bad_numbers_are_refused():
    for make in (
        lambda: FPO(pairs=0),
        lambda: FPO(clip=0.0),
        lambda: FPO(clip=float("nan")),
        lambda: GaussianPPO(value_weight=float("nan")),
        lambda: MazeEnv(reach=0.0),
        lambda: HiddenGoals(tries=0),
        lambda: FlowPolicy(Acts(TwoGoals(), n=8, episodes=1).spec, features=3),
    ):
        with pytest.raises(ValueError, match="got"):
            make()
    with pytest.raises(IncompatibleError, match="closed-loop acts by flows"):
        ClosedLoop(MazeEnv()).require(fl.Flow(fl.models.MLP(fl.Spec((3, 4, 5)))))


# Worlds of gymnasium


class Box:
    def __init__(self, low, high):
        self.low, self.high = np.array(low, dtype=np.float32), np.array(high, dtype=np.float32)
        self.shape, self.dtype = self.low.shape, self.low.dtype


class Cart:
    """Goes as far as it is told; over, and a success, beyond 3."""

    observation_space, action_space = Box([-9.0, -9.0], [9.0, 9.0]), Box([0.0], [2.0])

    def reset(self, seed=None):
        self.at = 0.0
        return np.array([0.0, seed % 7]), {}

    def step(self, action):
        self.at += float(action[0])
        return np.array([self.at, 0.0]), self.at, self.at > 3, False, {"is_success": self.at > 3}

    def close(self):
        pass


@pytest.fixture
def gymnasium(monkeypatch):
    fake = types.ModuleType("gymnasium")
    fake.error = types.SimpleNamespace(Error=type("Error", (Exception,), {}))

    def make(name):
        if name != "Cart-v0":
            raise fake.error.Error(f"no {name}\nat all")
        return Cart()

    fake.make = make
    monkeypatch.setitem(sys.modules, "gymnasium", fake)


def test_actions_are_spread_over_the_limits_of_gymnasium(gymnasium, draws):
    env = Gymnasium("Cart-v0", returns=(0.0, 20.0), steps=5)
    assert (env.observation, env.action) == (2, 1)
    actions = torch.tensor([[-1.0], [0.0], [5.0]])  # 0, 1 and 2 a step
    found = carried_out(env, lambda s, g, k: actions, env.reset(3, draws), draws)
    assert found.observations[:, -1, 0].tolist() == [0, 4, 4]
    assert found.alive.sum(1).tolist() == [5, 4, 2]
    assert found.returns.tolist() == [0, 1 + 2 + 3 + 4, 2 + 4]
    assert found.reached.tolist() == [False, True, True]


def test_episodes_of_gymnasium_begin_anew_where_they_are_over(gymnasium, draws):
    env = Gymnasium("Cart-v0", steps=5)
    state = env.step(env.reset(2, draws), torch.ones(2, 1), draws)
    after = env.renew(state, torch.tensor([True, False]), draws)
    assert after.observation[:, 0].tolist() == [0, 2]


def test_gymnasium_that_is_not_there_or_knows_no_such_world(gymnasium, monkeypatch):
    with pytest.raises(fl.errors.DataError, match="cannot make 'Car-v1': no Car-v1"):
        Gymnasium("Car-v1")
    monkeypatch.setattr(Cart, "action_space", types.SimpleNamespace(n=2, shape=()))
    with pytest.raises(IncompatibleError, match="takes real vectors"):
        Gymnasium("Cart-v0")
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(fl.errors.MissingDependencyError, match="pip install gymnasium"):
        Gymnasium("Cart-v0")
    assert Gymnasium("Cart-v0", observation=2, action=1).action == 1


# At the paper's size


def test_networks_of_the_paper_have_their_sizes():
    spec = fl.Spec((6,), conditions={"observation": fl.Condition(shape=(17,))})
    with torch.device("meta"):
        acts, values = FlowPolicy(spec), ValueMLP(spec)
        said = acts(torch.empty(5, 6), torch.empty(5), observation=torch.empty(5, 17))
    assert said.shape == (5, 6)
    size = [sum(p.numel() for p in net.parameters()) for net in (acts, values)]
    # 4 layers of 32 on observation, action and 8 features of the time; 5 layers of 256 on the observation.
    layers = [(17 + 6 + 8, 32), (32, 32), (32, 32), (32, 32), (32, 6)]
    deep = [(17, 256), *[(256, 256)] * 4, (256, 1)]
    assert size == [sum((a + 1) * b for a, b in one) for one in (layers, deep)]


def test_the_recipes_of_the_papers_sizes_are_complete():
    built = assemble(load_recipe("fpo-playground"))
    rollout = built.feed.envs * built.feed.unroll
    assert rollout / built.train.batch == 32
    assert abs(built.train.steps / (32 * built.feed.epochs) * rollout / 60e6 - 1) < 1e-3
    assert built.flow.objective.pairs == 8
