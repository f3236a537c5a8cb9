"""GFlowNets: losses that vanish at the true flows, exact laws, and runs that go on bit for bit."""

import itertools
import json
import math

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.errors import IncompatibleError
from flowloom.geometry import Discrete
from flowloom.kinds import Kind
from flowloom.objectives import Batch, Step
from flowloom.testing import check
from flowloom.training import TrainConfig, load_checkpoint, save_checkpoint
from flowloom_gflownets.environment import Hypergrid, HypergridEnergy
from flowloom_gflownets.exact import law_of, target_of
from flowloom_gflownets.feed import Walks
from flowloom_gflownets.objectives import DetailedBalance, GFNFlowMatching, TrajectoryBalance
from flowloom_gflownets.policy import PolicyField, PolicyMLP, read
from flowloom_gflownets.renderer import GridHeat
from flowloom_gflownets.score import ExactGap
from flowloom_gflownets.solver import Rollout
from flowloom_gflownets.source import Root
from flowloom_gflownets.trajectories import Trajectories, roll_out
from flowloom_registry.cli import main

GRID = Hypergrid(side=5, dims=2, floor=0.1)
KIND = Kind("environment", "flowloom_gflownets.environment:Environment", "", "flowloom_gflownets.laws")
LOSSES = [TrajectoryBalance, DetailedBalance, GFNFlowMatching]


def path_of(environment):
    return fl.paths.MixturePath(Discrete(environment.side))


class TrueFlows(nn.Module):
    """The flows of uniform backward moves, by a recursion from the far corner: a table, and no network.

    F(s) = R(s) + sum over children of F(child) / parents(child).
    """

    def __init__(self, environment, spoil=0.0):
        super().__init__()
        self.environment = environment
        states = environment.states()
        reward = (-environment.energy(states, {})).double().exp()
        table = torch.zeros(len(states), 2 * environment.actions, dtype=torch.float64)
        flow = torch.zeros(len(states), dtype=torch.float64)
        for i in reversed(range(len(states))):
            x, total = states[i : i + 1], reward[i].clone()
            table[i, environment.stop] = reward[i].log()
            for a in range(environment.stop):
                if environment.allowed(x)[0, a]:
                    child = environment.step(x, torch.tensor([a]))
                    edge = flow[environment.index(child)[0]] / environment.parents(child).sum()
                    table[i, a] = edge.log()
                    total += edge
            flow[i] = total
            table[i, -1] = total.log()
        self.z = float(flow[0])
        self.table = nn.Parameter(table + spoil * torch.randn(table.shape, dtype=torch.float64))

    def forward(self, x, t=None, /, **cond):
        return self.table[self.environment.index(x)]


def make_loss(kind, environment=GRID, **settings):
    return kind(environment, path_of(environment), **settings)


def residuals(loss, model, n=200, epsilon=0.5):
    field = PolicyField(model, loss.environment, loss.path.geometry)
    draws = torch.Generator().manual_seed(0)
    walks = roll_out(field, loss.environment.root(n), epsilon=epsilon, generator=draws)
    return loss.residuals(model, walks), walks


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("environment", [GRID, Hypergrid(3, 3, 0.01)])
def test_every_balance_is_zero_at_the_true_flows_and_nowhere_near(kind, environment):
    loss, model = make_loss(kind, environment), TrueFlows(environment)
    if kind is TrajectoryBalance:
        loss.log_partition.data = torch.tensor(math.log(model.z), dtype=torch.float64)
    value, _ = residuals(loss, model)
    assert float(value.abs().max()) < 1e-5
    assert float(loss.log_z(model)) == pytest.approx(target_of(environment).log_z, abs=1e-6)
    torch.manual_seed(0)
    spoilt, _ = residuals(loss, TrueFlows(environment, spoil=0.3))
    assert float(spoilt.abs().mean()) > 0.05


def test_the_flow_through_the_root_is_the_sum_of_rewards():
    assert TrueFlows(GRID).z == pytest.approx(math.exp(target_of(GRID).log_z))


def test_trajectory_balance_by_hand():
    """The sum written out walk by walk, with P_B = 1 / parents."""
    loss, model = make_loss(TrajectoryBalance, log_partition=0.7), TrueFlows(GRID, spoil=0.5)
    value, walks = residuals(loss, model, n=20)
    for k in range(20):
        total = 0.7 + float(GRID.energy(walks.ends[k : k + 1], {}))
        for i in (walks.walk == k).nonzero()[:, 0]:
            x, a = walks.x[i], int(walks.action[i])
            able = [j for j in range(3) if j == 2 or x[j] < 4]
            logits = model(x[None])[0]
            total += float(logits[a] - torch.logsumexp(logits[able], 0))
            if a != GRID.stop:
                total += math.log(int((walks.after[i] > 0).sum()))
        assert float(value[k]) == pytest.approx(total, abs=1e-5)


def test_a_learned_backward_policy_sums_to_one_over_parents():
    loss, model = make_loss(TrajectoryBalance, backward="learned"), TrueFlows(GRID, spoil=0.5)
    _, _walks = residuals(loss, model, n=3)
    total = torch.zeros(1, dtype=torch.float64)
    after = torch.tensor([[2, 3]])
    for a in (0, 1):
        zero, action = torch.zeros(1).long(), torch.tensor([a])
        one = Trajectories(zero, zero, GRID.back(after, action), action, after, after)
        total += loss.log_backward(read(GRID, model, after, zero), one).exp()
    assert float(total) == pytest.approx(1)


@pytest.mark.parametrize("spoil", [0.0, 1.0])
def test_the_exact_law_sums_to_one_and_is_that_of_samples(spoil):
    torch.manual_seed(1)
    model = TrueFlows(GRID, spoil)
    field = PolicyField(model, GRID, Discrete(5))
    law = law_of(field)
    assert float(law.sum()) == pytest.approx(1, abs=1e-9)
    if not spoil:
        torch.testing.assert_close(law, target_of(GRID).probabilities, atol=1e-6, rtol=0)
    ends = roll_out(field, GRID.root(40_000), generator=torch.Generator().manual_seed(0)).ends
    counts = GRID.index(ends).bincount(minlength=25) / 40_000
    assert float((counts - law).abs().sum()) < 0.03


def test_the_reward_is_that_of_the_paper():
    energy = HypergridEnergy(8, 0.1)
    for x in itertools.product(range(8), repeat=2):
        y = [abs(v / 7 - 0.5) for v in x]
        reward = 0.1 + 0.5 * all(v > 0.25 for v in y) + 2 * all(0.3 < v < 0.4 for v in y)
        assert math.exp(-float(energy(torch.tensor([x]), {}))) == pytest.approx(reward, rel=1e-5)


class _Lost(Hypergrid):
    def back(self, x, action):
        return x


class _Orphan(Hypergrid):
    def parents(self, x):
        return x > 1


@pytest.mark.parametrize("make", [lambda: Hypergrid(4, 3), lambda: Hypergrid(6, 1)])
def test_grids_keep_the_laws_of_environments(make):
    results = check(make, KIND)
    assert {r.name for r in results if r.status != "passed"} <= {"check_chance"}


@pytest.mark.parametrize("twin", [_Lost, _Orphan])
def test_wrong_environments_break_them(twin):
    results = {r.name: r.status for r in check(lambda: twin(5), KIND)}
    assert results["check_steps_and_parents"] == "failed"


def flow_of(kind=TrajectoryBalance, seed=0, **settings):
    torch.manual_seed(seed)
    path = path_of(GRID)
    return fl.Flow(
        PolicyMLP(GRID, width=32),
        spec=GRID.spec,
        source=Root(GRID),
        path=path,
        objective=kind(GRID, path, **settings),
        solver=Rollout(),
    )


def config(**changes):
    rates = {"objective.log_partition": 100.0}
    return TrainConfig(**{"steps": 8, "batch": 8, "ema": 0.9, "log_every": 1, "rates": rates, **changes})


def run(trainer, until=None):
    for _ in trainer.run(until):
        pass


def test_a_killed_run_goes_on_with_the_same_bits(tmp_path):
    whole = flow_of(epsilon=0.1).trainer(Walks(GRID), config(), seed=4)
    run(whole, 3)
    folder = save_checkpoint(whole, tmp_path)
    run(whole)
    second = flow_of(seed=9, epsilon=0.1).trainer(Walks(GRID), config(), seed=4)
    load_checkpoint(second, folder)
    run(second)
    a, b = whole.flow.state_dict(), second.flow.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert torch.equal(whole.flow.sample(9, seed=1), second.flow.sample(9, seed=1))


def test_log_z_has_a_rate_of_its_own():
    flow = flow_of()
    run(flow.trainer(Walks(GRID), config(steps=1, lr=1e-3, clip=0.0), seed=0))
    assert abs(float(flow.objective.log_partition.detach())) == pytest.approx(0.1, rel=1e-3)


def test_training_comes_nearer_to_the_reward():
    flow = flow_of()
    before = ExactGap()(flow, fl.data.Examples(GRID.root(1)))["l1"]
    run(flow.trainer(Walks(GRID), config(steps=200, batch=16, ema=0.0, clip=0.0), seed=0))
    after = ExactGap()(flow, fl.data.Examples(GRID.root(1)))
    assert after["l1"] < 0.5 * before
    assert after["total_variation"] == pytest.approx(after["l1"] / 2)


def test_exploration_reaches_what_the_policy_leaves_out():
    model = TrueFlows(GRID)
    with torch.no_grad():
        model.table[:, GRID.stop] += 50
    draws = torch.Generator().manual_seed(0)
    field = PolicyField(model, GRID, Discrete(5))
    assert int(roll_out(field, GRID.root(100), generator=draws).ends.sum()) == 0
    assert int(roll_out(field, GRID.root(100), epsilon=1.0, generator=draws).ends.sum()) > 0


def test_what_does_not_fit_is_told():
    with pytest.raises(IncompatibleError, match="exact-gap"):
        ExactGap().require(fl.Flow(fl.models.MLP(fl.data.EightGaussians(10).spec)))
    with pytest.raises(IncompatibleError, match="rollout needs a policy"):
        Rollout().solve(fl.Flow(fl.models.MLP(fl.data.EightGaussians(10).spec)).field(), GRID.root(1))


def test_states_that_are_too_many_are_told_and_leave_a_picture_out():
    many = Hypergrid(side=8, dims=8)
    flow = fl.Flow(PolicyMLP(many, width=4, depth=1), objective=make_loss(TrajectoryBalance, many))
    with pytest.raises(IncompatibleError, match=r"exact-gap: 8\^8 states .* takes score walk-weights"):
        ExactGap().require(flow)
    assert GridHeat().flow(flow, fl.data.Examples(many.root(1))) == []


def test_the_papers_network_on_its_grid():
    with torch.device("meta"):
        model = PolicyMLP(Hypergrid(8, 4, 0.001), width=256, depth=2)
    # One-hot 8 x 4, two layers of 256, five forward and four backward logits, one flow.
    assert sum(p.numel() for p in model.parameters()) == 33 * 256 + 257 * 256 + 257 * 10


def test_the_recipes_run_from_the_command_line_without_data(tmp_path, capsys):
    for name in ("tb", "db", "fm"):
        out = tmp_path / name
        words = [
            "--device",
            "cpu",
            "--set",
            "train.steps=2",
            "--set",
            "environment.side=4",
            "--out",
            str(out),
        ]
        assert main(["run", f"hypergrid-{name}", *words]) == 0
        assert "data      none, states of 2\n" in capsys.readouterr().err
        found = json.loads((out / "evaluation.json").read_text())["scores"]["samples"]
        assert set(found) == {"l1", "total_variation", "log_z_error"}
        assert (out / "samples" / "exact-law.png").is_file()
    assert main(["sample", str(tmp_path / "tb"), "-n", "5", "--device", "cpu"]) == 0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rows", [1, 4])
def test_policies_learn_in_double_precision(loss, rows):
    model, objective = PolicyMLP(GRID, width=8).double(), loss(GRID, path_of(GRID)).double()
    root = torch.zeros(rows, 2, dtype=torch.float64)
    found = objective.loss(model, Batch(root, root), Step(generator=torch.Generator().manual_seed(0)))
    assert found.total.dtype == torch.float64
    found.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.body.parameters())
