"""Maximum mean discrepancy by geodesic distances."""

import math

import pytest
import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.geometry import FlatTorus
from flowloom.layout import Layout
from flowloom_geometries.data import WrappedNormalMixture
from flowloom_geometries.metrics import GeodesicMMD
from flowloom_geometries.spaces import SPD


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


def test_padding_is_no_distance() -> None:
    x = torch.randn(40, 3, 2, generator=torch.Generator().manual_seed(0))
    real = torch.arange(3) < torch.tensor([[1], [3]]).repeat(20, 1)
    metric, other = GeodesicMMD(geometry=FlatTorus()), torch.where(real[..., None], x, math.nan)
    rows = (Examples(v, {}, Layout(real=real)) for v in (x, other))
    assert metric(*rows)["mmd"] == metric(Examples(x), Examples(x))["mmd"] == 0
    apart = Examples(torch.where(real[..., None], x + 1.5, x), {}, Layout(real=real))
    assert metric(apart, Examples(x, {}, Layout(real=real)))["mmd"] > 0.1


@pytest.mark.parametrize("scale", [1.0, 1e-8])
def test_small_matrices_are_told_apart(scale: float) -> None:
    draws = torch.Generator().manual_seed(0)
    root = torch.randn(30, 2, 2, generator=draws, dtype=torch.float64)
    x = scale * (root @ root.mT + torch.eye(2, dtype=torch.float64))
    assert torch.equal(SPD(2).project(x), 0.5 * (x + x.mT))
    assert GeodesicMMD(geometry=SPD(2))(Examples(x), Examples(3 * x))["mmd"] > 0.3
    broken = torch.diag(torch.tensor([scale, -scale], dtype=torch.float64))[None]
    assert torch.linalg.eigvalsh(SPD(2).project(broken)).min() == pytest.approx(1e-6 * scale)


def test_bad_input_is_told() -> None:
    metric = GeodesicMMD(geometry=FlatTorus())
    x = Examples(torch.zeros(3, 2))
    for n in (0, 1):
        with pytest.raises(ShapeError, match=f"got {n} samples"):
            metric(Examples(torch.zeros(n, 2)), x)
    with pytest.raises(IncompatibleError, match="one geometry"):
        GeodesicMMD()(x, x)
    with pytest.raises(ValueError, match="width must be positive"):
        GeodesicMMD(width=0.0)
