"""A closed loop: with perfect plans and no slips every goal is reached; walls are never entered."""

import json

import pytest
import torch
from safetensors.torch import load_file

import flowloom as fl
from flowloom.training.loop import Trainer
from flowloom_registry.cli import main
from flowloom_trajectories.control import MazeEnv, Planner
from flowloom_trajectories.control.agents import shortened
from flowloom_trajectories.data import MazePlans
from flowloom_trajectories.metrics import Walls
from flowloom_trajectories.models import TemporalUNet
from flowloom_trajectories.plan import Plan, Reached


class Knows(Plan):
    """Is given the true plan in place of a flow's."""

    truth = None
    asked_from = ()

    def _planner(self, flow, solver, seed):
        planner = Planner(flow, self.env, self.every, None, solver, seed)

        def plan(state, gained, seed):
            self.asked_from = (*self.asked_from, state[:, :2].clone())
            return self.truth

        planner.plan = plan
        return planner


def _flow(data):
    return fl.Flow(TemporalUNet(data.spec, width=8, multipliers=(1, 2)), solver=fl.solvers.Euler(2))


def test_a_perfect_plan_is_carried_out(draws):
    data = MazePlans(32, horizon=16)
    task = Knows(MazeEnv(slip=0.0, within=1e-4, steps=15, reach=2.0), every=15)
    asked, truth = task.pose(data, 20, draws)
    task.truth = truth.x
    way = task(_flow(data), asked)
    torch.testing.assert_close(way.x, truth.x, atol=1e-4, rtol=0)
    assert Reached()(way, truth)["reached"] == 1
    assert way.cond["success"].all()
    assert len(task.asked_from) == 1


def test_plans_are_made_anew_from_where_one_is(draws):
    data = MazePlans(32, horizon=16)
    task = Knows(MazeEnv(slip=0.1, within=1e-4, steps=15), every=5)
    asked, truth = task.pose(data, 20, draws)
    task.truth = truth.x
    way = task(_flow(data), asked, seed=1)
    assert len(task.asked_from) == 3
    for k, start in enumerate(task.asked_from):
        assert torch.equal(start, way.x[:, 5 * k])


def test_walls_are_not_entered(draws):
    data = MazePlans(32, horizon=16)
    task = Plan(MazeEnv(slip=0.3, steps=15))
    asked, truth = task.pose(data, 20, draws)
    way = task(_flow(data), asked)
    assert Walls()(way, truth)["wall_rate"] == 0


def test_points_in_walls_are_moved_to_the_nearest_free_place(draws):
    maze = MazeEnv().maze
    points = 8 * torch.rand(400, 2, generator=draws)
    freed = maze.freed(points)
    inside = maze.hits(points)
    assert inside.any()
    assert not maze.hits(freed).any()
    assert torch.equal(freed[~inside], points[~inside])
    grid = torch.cartesian_prod(*[torch.linspace(0.05, 7.95, 160)] * 2)
    grid = grid[~maze.hits(grid)]
    best = torch.cdist(points[inside], grid).amin(1)
    assert ((freed - points).norm(dim=-1)[inside] <= best + 0.1).all()


def test_plans_keep_out_of_walls_while_they_are_solved(draws):
    data = MazePlans(32, horizon=16)
    flow = _flow(data)
    rates = []
    for clear in (False, True):
        planner = Planner(flow, MazeEnv(), 4, None, fl.solvers.Euler(4), 0, clear)
        state = planner.env.reset(30, draws)
        plans = planner.plan(state, torch.zeros(30), 1)
        torch.testing.assert_close(plans[:, 0], state[:, :2])
        rates.append(planner.env.maze.hits(plans).float().mean())
    assert rates[0] > 0.1
    assert rates[1] == 0


def test_the_question_holds_only_ends(draws):
    data = MazePlans(32, horizon=16)
    asked, _ = Plan().pose(data, 5, draws)
    assert asked.x.abs().sum() == 0
    assert asked.cond["ends_values"][:, 1:-1].abs().sum() == 0


def test_shortened_plans_end_where_plans_end():
    plans = torch.arange(9.0)[None, :, None].expand(1, 9, 2)
    assert shortened(plans, 4)[0, :, 0].tolist() == [2, 4, 6, 8]
    assert shortened(plans, 1)[0, :, 0].tolist() == [8]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "plans"
    recipe = out.parent / "plans.yaml"
    recipe.write_text(
        "extends: maze-plans\n"
        "data: {n: 32, horizon: 8}\n"
        "model: {width: 8, multipliers: [1, 2]}\n"
        "solver: {use: euler, steps: 2}\n"
        "baselines: []\ntasks: []\nmetrics: []\nrenderer: null\n"
        "train: {steps: 2, batch: 8}\n"
        "evaluate: {sweep_nfe: []}\nsample: {n: 2}\n"
    )
    assert main(["run", str(recipe), "--out", str(out), "--quiet"]) == 0
    return out


def test_success_and_latency_are_told(run, capsys):
    words = ["task", str(run), "plan", "--env", "{use: maze, steps: 6}", "-n", "5"]
    assert main([*words, "--set", "evaluations=[1, 3]"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told[:4]] == ["evaluations", "as", "1", "3"]
    answers = load_file(run / "samples" / "plan" / "answers.safetensors")
    assert answers["x"].shape == (5, 7, 2)
    assert answers["cond.success"].shape == answers["cond.episode_return"].shape == (5, 3)
    assert (answers["cond.seconds"] > 0).all()
    # Every step brings -1 until the goal is met.
    assert ((answers["cond.episode_return"] >= -6) & (answers["cond.episode_return"] < 0)).all()
    share = answers["cond.success"][:, 0].float().mean().item()
    assert f"{share:.2f}" in told[1]


def test_the_ends_of_a_row_are_taken(run):
    world = "{use: maze, steps: 3}"
    assert main(["task", str(run), "plan", "7", "--env", world, "-n", "2", "--set", "evaluations=[1]"]) == 0
    answers = load_file(run / "samples" / "plan" / "answers.safetensors")
    row = MazePlans(32, horizon=8).split("test").take(torch.tensor([7]))
    torch.testing.assert_close(answers["x"][:, 0], row.x[:, 0].expand(2, -1))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("plan", "--env", "mazes"), "'mazes'; did you mean 'maze'"),
        (("plan", "--env", "{use: maze, stepz: 3}"), "did you mean 'steps'"),
        (("plan", "--env", "hidden-goals"), "plans have 2 numbers a step, and HiddenGoals shows 1"),
        (("plan", "--env", "two-goals"), "TwoGoals has none; try env: maze"),
        (("plan", "99"), "plan takes nothing, or a row of the data, 0 to 31; got '99'"),
        (("plan", "--env", "hidden-goals", "--set", "clear=true"), "plans have 2 numbers"),
        (("plan", "--set", "every=0"), "count from 1, got 0"),
        (("inpaint", "--env", "maze"), "'env'"),
        (("inpaint",), "what is task inpaint about?"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_line(run, words, says, capsys):
    assert main(["task", str(run), *words]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert len(told.strip().splitlines()) == 1


@pytest.mark.slow
def test_policies_learn_and_a_killed_run_ends_with_the_same_bits(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    small = [
        "feed={use: on-policy, envs: 16, unroll: 4, epochs: 2}",
        "model.width=8",
        "roles.value.width=8",
        "scores=[choices]",
        "validate=null",
        "renderer=null",
        "sample.n=4",
        "data.n=16",
        "train.batch=32",
        "train.steps=7",
        "train.checkpoint_every=3",
        "train.log_every=1",
    ]
    changes = [word for s in small for word in ("--set", s)]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    command = ["run", "fpo-hidden-goals", "--quiet", *changes, "--out"]
    assert main([*command, str(whole)]) == 0
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert any("success" in line for line in lines)
    assert "goals_known" in (whole / "evaluation.json").read_text()
    step = Trainer._step

    def dies(self):
        if self.step == 5:
            raise Killed
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", dies)
        with pytest.raises(Killed):
            main([*command, str(cut)])
    assert main([*command, str(cut)]) == 0
    wanted, found = (load_file(one / "flow.safetensors") for one in (whole, cut))
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())
