"""Ways that keep to the data: their derivative, their metric, what is held out, and who learns."""

import math

import pytest
import torch

import flowloom as fl
from flowloom.couplings import OptimalTransport
from flowloom.data import Examples
from flowloom.errors import DataError
from flowloom.objectives import Batch, Step
from flowloom.sources import Paired
from flowloom.testing import check
from flowloom.trained import Trained
from flowloom_trajectories.metric_flow import (
    Arch,
    BetweenSnapshots,
    BranchingSnapshots,
    LandGeodesics,
    MetricInterpolant,
    RbfGeodesics,
    Snapshots,
    SphereCap,
    bent,
)
from flowloom_trajectories.metrics.transport import Wasserstein1


def geodesics(data, objective=None, double=False):
    torch.manual_seed(0)
    objective = objective or LandGeodesics(data.spec)
    network = fl.models.MLP(data.spec.plus(objective.conditions()), width=8, depth=2)
    with torch.no_grad():
        network.out.weight.mul_(20)
    flow = fl.Flow(network, spec=data.spec, source=Paired(), objective=objective)
    return flow.double() if double else flow


def test_a_bent_path_obeys_the_laws_of_paths():
    """Ends are met and velocities are derivatives, that of phi by t included."""
    path = MetricInterpolant(Trained(geodesics(SphereCap(50), double=True)))
    results = check(lambda: path, "path")
    broken = {result.name for result in results if not result.ok}
    assert broken == {"check_times_per_token"}  # a way is bent as a whole


def test_without_its_own_derivative_the_velocity_would_be_another():
    flow = geodesics(Arch(50), double=True)
    x0, x1, t = torch.randn(6, 2).double(), torch.randn(6, 2).double(), torch.full((6,), 0.3).double()
    x, velocity = bent(flow.model, x0, x1, t)
    frozen = x1 - x0 + (2 - 4 * 0.3) * flow.model(x0, t, towards=x1)
    assert (velocity - frozen).abs().max() > 1e-2
    assert torch.allclose(x, x0 + 0.3 * (x1 - x0) + 0.42 * flow.model(x0, t, towards=x1))


def test_land_is_what_the_paper_writes():
    points, x = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.5, 0.25]])
    weight = torch.exp(torch.tensor(-(0.25 + 0.0625) / (2 * 0.25)))
    found = LandGeodesics(fl.Spec((2,)), sigma=0.5, rho=0.1, alpha=2.0)
    wanted = torch.stack([2 * weight * 0.25, 2 * weight * 0.0625])
    torch.testing.assert_close(found.density(x, points)[0], wanted)
    u = torch.tensor([[3.0, -1.0]])
    energy = (u.square() / (wanted + 0.1) ** 2).sum(1)
    torch.testing.assert_close(found.energy(x, u, points), energy)


@pytest.mark.parametrize("settings", [{"sigma": math.nan}, {"rho": math.nan}, {"alpha": -1.0}])
def test_metrics_without_sense_are_refused(settings):
    with pytest.raises(ValueError, match="positive"):
        LandGeodesics(fl.Spec((2,)), **settings)
    if "sigma" in settings:
        with pytest.raises(ValueError, match="kappa"):
            RbfGeodesics(fl.Spec((2,)), kappa=settings["sigma"])


def test_rbf_is_one_on_the_data_and_nothing_far_away():
    data = Arch(600)
    objective = RbfGeodesics(data.spec, centres=40, samples=600)
    geodesics(data, objective).fit_parts(data, seed=0)
    on = objective.density(data.split("val").all().x, objective.points)
    off = objective.density(torch.tensor([[0.0, -3.0], [30.0, 30.0]]), objective.points)
    assert abs(float(on.mean()) - 1) < 0.1
    assert float(off.max()) < 1e-3
    assert bool((objective.weights >= 0).all())
    assert all(bool(t.isfinite().all()) for t in objective.buffers())


def test_nothing_of_the_held_out_snapshot_is_told():
    data = BranchingSnapshots(400, held=2)
    assert data.intervals == [(0, 1), (1, 3), (3, 4)]
    rows, test = data.all(), data.split("test").all()
    assert rows.cond["between"].unique(dim=0).tolist() == [[0, 0.25], [0.25, 0.75], [0.75, 1]]
    assert test.cond["between"].unique(dim=0).tolist() == [[0.25, 0.5]]
    assert set(test.cond["interval"].tolist()) == {1}
    objective = LandGeodesics(data.spec)
    geodesics(data, objective).fit_parts(data, seed=0)
    told = torch.cat([rows.x, rows.cond["x0"]])
    assert bool((objective.points[:, None] == told).all(-1).any(1).all())


def test_the_second_stage_leaves_the_first_alone():
    data = Arch(64)
    stage = Trained(geodesics(data))
    before = [p.clone() for p in stage.parameters()]
    flow = fl.Flow(
        fl.models.MLP(data.spec, width=8, depth=1),
        source=Paired(),
        coupling=OptimalTransport(within="interval"),
        objective=BetweenSnapshots(MetricInterpolant(stage)),
    )
    flow.fit(data, steps=3, batch=16)
    assert all(torch.equal(a, b) for a, b in zip(before, stage.parameters(), strict=True))
    assert not any(name.startswith("path") for name in flow.trainable())


def test_one_field_of_all_of_time_is_followed_from_a_to_b():
    """A field that is v = 4 t ends, from time a to b, at x0 + 2 (b^2 - a^2)."""

    class Speed(torch.nn.Module):
        def forward(self, x, t, /, **cond):
            assert not cond
            return (4 * t)[:, None].expand_as(x)

    flow = fl.Flow(Speed(), spec=fl.Spec((1,)), objective=BetweenSnapshots(), solver=fl.solvers.Midpoint(4))
    between = torch.tensor([[0.0, 0.5], [0.25, 1.0]])
    field = flow.objective.field(flow.model)
    x = flow.solver.solve(field, torch.zeros(2, 1), cond={"between": between}).x
    torch.testing.assert_close(x[:, 0], 2 * (between[:, 1] ** 2 - between[:, 0] ** 2))
    x0, x1 = torch.zeros(2, 1), 2 * (between[:, 1:] ** 2 - between[:, :1] ** 2)
    step = Step(generator=torch.Generator().manual_seed(0))
    asked = flow.objective.ask(flow.model, Batch(x0, x1, {"between": between}), step)
    mean_speed = x1[:, 0] / (between[:, 1] - between[:, 0])
    torch.testing.assert_close(asked.point.velocity[:, 0], mean_speed)
    time = asked.prediction[:, 0] / 4
    assert bool(((time >= between[:, 0]) & (time <= between[:, 1])).all())


def test_cells_of_a_file(tmp_path):
    file = tmp_path / "cells.csv"
    lines = ["time,a,b"] + [f"{t},{t + 0.01 * i},{i}" for t in (2, 5, 8) for i in range(20)]
    file.write_text("\n".join(lines))
    data = Snapshots(file, n=30, held=1)
    assert data.times == (0.0, 0.5, 1.0)
    assert all(result.ok for result in check(lambda: Snapshots(file, n=64), "dataset"))
    assert data.split("test").all().x[:, 0].sub(5).abs().max() < 0.2
    with pytest.raises(DataError, match="no column 'day'; it has: time, a, b"):
        Snapshots(file, time="day")
    with pytest.raises(DataError, match="held is 1 to 1, got 2"):
        Snapshots(file, held=2)
    file.write_text("\n".join([*lines, "9,0,0"]))
    with pytest.raises(DataError, match="20 at 8, 1 at 9"):
        Snapshots(file)


def test_earth_movers_distance_far_from_zero():
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).double() + 1e6
    moved = Wasserstein1()(Examples(x.flip(0) + 3.0), Examples(x))
    assert abs(moved["wasserstein_1"] - 3 * 2**0.5) < 1e-6


@pytest.mark.parametrize("most", [1000, 4])
def test_earth_movers_distance_of_sets_of_unequal_size(most):
    few, many = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0], [0.0], [1.0]])
    assert Wasserstein1(most)(Examples(few), Examples(many))["wasserstein_1"] == 0
