"""Judges and rules against what can be worked out by hand or by another library."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde

from flowloom.data import Examples, Tensors
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.layout import Layout
from flowloom_trajectories.baselines import ConstantVelocity, LinearInterpolation, SeasonalNaive
from flowloom_trajectories.codec import AboutConstantVelocity
from flowloom_trajectories.data import Crossroads, Crowd, MazePlans
from flowloom_trajectories.data.mazes import Maze
from flowloom_trajectories.metrics import Collisions, Displacement, KernelDensity, Walls


def test_displacement_by_hand():
    truth = torch.zeros(1, 2, 2)
    near_then_far = torch.tensor([[[1.0, 0.0], [0.0, 5.0]]])
    far_then_near = torch.tensor([[[3.0, 4.0], [0.0, 3.0]]])
    found = Displacement(2, miss=2.9)(Examples(torch.cat([near_then_far, far_then_near])), Examples(truth))
    wanted = {"ade": 3.5, "fde": 4.0, "min_ade": 3.0, "min_fde": 3.0, "miss_rate": 1.0}
    assert found == pytest.approx(wanted)


def test_displacement_ends_at_the_last_real_step():
    truth = torch.zeros(1, 3, 2)
    real = torch.tensor([[True, True, False]])
    drawn = torch.tensor([[[1.0, 0.0], [2.0, 0.0], [99.0, 0.0]]])
    found = Displacement(1)(Examples(drawn), Examples(truth, {}, Layout(real)))
    assert (found["ade"], found["fde"]) == (1.5, 2.0)


def test_kernel_density_is_scipys(draws):
    drawn, truth = torch.randn(30, 4, 3, 2, generator=draws), torch.randn(4, 3, 2, generator=draws)
    found = KernelDensity(30, floor=-1e9, least=1e-9)(Examples(drawn.reshape(-1, 3, 2)), Examples(truth))
    theirs = [
        -gaussian_kde(drawn[:, i, t].double().numpy().T).logpdf(truth[i, t].double().numpy())[0]
        for i in range(4)
        for t in range(3)
    ]
    assert found["kde_nll"] == pytest.approx(np.mean(theirs), rel=1e-6)


def test_collisions_between_steps_count():
    way = torch.tensor([[[0.0, 0.0], [2.0, 0.0]]])
    for where, rate in (((1.0, 0.1), 1.0), ((1.0, 0.3), 0.0)):
        other = torch.tensor([[[[*where, 1.0], [*where, 1.0]]]])
        real = Examples(way, {"ahead": other})
        assert Collisions(1)(Examples(way), real)["collision_rate"] == rate
    unseen = Examples(way, {"ahead": torch.tensor([[[[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]])})
    assert Collisions(1)(Examples(way), unseen)["collision_rate"] == 0


def test_nobody_walks_into_padding():
    way = torch.tensor([[[10.0, 10.0], [11.0, 10.0], [0.0, 0.0]], [[5.0, 5.0], [5.0, 5.0], [5.0, 5.0]]])
    ahead = torch.zeros(2, 1, 3, 3)
    ahead[..., 2] = 1  # somebody stands at the origin
    real = Layout(real=torch.tensor([[True, True, False], [False, False, False]]))
    found = Collisions(1)(Examples(way), Examples(way, {"ahead": ahead}, real))
    assert found == {"collision_rate": 0, "real_collision_rate": 0}
    ahead[:, :, :2, :2] = way[:, None, :2]
    assert Collisions(1)(Examples(way), Examples(way, {"ahead": ahead}, real))["collision_rate"] == 1


def test_what_is_not_finite_is_no_good_value():
    way = torch.zeros(1, 3, 2)
    real = Examples(way, {"ahead": torch.full((1, 1, 3, 3), 9.0)})
    lost = Examples(torch.full_like(way, math.nan))
    assert math.isnan(Collisions(1)(lost, real)["collision_rate"])
    assert math.isnan(Displacement(1)(lost, real)["miss_rate"])


def test_rows_of_which_nothing_counts_are_left_out():
    truth = torch.zeros(2, 3, 2)
    off = Examples(truth + torch.tensor([3.0, 0.0]))
    some = Layout(given=torch.tensor([[False] * 3, [True] * 3]))
    found = Displacement(1)(off, Examples(truth, {}, some))
    assert set(found.values()) == {3.0, 1.0}
    assert found["miss_rate"] == 1
    for metric in (Displacement(1), Collisions(1), KernelDensity(2)):
        with pytest.raises(ShapeError, match="no step of these rows counts"):
            drawn = Examples(off.x.repeat(metric.draws, 1, 1))
            metric(drawn, Examples(truth, {"ahead": truth[:, None]}, Layout(given=torch.ones(2, 3) > 0)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Displacement(miss=math.nan),
        lambda: Collisions(radius=math.nan),
        lambda: KernelDensity(floor=math.inf),
        lambda: KernelDensity(least=math.nan),
    ],
)
def test_settings_without_sense(make):
    with pytest.raises(ValueError, match="got"):
        make()


def test_people_of_a_crowd_keep_apart():
    data = Crowd(200)
    rows = data.all()
    straight = ConstantVelocity()(rows, torch.Generator())
    metric = Collisions(1)
    found = metric(straight, rows)
    assert found["real_collision_rate"] < 0.5 * found["collision_rate"]


def test_collisions_need_others():
    rows = Crossroads(8).all()
    with pytest.raises(IncompatibleError, match="no 'ahead'"):
        Collisions(1)(rows, rows)


def test_walls():
    maze = ("#####", "#...#", "###.#", "#####")
    through = torch.tensor([[[1.5, 1.5], [1.6, 1.5], [3.5, 2.5]], [[1.5, 1.5], [3.5, 1.5], [3.5, 2.5]]])
    found = Walls(maze)(Examples(through), Examples(through))
    assert found["wall_rate"] == 0.5
    assert Maze(maze).hits(torch.tensor([[-1.0, 0.0], [9.0, 9.0], [math.nan, 0.0]])).all()
    # On any device: worlds are where the network is that learns in them.
    assert Maze(maze).crosses(torch.ones(2, 3, 2, device="meta")).device.type == "meta"


def test_plans_meet_no_wall_and_have_their_ends():
    data = MazePlans(200)
    rows = data.all()
    assert Walls()(rows, rows)["wall_rate"] == 0
    assert (rows.cond["ends_values"][:, 0] == rows.x[:, 0]).all()
    assert (rows.cond["ends_values"][:, 1:-1] == 0).all()


def test_ways_at_a_junction_have_their_shares():
    rows = Crossroads(20_000, shares=(0.3, 0.5, 0.2)).all()
    step = rows.cond["past"][:, -1] - rows.cond["past"][:, 0]
    ahead = torch.nn.functional.normalize(step, dim=1)
    left = torch.stack([-ahead[:, 1], ahead[:, 0]], 1)
    aside = (rows.x[:, -1] * left).sum(1)
    shares = [
        (aside > 0.5).float().mean(),
        (aside.abs() <= 0.5).float().mean(),
        (aside < -0.5).float().mean(),
    ]
    assert [float(s) for s in shares] == pytest.approx([0.3, 0.5, 0.2], abs=0.03)


def test_constant_velocity_is_right_of_straight_walks():
    time = torch.arange(-3, 5, dtype=torch.float32)[:, None]
    ways = torch.stack([time * torch.tensor([1.0, 2.0]), time * torch.tensor([-0.5, 0.0])])
    asked = Examples(torch.zeros(2, 4, 2), {"past": ways[:, :4]})
    torch.testing.assert_close(ConstantVelocity()(asked, torch.Generator()).x, ways[:, 4:])


def test_turned_velocity_keeps_its_speed(draws):
    asked = Examples(
        torch.zeros(500, 4, 2), {"past": torch.tensor([[-1.0, 0.0], [0.0, 0.0]]).expand(500, 2, 2)}
    )
    way = ConstantVelocity(angle=25)(asked, draws).x
    torch.testing.assert_close(way.norm(dim=-1), torch.arange(1, 5.0).expand(500, 4))
    turned = torch.rad2deg(torch.atan2(way[:, 0, 1], way[:, 0, 0]))
    assert float(turned.std()) == pytest.approx(25, rel=0.1)


def test_seasonal_naive_repeats_the_last_season():
    told = torch.tensor([9.0, 1.0, 2.0, 3.0])[None, :, None]
    asked = Examples(torch.zeros(1, 5, 1), {"context": told})
    assert SeasonalNaive(3)(asked, torch.Generator()).x.flatten().tolist() == [1, 2, 3, 1, 2]
    with pytest.raises(IncompatibleError, match="at least 9 steps"):
        SeasonalNaive(9)(asked, torch.Generator())


def test_linear_interpolation():
    given = torch.tensor([[False, True, False, False, True, False]])
    values = torch.tensor([0.0, 1.0, 0.0, 0.0, 4.0, 0.0])[None, :, None]
    asked = Examples(torch.full((1, 6, 1), 77.0), {}, Layout(None, given, values))
    assert LinearInterpolation()(asked, torch.Generator()).x.flatten().tolist() == [1, 1, 2, 3, 4, 4]


def test_padding_has_no_part_in_what_constant_velocity_leaves(draws):
    x, real = torch.randn(40, 4, 2, generator=draws), torch.arange(4) < torch.tensor([[2], [4]]).repeat(20, 1)
    x[~real] = 1000.0
    cond = {"past": torch.zeros(40, 2, 2), "real": real}
    data = Tensors(x, cond, roles={"real": "real"})
    codec = AboutConstantVelocity(data.spec)
    codec.fit(data)
    assert codec.scale.max() < 3
    logs = codec.scale.log().flatten()
    wanted = torch.stack([-2 * logs[:2].sum(), -2 * logs.sum()])
    torch.testing.assert_close(codec.log_det(data.all())[:2], wanted)
