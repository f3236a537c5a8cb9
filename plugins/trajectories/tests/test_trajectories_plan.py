"""A closed loop: with perfect plans and no slips every goal is reached; walls are never entered."""

import torch

import flowloom as fl
from flowloom_trajectories.data import MazePlans
from flowloom_trajectories.metrics import Walls
from flowloom_trajectories.models import TemporalUNet
from flowloom_trajectories.plan import Plan, Reached, _shortened


class Knows(Plan):
    """Is given the true plan in place of a flow's."""

    truth = None
    asked_from = ()

    def _planned(self, flow, asked, name, ends, seed):
        self.asked_from = (*self.asked_from, ends[:, 0].clone())
        return self.truth


def _flow(data):
    return fl.Flow(TemporalUNet(data.spec, width=8, multipliers=(1, 2)))


def test_a_perfect_plan_is_carried_out(draws):
    data = MazePlans(32, horizon=16)
    task = Knows(every=15, slip=0.0)
    asked, truth = task.pose(data, 20, draws)
    task.truth = truth.x
    way = task(_flow(data), asked)
    torch.testing.assert_close(way.x, truth.x, atol=1e-5, rtol=0)
    assert Reached()(way, truth)["reached"] == 1
    assert len(task.asked_from) == 1


def test_plans_are_made_anew_from_where_one_is(draws):
    data = MazePlans(32, horizon=16)
    task = Knows(every=5, slip=0.1)
    asked, truth = task.pose(data, 20, draws)
    task.truth = truth.x
    way = task(_flow(data), asked, seed=1)
    assert len(task.asked_from) == 3
    for k, start in enumerate(task.asked_from):
        assert torch.equal(start, way.x[:, 5 * k])


def test_walls_are_not_entered(draws):
    data = MazePlans(32, horizon=16)
    task = Plan(slip=0.3)
    asked, truth = task.pose(data, 20, draws)
    way = task(_flow(data), asked)
    assert Walls()(way, truth)["wall_rate"] == 0


def test_the_question_holds_only_ends(draws):
    data = MazePlans(32, horizon=16)
    asked, _ = Plan().pose(data, 5, draws)
    assert asked.x.abs().sum() == 0
    assert asked.cond["ends_values"][:, 1:-1].abs().sum() == 0


def test_shortened_plans_end_where_plans_end():
    plans = torch.arange(9.0)[None, :, None].expand(1, 9, 2)
    assert _shortened(plans, 4)[0, :, 0].tolist() == [2, 4, 6, 8]
    assert _shortened(plans, 1)[0, :, 0].tolist() == [8]
