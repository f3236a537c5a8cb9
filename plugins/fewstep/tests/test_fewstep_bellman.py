"""The grid of least cost against every grid there is, and costs against a flow that is known."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
import torch

import flowloom as fl
from flowloom.errors import SolverError
from flowloom.testing.oracles import LinearFlow, MixtureField
from flowloom.trained import Trained
from flowloom_fewstep.bellman import BellmanEuler, euler_costs, optimal_knots


@pytest.mark.parametrize("steps", [1, 2, 4, 12])
def test_no_grid_is_cheaper(draws, steps):
    costs = torch.rand(13, 13, generator=draws, dtype=torch.float64)
    costs[torch.ones(13, 13).tril().bool()] = float("inf")

    def price(knots) -> float:
        return sum(float(costs[a, b]) for a, b in pairwise(knots))

    found = optimal_knots(costs, steps)
    grids = ([0, *inner, 12] for inner in combinations(range(1, 12), steps - 1))
    assert len(found) == steps + 1
    assert price(found) == pytest.approx(min(map(price, grids)))


def test_more_steps_than_points_are_refused():
    with pytest.raises(SolverError, match="fine: 5"):
        optimal_knots(torch.zeros(5, 5), 5)


def test_costs_are_those_of_stored_trajectories(draws):
    """Neighbours cost nothing; a long step costs its distance from the fine point, not from the exact one."""
    field, x = LinearFlow(), torch.randn(20, 2, generator=draws, dtype=torch.float64)
    costs = euler_costs(field, x, {}, 10, draws)
    assert float(costs.diagonal(1).max()) < 1e-25
    fine = fl.solvers.Euler(10).solve(field, x).x
    long = x + field(x, torch.zeros(20, dtype=torch.float64), {})
    assert float(costs[0, 10]) == pytest.approx(float((long - fine).square().sum(1).mean()))
    assert bool(costs.tril().isinf()[torch.ones(11, 11).tril().bool()].all())


def test_few_steps_of_least_cost_end_nearer_to_the_fine_trajectory(draws):
    """A mixture on a diffusion's path, whose last steps matter most; the knots crowd there."""
    field = MixtureField(schedule=fl.schedules.VP())
    x = torch.randn(200, 2, generator=draws, dtype=torch.float64)
    costs = euler_costs(field, x, {}, 60, draws)
    grid = [k / 60 for k in optimal_knots(costs, 4)]
    end = fl.solvers.Euler(60).solve(field, x).x
    best, even = (fl.solvers.Euler(4, grid=g).solve(field, x).x for g in (grid, None))
    assert float((best - end).square().mean()) < 0.5 * float((even - end).square().mean())


def test_the_fitted_grid_travels_with_the_flow_and_serves_any_number_of_steps(draws):
    torch.manual_seed(0)
    data = fl.data.EightGaussians(200)
    flow = fl.Flow(fl.models.MLP(data.spec, width=16, depth=2))
    solver = BellmanEuler(Trained(flow), steps=3, fine=20, samples=10)
    assert solver.times((0.0, 1.0)) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    solver.fit(data, flow, draws)
    grids = {k: solver.with_steps(k).times((0.0, 1.0)) for k in (2, 3, 5)}
    assert [len(g) for g in grids.values()] == [3, 4, 6]
    other = BellmanEuler(Trained(flow), steps=3, fine=20, samples=10)
    other.load_state_dict(solver.state_dict())
    assert other.times((0.0, 1.0)) == grids[3]
    assert solver.steps == 3


def test_a_part_of_the_time_has_the_cheapest_grid_of_that_part(draws):
    field = MixtureField(schedule=fl.schedules.VP())
    x = torch.randn(100, 2, generator=draws, dtype=torch.float64)
    solver = BellmanEuler(Trained(fl.Flow(fl.models.MLP(fl.Spec((2,)), width=8, depth=1))), steps=3, fine=20)
    assert solver.walked(field, (0.5, 1.0)) == pytest.approx([0.5, 2 / 3, 5 / 6, 1.0])  # not measured
    solver.costs.copy_(euler_costs(field, x, {}, 20, draws))
    assert solver.walked(field, (0.0, 1.0)) == solver.times((0.0, 1.0))
    late = [k / 20 for k in (10 + k for k in optimal_knots(solver.costs[10:, 10:], 3))]
    assert solver.walked(field, (0.5, 1.0)) == pytest.approx(late)
    assert solver.walked(field, (1.0, 0.5)) == pytest.approx(late[::-1])
    assert late != pytest.approx(solver.times((0.5, 1.0)))
    with pytest.raises(SolverError, match="no 3 steps"):
        solver.walked(field, (0.9, 1.0))
