"""Rooms, walls and the trajectories between them."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

import flowloom as fl
from flowloom.data import Examples
from flowloom.errors import DataError
from flowloom.geometry import Euclidean
from flowloom.solvers import Euler
from flowloom.sources import FromDataset
from flowloom_geometries.crossing import EntersBox
from flowloom_geometries.data import Box


class Constant(torch.nn.Module):
    """The same velocity everywhere."""

    def __init__(self, velocity: list[float]) -> None:
        super().__init__()
        self.velocity = torch.nn.Parameter(torch.tensor(velocity))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.velocity.expand_as(x)


def walk(velocity: list[float]) -> fl.Flow:
    """From the unit square, always the same way."""
    start = Box([0.0, 0.0], [1.0, 1.0], n=400)
    return fl.Flow(
        Constant(velocity), geometry=Euclidean(), source=FromDataset(start), solver=Euler(2), spec=start.spec
    )


def test_a_box_is_filled_evenly_and_may_be_flat() -> None:
    x = Box([1.0, -1.0, 0.0], [3.0, 1.0, 0.0], n=4000).all().x
    assert torch.allclose(x.mean(0), torch.tensor([2.0, 0.0, 0.0]), atol=0.05)
    assert (x.amin(0) >= torch.tensor([1.0, -1.0, 0.0])).all()
    assert (x[:, 2] == 0).all()
    with pytest.raises(DataError, match="low ones first"):
        Box([1.0], [0.0])


def test_trajectories_are_looked_at_between_their_points() -> None:
    """Two steps of one unit each jump over a thin wall; half of the square is at its height."""
    rows = Examples(torch.zeros(400, 2))
    wall = EntersBox([1.45, 0.0], [1.55, 0.5], n=400, points=3, between=20)
    assert wall(walk([2.0, 0.0]), rows)["enters"] == pytest.approx(0.5, abs=0.07)
    assert wall(walk([0.0, 2.0]), rows)["enters"] == 0
    assert wall(walk([2.0, 0.0]), rows.take(torch.arange(5)))["enters"] * 5 in range(6)


def test_some_ways_of_examples_sorted_by_class_are_of_all_classes():
    asked = []

    def solve(n, *, seed, keep, cond):
        asked.append(cond["label"])
        raise InterruptedError

    flow = SimpleNamespace(evaluating=nullcontext, solve=solve)
    with pytest.raises(InterruptedError):
        EntersBox([0.0], [1.0], n=10)(flow, Examples(torch.zeros(40, 1), {"label": torch.arange(40) // 10}))
    assert asked[0].bincount(minlength=4).tolist() == [3, 2, 3, 2]
