"""Maximum mean discrepancy by geodesic distances."""

import math

import pytest
import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.geometry import FlatTorus
from flowloom_geometries.data import WrappedNormalMixture
from flowloom_geometries.metrics import GeodesicMMD


def test_it_sees_across_the_seam_and_tells_laws_apart() -> None:
    metric = GeodesicMMD(geometry=FlatTorus())
    data = WrappedNormalMixture(n=500)
    x, y = (data.split(name).take(torch.arange(500)) for name in ("train", "test"))
    turned = Examples(y.x + 2 * math.pi)
    other = Examples(y.x + 1.0)
    assert metric(x, y)["mmd"] < 0.05 < 0.2 < metric(x, other)["mmd"]
    assert metric(x, turned)["mmd"] == pytest.approx(metric(x, y)["mmd"], abs=1e-3)


def test_it_is_the_unbiased_estimate_of_few_points() -> None:
    """By hand: two points beside two, the root of what is left of the means of the kernel."""
    x = Examples(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    y = Examples(torch.tensor([[2.5, 0.0], [3.0, 0.0]]))

    def k(d: float) -> float:
        return math.exp(-2 * d * d)

    wanted = k(1) + k(0.5) - 2 * (k(2.5) + k(3) + k(1.5) + k(2)) / 4
    assert wanted > 0.5
    assert GeodesicMMD(geometry=FlatTorus())(x, y)["mmd"] == pytest.approx(math.sqrt(wanted), abs=1e-6)


def test_bad_input_is_told() -> None:
    metric = GeodesicMMD(geometry=FlatTorus())
    x = Examples(torch.zeros(3, 2))
    with pytest.raises(ShapeError, match="got 0 samples"):
        metric(Examples(torch.zeros(0, 2)), x)
    with pytest.raises(IncompatibleError, match="one geometry"):
        GeodesicMMD()(x, x)
    with pytest.raises(ValueError, match="width must be positive"):
        GeodesicMMD(width=0.0)
