"""Every geometry obeys the laws of the kind; those that cannot say which they break, and why."""

import geoopt
import pytest
import torch

import flowloom as fl
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, OffManifoldError, ShapeError
from flowloom.geometry import Box, Euclidean, Product, Sphere
from flowloom.spec import Spec
from flowloom.testing import check
from flowloom_geometries.sources import WrappedNormal
from flowloom_geometries.spaces import (
    SE3,
    SO3,
    SPD,
    GeooptGeometry,
    LogEuclideanSPD,
    Lorentz,
    PoincareBall,
    Polytope,
    Simplex,
    Stiefel,
)

TRIANGLE = Polytope([[-1, 0], [0, -1], [1, 1]], [0, 0, 1])
SPACES = [
    (SO3(), (3, 3)),
    (SO3(), (4, 3, 3)),
    (SE3(), {"rotation": (3, 3), "translation": (3,)}),
    (PoincareBall(2), (2,)),
    (PoincareBall(3, curvature=0.5), (3,)),
    (PoincareBall(2), (5, 2)),
    (Lorentz(2), (3,)),
    (Lorentz(3, curvature=0.5), (4,)),
    (Simplex(3), (3,)),
    (Simplex(5), (4, 5)),
    (SPD(2), (2, 2)),
    (SPD(3), (3, 3)),
    (LogEuclideanSPD(3), (3, 3)),
    (Box(0.0, [1.0, 2.0]), (2,)),
    (Box(), (3,)),
    (TRIANGLE, (2,)),
    (Product({"turn": SO3(), "mix": Simplex(3), "where": Euclidean()}), None),
]


def failures(results):
    return {r.name: r.message for r in results if not r.ok}


@pytest.mark.parametrize(("space", "shape"), SPACES, ids=lambda v: str(v).replace(" ", ""))
def test_laws(space, shape):
    shape = shape or {"turn": (3, 3), "mix": (3,), "where": (2,)}
    assert failures(check(space, shape=shape)) == {}


def test_the_adapter_says_which_laws_geoopt_breaks():
    """geoopt's own sphere is 4e-4 from itself; the check names the law, the deviation and the seed."""
    results = {r.name: r for r in check(GeooptGeometry("Sphere"), shape=(3,))}
    broken = results["check_distance_to_itself"]
    assert broken.status == "failed"
    assert "distance(x, x) = 0" in broken.message
    assert "seed 0" in broken.message
    assert broken.deviation is not None
    assert broken.deviation > 1e-4
    assert results["check_to_tangent_is_a_projection"].ok
    assert results["check_random_follows_its_generator"].ok


@pytest.mark.parametrize(
    ("manifold", "shape"),
    [
        (geoopt.PoincareBall(), (2,)),
        (geoopt.SymmetricPositiveDefinite(), (2, 2)),
        (geoopt.Euclidean(1), (3,)),
        (geoopt.SphereProjection(), (2,)),
        (geoopt.Scaled(geoopt.Sphere(), 2.0), (3,)),
        (geoopt.EuclideanStiefelExact(), (4, 2)),
    ],
    ids=str,
)
def test_any_geoopt_manifold_walks_to_its_target(manifold, shape, draws):
    space = GeooptGeometry(manifold)
    x = space.random((6, *shape), Draw(draws, dtype=torch.float64))
    y = space.random((6, *shape), Draw(draws, dtype=torch.float64))
    reached = space.exp(x, space.log(x, y))
    assert float((reached - y).abs().max()) < 1e-6
    assert torch.allclose(space.distance(x, y), space.norm(x, space.log(x, y)), atol=1e-8)
    midway, _ = space.geodesic(x, y, torch.full((6,), 0.5, dtype=torch.float64))
    assert float(space.violation(midway).max()) < 1e-5


def test_the_adapter_fills_gaps_and_says_so():
    assert GeooptGeometry("Sphere").gaps == {}
    assert set(Stiefel().gaps) == {"log", "distance"}
    assert set(GeooptGeometry("CanonicalStiefel").gaps) == {"exp", "log", "distance"}
    assert Stiefel().degrees_of_freedom((5, 3)) == 9  # n k - k (k + 1) / 2
    assert GeooptGeometry("SymmetricPositiveDefinite").degrees_of_freedom((3, 3)) == 6


def test_volume_density_of_the_adapter_is_that_of_the_closed_forms(draws):
    ball, theirs = PoincareBall(3), GeooptGeometry("PoincareBall")
    x = ball.random((8, 3), Draw(draws, dtype=torch.float64))
    assert torch.allclose(theirs.log_sqrt_det(x), ball.log_sqrt_det(x))
    ours, theirs = SPD(3), GeooptGeometry("SymmetricPositiveDefinite")
    x = ours.random((4, 3, 3), Draw(draws, dtype=torch.float64))
    assert torch.allclose(theirs.log_sqrt_det(x), ours.log_sqrt_det(x))


def test_the_adapter_has_no_density_where_points_are_projected_obliquely(draws):
    """geoopt's Lorentz moves points along the time axis; a density from its metric would be wrong."""
    theirs = GeooptGeometry("Lorentz")
    x = theirs.random((4, 3), Draw(draws, dtype=torch.float64))
    with pytest.raises(IncompatibleError, match="use geometry: lorentz"):
        theirs.log_sqrt_det(x)
    flow = fl.Flow(
        fl.models.MLP(Spec(shape=(3,)), width=8),
        geometry=theirs,
        source=WrappedNormal(Lorentz(2)),
    )
    with pytest.raises(IncompatibleError, match="has no likelihoods"):
        flow.log_prob(Lorentz(2).random((4, 3), Draw(draws)))
    for name in ("Sphere", "PoincareBall", "SymmetricPositiveDefinite", "EuclideanStiefelExact"):
        space = GeooptGeometry(name)
        shape = (2,) if name == "PoincareBall" else (3,) if name == "Sphere" else (3, 3)
        x = space.random((4, *shape), Draw(draws, dtype=torch.float64))
        assert bool(space.log_sqrt_det(x).isfinite().all()), name


def test_the_adapter_refuses_what_it_cannot_hold():
    with pytest.raises(IncompatibleError, match=r"no manifold 'Sphare'; it has: .*Sphere"):
        GeooptGeometry("Sphare")
    with pytest.raises(IncompatibleError, match="complex"):
        GeooptGeometry(geoopt.UpperHalf())
    with pytest.raises(IncompatibleError, match=r"expected a geoopt\.Manifold, got int"):
        GeooptGeometry(3)
    with pytest.raises(NotImplementedError, match="log_volume="):
        GeooptGeometry("Sphere").log_volume()


@pytest.mark.parametrize(("space", "shape"), SPACES[:13], ids=lambda v: str(v).replace(" ", ""))
def test_bad_points_are_refused_with_row_and_distance(space, shape, draws):
    if isinstance(shape, dict):
        pytest.skip("products pass the question on to their parts")
    x = space.random((4, *shape), Draw(draws))
    space.require(x)
    bad = x.clone()
    bad[2] = -5 - 3 * bad[2].abs()
    with pytest.raises(OffManifoldError, match=r"row 2 is off .* by"):
        space.require(bad)
    with pytest.raises(ShapeError, match="empty batch"):
        space.require(x[:0])
    with pytest.raises(ShapeError, match="float16"):
        space.require(x.half())


def test_a_geometry_that_breaks_a_law_is_caught():
    class Forgetful(Sphere):
        def geodesic(self, x0, x1, t):
            x_t, velocity = super().geodesic(x0, x1, t)
            return x_t, 1.1 * velocity

    (broken,) = [r for r in check(Forgetful(2)) if r.name == "check_geodesic_velocity_is_the_derivative"]
    assert not broken.ok
    assert "velocity of the geodesic = d/dt" in broken.message
    assert "worst deviation" in broken.message
    assert broken.seed == 0


def test_antipodes_take_a_direction_each_of_their_own(draws):
    """No NaN, no draw: the direction is a fixed function of the point, spread over the circle."""
    sphere = Sphere(2)
    x = sphere.random((1000, 3), Draw(draws))
    middle, velocity = sphere.geodesic(x, -x, torch.full((1000,), 0.5))
    assert float(sphere.violation(middle).max()) < 1e-5
    assert torch.allclose(velocity.norm(dim=1), torch.tensor(torch.pi), atol=1e-4)
    assert float((middle * x).sum(1).abs().max()) < 1e-5
    again, _ = sphere.geodesic(x, -x, torch.full((1000,), 0.5))
    assert torch.equal(middle, again)
    # Near the equator of the map the direction may be up or down: no preference.
    assert abs(float(middle[:, 2].sign().mean())) < 0.15
