"""A source of kernels, the network that refines it, and how far points of the globe are apart."""

import math

import pytest
import torch

import flowloom as fl
from flowloom.data.base import Dataset, Examples
from flowloom.draw import Draw
from flowloom.errors import DataError, IncompatibleError
from flowloom.geometry import FlatTorus, Sphere
from flowloom.parts import load_tensors, tensors
from flowloom.solvers import Midpoint
from flowloom.sources import Uniform
from flowloom.spec import Spec
from flowloom_geometries.data import VonMisesFisherMixture
from flowloom_geometries.data.earth import kilometres_to_nearest, to_sphere
from flowloom_geometries.kernels import Kernels
from flowloom_geometries.models import RefiningMLP
from flowloom_geometries.world_map import density_grid, integral

SPEC = Spec(shape=(3,))


class Rows(Dataset):
    """Given points."""

    def __init__(self, x):
        self.x = x

    @property
    def spec(self):
        return SPEC

    def __len__(self):
        return len(self.x)

    def take(self, rows):
        return Examples(self.x[rows])


def some(n=60, seed=0):
    """Points of four clusters, of which the first ten stand there twice."""
    x = VonMisesFisherMixture(n=n, seed=seed, concentration=20.0).all().x
    return torch.cat([x, x[:10]])


def fitted(x, **settings):
    source = Kernels(Sphere(2), **settings)
    flow = fl.Flow(fl.models.MLP(SPEC, width=8, depth=1), geometry=Sphere(2), source=source)
    flow.fit_parts(Rows(x))
    return source


def kernel(x, centre, width):
    """The same law written out: of a point and a centre, in plain numbers."""
    k = 1 / width**2
    return k / (2 * math.pi * (1 - math.exp(-2 * k))) * math.exp(k * (float(x @ centre) - 1))


def test_the_density_integrates_to_one():
    source = fitted(some(), narrowest=0.1, widths=3)
    assert integral(density_grid(source.log_prob, 90)) == pytest.approx(1, abs=2e-3)


def test_draws_follow_the_density():
    source = fitted(some(), narrowest=0.1, widths=3)
    draws = source.noise((20_000, 3), Draw(torch.Generator().manual_seed(0)))
    Sphere(2).require(draws)
    # 1 / q has the area of the sphere as its mean under q, and nowhere else.
    area = (-source.log_prob(draws.double())).exp()
    assert float(area.mean()) == pytest.approx(4 * math.pi, abs=4 * float(area.std()) / 20_000**0.5)


def test_weights_are_those_of_rows_under_the_others():
    """Every row scored by a mixture of n - 1 rows, whose reach knows nothing of it, all of it in loops."""
    x = some(25).double()
    source = fitted(x.float(), widths=2, narrowest=0.02, neighbours=(1, 3), scales=(0.5,))
    source.weights = torch.ones(5, dtype=torch.float64)
    rows = torch.arange(len(x))
    apart = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    near = apart.sort(1).values[:, 1:]
    table = source._table(source.centres, rows, near[:, [1, 3]]).exp()
    for j in (0, 7, 20):
        others = [i for i in rows.tolist() if i != j]
        for column, k in ((2, 1), (3, 3)):
            expected = 0.0
            for i in others:
                reach = sorted(float(apart[i, m]) for m in others if m != i)[k - 1]
                expected += kernel(x[j], x[i], min(max(0.5 * reach, 0.02), 1.0)) / len(others)
            assert float(table[j, column]) == pytest.approx(expected, rel=1e-3, abs=1e-12)
    # The wrong twin, whose widths know the row that is scored, finds it likelier than it is.
    twin = source._table(source.centres, rows, near[:, [0, 2]]).exp()
    assert not torch.allclose(twin[:, 2:4], table[:, 2:4], rtol=0.05)


def test_rows_that_repeat_are_told_from_those_that_do_not():
    x = some(200)
    source = fitted(x)
    repeated = source.repeated(x, 0.003)
    assert repeated[:10].min() > 0.99
    away = to_sphere(torch.tensor([[-89.0, 5.0], [3.0, -100.0]])).float()
    assert source.repeated(away, 0.003).max() < 1e-3
    assert source.repeated(x, 0.0).max() == 0


def test_what_was_fitted_is_restored_with_the_weights():
    source, other = fitted(some()), Kernels(Sphere(2))
    x = some(seed=3)
    assert torch.allclose(other.log_prob(x), torch.tensor(-math.log(4 * math.pi)))
    load_tensors(other, {k: v.clone() for k, v in tensors(source).items()}, "a file")
    assert torch.equal(other.log_prob(x), source.log_prob(x))


def test_the_flow_begins_as_its_source():
    source = fitted(some())
    flow = fl.Flow(RefiningMLP(SPEC, source, width=8, depth=1), geometry=Sphere(2), source=source)
    x = some(seed=4)
    with torch.no_grad():
        assert torch.allclose(flow.log_prob(x, solver=Midpoint(2)), source.log_prob(x), atol=1e-5)
        flow.model.body.out.weight.normal_(generator=torch.Generator().manual_seed(0))
        flow.model.body.out.bias.fill_(0.3)
        rows = torch.cat([source.centres[:10], x[20:30]])
        speed = flow.model(rows, torch.full((20,), 0.5)).norm(dim=1)
    assert speed[:10].max() < 0.05 * speed[10:].max(), "what repeats stays where it is"


def test_few_rows_and_copies_of_one():
    for x in (some()[:2], some()[:1].expand(5, 3)):
        source = fitted(x)
        assert source.log_prob(x).isfinite().all()
        assert source.noise((4, 3), Draw(torch.Generator().manual_seed(0))).shape == (4, 3)
    with pytest.raises(DataError, match="needs two or more"):
        fitted(some()[:1])


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (lambda: Kernels(FlatTorus()), IncompatibleError, "sphere of dimension 2"),
        (lambda: Kernels(Sphere(2), narrowest=1.0, widest=0.5), ValueError, "widths must grow"),
        (lambda: Kernels(Sphere(2), neighbours=(0,)), ValueError, "must be positive"),
        (lambda: RefiningMLP(SPEC, Uniform(Sphere(2))), IncompatibleError, "refines source: kernels"),
    ],
)
def test_bad_settings_are_refused(wrong, error, said):
    with pytest.raises(error, match=said):
        wrong()


@pytest.mark.parametrize(
    ("one", "other", "km"),
    [
        ((48.8566, 2.3522), (51.5074, -0.1278), 343.6),  # Paris, London
        ((0.0, 0.0), (0.0, 1.0), 6371 * math.pi / 180),
        ((0.0, 179.5), (0.0, -179.5), 6371 * math.pi / 180),  # across the date line
        ((90.0, 0.0), (-90.0, 77.0), 6371 * math.pi),
        ((60.0, 10.0), (60.0, 10.00001), 6371 * math.pi / 180 * 0.5e-5),  # half a metre
        ((10.0, 20.0), (10.0, 20.0), 0.0),
    ],
)
def test_kilometres_along_the_ground(one, other, km):
    points = to_sphere(torch.tensor([one, other], dtype=torch.float64))
    found = float(kilometres_to_nearest(points[:1], points[1:]))
    assert found == pytest.approx(km, rel=1e-3, abs=1e-9)


def test_the_nearest_row_counts_and_a_chord_is_no_way():
    rows = to_sphere(torch.tensor([[0.0, 100.0], [0.0, 90.0], [0.0, -150.0]], dtype=torch.float64))
    start = to_sphere(torch.zeros(1, 2, dtype=torch.float64))
    found = float(kilometres_to_nearest(start, rows))
    assert found == pytest.approx(6371 * math.pi / 2)
    chord = 6371 * float((rows[1] - start[0]).norm())
    assert abs(found - chord) > 900
