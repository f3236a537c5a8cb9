"""Small graphs and what is measured of them."""

import pytest
import torch

from flowloom.data import Examples
from flowloom.errors import ShapeError
from flowloom_sequences.graphs import GraphStatistics, SmallGraphs, pairs, statistics


def test_degrees_and_triangles_are_counted() -> None:
    a, b = pairs(4)
    whole = torch.ones(1, 6, dtype=torch.long)
    star = ((a == 2) | (b == 2)).long()[None]
    found = statistics(torch.cat([whole, star]))
    assert torch.allclose(found[0], torch.tensor([3.0, 3, 3, 3, 0.4], dtype=torch.float64))
    assert found[1].tolist() == [1, 1, 1, 3, 0]
    with pytest.raises(ShapeError, match="5 is none"):
        statistics(torch.zeros(1, 5))


def test_half_of_the_graphs_are_stars_and_other_laws_are_far() -> None:
    data, metric = SmallGraphs(n=2000), GraphStatistics()
    train, test = (data.split(name).take(torch.arange(2000)) for name in ("train", "test"))
    stars = (train.x.sum(1) == 9) & (statistics(train.x)[:, -2] == 9)
    assert float(stars.double().mean()) == pytest.approx(0.5, abs=0.04)
    near = metric(train, test)
    coins = metric(Examples(torch.bernoulli(train.x.double().mean(0).expand(2000, -1)).long()), test)
    assert near["graph_distance"] < 0.3 < 1.0 < coins["graph_distance"]
    assert near["triangle_free_gap"] < 0.05 < coins["triangle_free_gap"]
