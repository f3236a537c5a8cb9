"""The unit box."""

from __future__ import annotations

import math

import pytest
import torch

from flowloom.draw import Draw
from flowloom.errors import OffManifoldError
from flowloom.geometry import Box

BOX = Box()


def test_points_are_uniform_inside():
    box = Box(0.0, 3.0)
    x = box.random((4000, 2, 3), Draw(torch.Generator().manual_seed(0)))
    assert x.shape == (4000, 2, 3)
    assert x.min() >= 0
    assert x.max() <= 3
    assert abs(float(x.mean()) - 1.5) < 0.03
    assert abs(float(x.var()) - 9 / 12) < 0.03
    box.require(x)


def test_density_of_the_uniform_law_integrates_to_one():
    assert BOX.log_volume() == pytest.approx(math.log(2))
    assert BOX.log_uniform((3, 8, 8)) == pytest.approx(-192 * math.log(2))
    assert Box(0.0, 1.0).log_uniform((5,)) == 0


def test_projection_is_the_nearest_point():
    x = 3 * torch.randn(50, 4)
    p = BOX.project(x)
    assert torch.equal(BOX.project(p), p)
    others = BOX.random((50, 4))
    assert ((x - p).norm(dim=1) <= (x - others).norm(dim=1)).all()
    assert torch.equal(BOX.violation(p), torch.zeros(50))
    assert BOX.violation(torch.tensor([[0.0, 1.5], [-3.0, 0.0]])).tolist() == [0.5, 2.0]
    with pytest.raises(OffManifoldError, match="row 1"):
        BOX.require(torch.tensor([[0.0, 0.5], [-3.0, 0.0], [0.0, 1.1]]))
    with pytest.raises(OffManifoldError, match="low=-1"):
        BOX.require(torch.tensor([[float("nan")]]))


def test_geodesics_are_straight_and_stay_inside():
    x, y = BOX.random((20, 3, 4)), BOX.random((20, 3, 4))
    torch.testing.assert_close(BOX.exp(x, BOX.log(x, y)), y)
    for time in (0.0, 0.3, 1.0):
        point, velocity = BOX.geodesic(x, y, torch.full((20,), time))
        torch.testing.assert_close(point, torch.lerp(x, y, time))
        torch.testing.assert_close(velocity, y - x)
        BOX.require(point)
    torch.testing.assert_close(BOX.distance(x, y), (x - y).flatten(1).norm(dim=1))


def test_an_empty_box_is_refused():
    for low, high in ((1.0, 1.0), (2.0, 1.0), (0.0, math.inf), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="low < high"):
            Box(low, high)
