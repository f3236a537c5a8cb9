"""Stiefel manifolds, likelihoods of geoopt's spaces, and what a mesh refuses: against references."""

import math
import pickle

import geoopt
import pytest
import torch
from scipy import integrate, stats

import flowloom as fl
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.paths import GeodesicPath
from flowloom.solvers import RK4
from flowloom.spec import Spec
from flowloom_geometries.mesh import MeshSurface
from flowloom_geometries.mesh.premetric import PremetricPath
from flowloom_geometries.spaces import GeooptGeometry, Stiefel

SHAPES = [(3, 1), (3, 2), (4, 2)]
DTYPES = [torch.float32, torch.float64]
SPHERE = GeooptGeometry("Sphere", log_volume=math.log(4 * math.pi))


class Smooth(torch.nn.Module):
    """A random smooth field in the ambient space, the same in both dtypes."""

    def __init__(self, shape, seed, scale=0.3):
        super().__init__()
        draws, size = torch.Generator().manual_seed(seed), math.prod(shape)
        self.into = 1.5 * torch.randn(size + 1, 16, generator=draws, dtype=torch.float64)
        self.out = scale * torch.randn(16, size, generator=draws, dtype=torch.float64)

    def forward(self, x, t, **cond):
        features = torch.cat([x.flatten(1), t[:, None]], 1)
        return (torch.tanh(features @ self.into.to(x)) @ self.out.to(x)).reshape(x.shape)


class Upwards(torch.nn.Module):
    def forward(self, x, t, **cond):
        return torch.tensor([0.0, 0.0, 1.0]).to(x).expand_as(x)


def flow_on(space, shape, seed=0, scale=0.3):
    return fl.Flow(Smooth(shape, seed, scale), spec=Spec(shape=shape), geometry=space)


def tangents(space, x, length, draws):
    u = space.to_tangent(x, torch.randn(x.shape, generator=draws, dtype=x.dtype))
    return u * (length / space.norm(x, u)).reshape(-1, *(1,) * (x.ndim - 1))


# -- the uniform law -----------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [Stiefel(), GeooptGeometry("CanonicalStiefel")], ids=str)
@pytest.mark.parametrize("shape", [(3, 1), (4, 2), (3, 3)])
def test_random_matrices_are_uniform(space, shape, draws):
    """Every entry of a uniform matrix has the law of a coordinate on the sphere of its column."""
    x = space.random((8000, *shape), Draw(draws, dtype=torch.float64))
    half = (shape[0] - 1) / 2
    for entry in x.flatten(1).T:
        assert stats.kstest(entry.numpy(), stats.beta(half, half, -1, 2).cdf).pvalue > 1e-4
    assert float(x.mean(0).abs().max()) < 0.03


def test_a_law_that_is_not_uniform_is_not_called_so(draws):
    with pytest.raises(IncompatibleError, match="draws another one"):
        GeooptGeometry("SphereProjection", log_volume=math.log(4 * math.pi))
    assert "uniform" in GeooptGeometry("BirkhoffPolytope").gaps
    product = geoopt.ProductManifold((geoopt.EuclideanStiefel(), (3, 2)), (geoopt.Sphere(), (3,)))
    assert "uniform" in GeooptGeometry(product).gaps
    assert "uniform" not in GeooptGeometry(geoopt.Scaled(geoopt.Sphere(), 2.0)).gaps
    x = SPHERE.random((8000, 3), Draw(draws, dtype=torch.float64))
    for entry in x.T:
        assert stats.kstest(entry.numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-4


def test_the_volume_of_stiefel_manifolds():
    """Spheres where k = 1; rotations and reflections at sqrt(2) a plane; the share of a small ball, else."""
    assert Stiefel().log_uniform((3, 1)) == pytest.approx(-math.log(4 * math.pi))
    # SO(3) has the volume 8 pi^2 where a turn by an angle is as long as the angle; here it is sqrt(2) times.
    assert Stiefel().log_uniform((3, 3)) == pytest.approx(-math.log(2 * 8 * math.pi**2 * math.sqrt(2) ** 3))
    assert Stiefel().log_uniform((5, 3, 2)) == pytest.approx(5 * Stiefel().log_uniform((3, 2)))
    x = Stiefel().random((400_000, 4, 2), Draw(torch.Generator().manual_seed(0), dtype=torch.float64))
    near = (x - torch.eye(4, 2, dtype=torch.float64)).flatten(1).norm(dim=1)
    radius = 0.6
    ball = 8 * math.pi**2 / 15 * radius**5
    # Chords against arcs and curvature change the volume of a ball by a few per cent at this radius.
    share = float((near < radius).double().mean()) / math.exp(Stiefel().log_uniform((4, 2)))
    assert share == pytest.approx(ball, rel=0.08)
    space = Stiefel()
    assert [space.degrees_of_freedom(s) for s in ((5, 3), (4, 2), (2, 4, 2))] == [9, 5, 10]


# -- logarithms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (5, 3)])
def test_the_logarithm_is_the_tangent_that_was_followed(shape, dtype, draws):
    """All the way to the injectivity radius, pi, and the other way round as long."""
    space = Stiefel()
    x = space.random((128, *shape), Draw(draws, dtype=dtype))
    u = tangents(space, x, 3.1 * torch.rand(128, generator=draws, dtype=dtype), draws)
    y = space.exp(x, u)
    allowed = 2e-4 if dtype == torch.float32 else 1e-9
    assert float((space.log(x, y) - u).abs().max()) < allowed
    assert torch.allclose(space.distance(x, y), space.distance(y, x), atol=allowed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (3, 3)])
def test_logarithms_of_far_points_are_finite(shape, dtype):
    space = Stiefel()
    draws = torch.Generator().manual_seed(0)
    x, y = (space.random((144, *shape), Draw(draws, dtype=dtype)) for _ in "xy")
    y[:12] = -x[:12]
    x.requires_grad_()
    v, d = space.log(x, y), space.distance(x, y)
    (slope,) = torch.autograd.grad(v.sum() + d.sum(), x)
    for value in (v, d, slope):
        assert bool(value.isfinite().all())
    if shape != (3, 3):  # half of those pairs differ in determinant, and nothing joins them
        assert float(space.residual(x, y).detach().max()) < 1e-4
    assert bool((d[:12] > 3).all())


@pytest.mark.slow
def test_a_flow_on_stiefel_manifolds_trains(draws):
    x = Stiefel().random((500, 3, 2), Draw(draws))
    flow = fl.Flow(fl.models.MLP(Spec(shape=(3, 2)), width=16), spec=Spec(shape=(3, 2)), geometry=Stiefel())
    flow.fit(x, steps=30, batch=128)
    Stiefel().require(flow.sample(16, seed=0))


@pytest.mark.parametrize("name", ["EuclideanStiefelExact", "CanonicalStiefel"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("length", [0.02, 0.8, 2.0, 2.8])
def test_derivatives_of_log_and_distance_are_differences(name, shape, length, draws):
    space = GeooptGeometry(name)
    x = space.random((8, *shape), Draw(draws, dtype=torch.float64))
    y = space.exp(x, tangents(space, x, length, draws))
    a, b = tangents(space, x, 1.0, draws), tangents(space, y, 1.0, draws)
    weight = torch.randn(x.shape, generator=draws, dtype=torch.float64)
    h = 1e-5
    for fn in (lambda p, q: (space.log(p, q) * weight).flatten(1).sum(1), space.distance):
        ends = [fn(space.project(x + s * a), space.project(y + s * b)) for s in (h, -h)]
        measured = (ends[0] - ends[1]) / (2 * h)
        _, forward = torch.func.jvp(fn, (x, y), (a, b))
        p, q = x.clone().requires_grad_(), y.clone().requires_grad_()
        gp, gq = torch.autograd.grad(fn(p, q).sum(), (p, q))
        for slope in (forward, (gp * a + gq * b).flatten(1).sum(1)):
            assert torch.allclose(slope, measured, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_derivatives_at_coincident_points(dtype, draws):
    """``d/dy log(x, y)`` is the tangent projection there, and that of the distance stays finite."""
    x = Stiefel().random((16, 4, 2), Draw(draws, dtype=dtype))
    y, w = x.clone().requires_grad_(), torch.randn(x.shape, generator=draws, dtype=dtype)
    (slope,) = torch.autograd.grad((Stiefel().log(x, y) * w).sum(), y)
    assert torch.allclose(slope, Stiefel().to_tangent(x, w), atol=1e-5)
    (slope,) = torch.autograd.grad(Stiefel().distance(x, y).sum(), y)
    assert bool(slope.isfinite().all())


# -- likelihoods ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (GeooptGeometry("Sphere"), (3,)),
        (Stiefel(), (4, 2)),
        (GeooptGeometry("EuclideanStiefel"), (3, 2)),
        (GeooptGeometry("CanonicalStiefel"), (4, 2)),
        (GeooptGeometry("PoincareBall"), (2,)),
        (GeooptGeometry("SphereProjection"), (2,)),
        (GeooptGeometry("SymmetricPositiveDefinite"), (3, 3)),
    ],
    ids=str,
)
def test_the_derivative_of_the_volume_density_is_its_difference(space, shape, draws):
    x = space.random((6, *shape), Draw(draws, dtype=torch.float64))
    v = space.to_tangent(x, 0.3 * torch.randn(x.shape, generator=draws, dtype=torch.float64))
    _, slope = torch.func.jvp(space.log_sqrt_det, (x,), (v,))
    h = 1e-5
    ends = [space.log_sqrt_det(space.project(x + s * v)) for s in (h, -h)]
    assert torch.allclose(slope, (ends[0] - ends[1]) / (2 * h), atol=1e-7)


@pytest.mark.parametrize("dtype", [pytest.param(torch.float32, marks=pytest.mark.slow), torch.float64])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
@pytest.mark.parametrize(
    ("space", "shape"),
    [(SPHERE, (3,)), (Stiefel(), (3, 2)), pytest.param(Stiefel(), (4, 2), marks=pytest.mark.slow)],
    ids=str,
)
def test_densities_integrate_to_one(space, shape, seed, dtype):
    """The mean of the density over uniform points, times the volume.

    Opposite points and the products of coordinates, whose means are known, take most of the noise away.
    """
    n = 6_000
    x = space.random((n, *shape), Draw(torch.Generator().manual_seed(seed), dtype=dtype))
    x = torch.cat([x, -x])  # the law is that of -x as well
    with torch.no_grad():
        log_density = flow_on(space, shape, seed, 0.05).log_prob(x, solver=RK4(4))
    ratio = (log_density - space.log_uniform(shape)).exp().double().reshape(2, n).mean(0)
    assert float((log_density.exp() / log_density.exp().mean()).std()) > 0.1  # not the uniform law
    rows, columns = torch.triu_indices(x[0].numel(), x[0].numel())
    flat = x[:n].flatten(1).double()
    products = flat[:, rows] * flat[:, columns] - (rows == columns).double() / shape[0]
    design = torch.cat([torch.ones(n, 1, dtype=torch.float64), products], 1)
    # Squares of a column add up to one, so the design is short of full rank.
    fit = torch.linalg.lstsq(design, ratio[:, None], driver="gelsd").solution
    assert abs(float(fit[0]) - 1) < 0.01


@pytest.mark.parametrize(
    ("space", "shape"),
    [(SPHERE, (3,)), (Stiefel(), (4, 2)), (GeooptGeometry("EuclideanStiefel", log_volume=0.0), (3, 2))],
)
def test_likelihoods_against_scipy_and_differences(space, shape, draws):
    """The divergence by central differences along a tangent basis, the integral by DOP853."""
    flow = flow_on(space, shape)
    (x,) = space.random((1, *shape), Draw(draws, dtype=torch.float64))
    size, h = x.numel(), 1e-5
    eye = torch.eye(size, dtype=torch.float64).reshape(size, *shape)

    def velocity(p, t):
        return space.to_tangent(p, flow.model(p, torch.full((len(p),), t, dtype=p.dtype)))

    def augmented(t, z):
        p = space.project(torch.tensor(z[:size]).reshape(1, *shape))
        images = space.to_tangent(p.expand(size, *shape), eye).flatten(1)
        frame = torch.linalg.svd(images)[2][: torch.linalg.matrix_rank(images)].reshape(-1, *shape)
        ends = [velocity(space.project(p + s * frame), t) for s in (h, -h)]
        divergence = ((ends[0] - ends[1]) * frame).sum() / (2 * h)
        return [*velocity(p, t).flatten().tolist(), float(divergence)]

    solved = integrate.solve_ivp(augmented, (1, 0), [*x.flatten().tolist(), 0.0], method="DOP853", rtol=1e-8)
    expected = space.log_uniform(shape) + solved.y[-1, -1]
    with torch.no_grad():
        assert float(flow.log_prob(x[None], solver=RK4(40))) == pytest.approx(expected, abs=1e-5)
        few = flow.log_prob(x[None], solver=RK4(4))
    assert torch.allclose(flow.log_prob(x[None], solver=RK4(4)), few)


# -- meshes --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mesh():
    return MeshSurface("icosphere-1", count=20)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("divergence", ["exact", "hutchinson"])
def test_a_mesh_has_no_likelihoods(mesh, grad, divergence, draws):
    """They were the uniform density, whatever the field: all of a constant field's divergence is at edges."""
    flow = fl.Flow(Upwards(), spec=Spec(shape=(3,)), geometry=mesh, path=GeodesicPath(mesh))
    x = mesh.random((4, 3), Draw(draws))
    with (
        torch.set_grad_enabled(grad),
        pytest.raises(IncompatibleError, match="has no likelihoods: fields jump"),
    ):
        flow.log_prob(x, solver=RK4(2), divergence=divergence)


@pytest.mark.slow
def test_mass_gathers_on_the_edges_of_a_mesh(mesh, draws):
    """Why: under a constant field most samples end on an edge, to which no density gives mass."""
    flow = fl.Flow(Upwards(), spec=Spec(shape=(3,)), geometry=mesh, path=GeodesicPath(mesh))
    with torch.no_grad():
        x = RK4(200).solve(flow.field(), mesh.random((500, 3), Draw(draws, dtype=torch.float64))).x
    _, weights = mesh.locate(x)
    assert float((weights.amin(1) < 1e-6).double().mean()) > 0.5
    assert float((x[:, 2] > 0).double().mean()) == 1


def test_the_derivative_of_the_closest_point_is_its_difference(mesh, draws):
    """Over faces, edges and corners, in both modes, and under vmap."""
    x, d, w = (0.5 * torch.randn(3, 2000, 3, generator=draws, dtype=torch.float64)).unbind()
    held = (mesh.locate(x)[1] <= 0).sum(1)
    assert all(int((held == k).sum()) > 300 for k in (0, 1, 2))
    h = 1e-6
    measured = (mesh.project(x + h * d) - mesh.project(x - h * d)) / (2 * h)
    _, slope = torch.func.jvp(mesh.project, (x,), (d,))
    assert torch.allclose(slope, measured, atol=1e-6)
    p = x.clone().requires_grad_()
    (back,) = torch.autograd.grad((mesh.project(p) * w).sum(), p)
    assert torch.allclose((back * d).sum(1), (slope * w).sum(1))
    columns = torch.func.vmap(lambda e: torch.func.jvp(mesh.project, (x,), (e.expand_as(x),))[1])
    jacobian = columns(torch.eye(3, dtype=torch.float64))
    assert torch.allclose(torch.einsum("knj,nk->nj", jacobian, d), slope)
    assert torch.equal(torch.func.vmap(mesh.project)(x.reshape(20, 100, 3)).reshape(-1, 3), mesh.project(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_on_the_mesh(mesh, dtype, draws):
    """Points of a face move in its plane; distances have the gradient of the premetric; geodesics run."""
    x, y = mesh.random((2, 200, 3), Draw(draws, dtype=dtype))
    d = torch.randn(200, 3, generator=draws, dtype=dtype)
    _, slope = torch.func.jvp(mesh.project, (x,), (d,))
    assert torch.allclose(slope, mesh.to_tangent(x, d), atol=1e-5)
    p = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(mesh.distance(p, y).sum(), p)
    assert torch.allclose(slope, mesh.premetric_gradient(x, mesh.embed(y))[1], atol=1e-5)
    point, velocity = mesh.geodesic(x, y, torch.rand(200, generator=draws, dtype=dtype))
    mesh.require(point)
    assert torch.allclose(velocity, mesh.to_tangent(point, velocity), atol=1e-5)
    assert float(velocity.norm(dim=1).median()) > 0
    pickle.loads(pickle.dumps(mesh))  # what was located last holds no graph


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_premetric_path_on_powers(mesh, dtype, draws):
    """As each of its points alone."""
    x0, x1 = mesh.random((2, 8, 5, 3), Draw(draws, dtype=dtype))
    t = torch.rand(8, generator=draws, dtype=dtype)
    path = PremetricPath(mesh, steps=10)
    power = path.sample(x0, x1, t)
    alone = path.sample(x0.reshape(40, 3), x1.reshape(40, 3), t.repeat_interleave(5))
    assert torch.equal(power.x_t.reshape(40, 3), alone.x_t)
    assert torch.equal(power.velocity.reshape(40, 3), alone.velocity)
