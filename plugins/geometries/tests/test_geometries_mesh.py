"""Triangle meshes: files, spectra against the sphere's, closest points against brute force, the premetric."""

import math

import pytest
import torch

from flowloom.draw import Draw
from flowloom.errors import DataError, IncompatibleError
from flowloom.geometry import Sphere
from flowloom_geometries.data import MeshEigenfunction
from flowloom_geometries.mesh import MeshSurface, read_mesh
from flowloom_geometries.mesh.closest import Finder, closest_on_triangles, pieces
from flowloom_geometries.mesh.laplacian import cotangent_laplacian, spectrum
from flowloom_geometries.mesh.premetric import PremetricPath
from flowloom_geometries.mesh.shapes import icosphere, walled_square


@pytest.fixture(scope="module")
def ball():
    return MeshSurface("icosphere", count=48, normalize=False)


@pytest.fixture(scope="module")
def square():
    vertices, triangles = walled_square(20)
    return MeshSurface(vertices=vertices, triangles=triangles, count=100, normalize=False)


def test_obj_and_off_are_read_alike(tmp_path):
    obj = tmp_path / "a.obj"
    obj.write_text("# a square\nv 0 0 0\nv 1 0 0 1.0\nv 1 1 0\nv 0 1 0\nvn 0 0 1\nf 1/1/1 2/2/1 3//1 -1\n")
    off = tmp_path / "a.off"
    off.write_text("OFF # counts\n4 1 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3\n")
    (v, f), (w, g) = read_mesh(obj), read_mesh(off)
    assert torch.equal(v, w)
    assert torch.equal(f, g)
    assert f.tolist() == [[0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.obj", "v 0 0\nf 1 2 3\n", r"a\.obj:1: not a vertex"),
        ("a.obj", "v 0 0 0\nf 1 2\n", r"a\.obj:2: not a face"),
        ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "names vertex 9, and there are 3"),
        ("a.obj", "", "holds 0 vertices"),
        ("a.off", "OFF\n3 1 0\n0 0 0\n", "truncated"),
        ("a.off", "nope\n", "begins with the word OFF"),
        ("a.ply", "ply\n", "an .obj or .off file"),
    ],
)
def test_bad_meshes_are_refused(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_mesh(tmp_path / name)


def test_eigenvalues_of_the_sphere_are_l_times_l_plus_one():
    vertices, triangles = icosphere(3)
    values, functions = spectrum(vertices, triangles, 15)
    expected = torch.tensor([2.0] * 3 + [6.0] * 5 + [12.0] * 7, dtype=torch.float64)
    assert torch.allclose(values, expected, rtol=0.02)
    _, mass = cotangent_laplacian(vertices, triangles)
    gram = functions.T @ torch.from_numpy(mass @ functions.numpy())
    assert torch.allclose(gram, torch.eye(15, dtype=torch.float64), atol=1e-8)
    # The first three are the coordinates: each is a linear function on the sphere.
    fit = torch.linalg.lstsq(vertices, functions[:, :3]).solution
    assert torch.allclose(vertices @ fit, functions[:, :3], atol=0.02)


def test_meshes_that_have_no_spectrum_are_refused():
    vertices, triangles = icosphere(1)
    with pytest.raises(DataError, match="eigenpairs were asked"):
        spectrum(vertices, triangles, 100)
    twice = torch.cat([vertices, vertices + 5])
    with pytest.raises(DataError, match="more than one connected component"):
        spectrum(twice, torch.cat([triangles, triangles + len(vertices)]), 5)
    with pytest.raises(DataError, match="belongs to no triangle"):
        spectrum(torch.cat([vertices, vertices[:1]]), triangles, 5)
    with pytest.raises(DataError, match="needs file:"):
        MeshSurface()


def test_the_closest_point_is_that_of_brute_force(draws):
    vertices, triangles = icosphere(1)
    x = 1.5 * torch.randn(200, 3, generator=draws, dtype=torch.float64)
    face, weights = Finder(vertices, triangles, candidates=4)(x)
    corners = vertices[triangles]
    found = (weights[..., None] * corners[face]).sum(1)
    every = closest_on_triangles(x[:, None], *(c[None].expand(200, -1, 3) for c in corners.unbind(1)))
    points = (every[..., None] * corners).sum(2)
    assert torch.allclose((found - x).norm(dim=1), (points - x[:, None]).norm(dim=-1).min(1).values)
    assert bool((weights >= 0).all())


def test_closest_points_of_one_triangle_by_dense_search(draws):
    a, b, c = torch.randn(3, 3, generator=draws, dtype=torch.float64)
    u = torch.linspace(0, 1, 300, dtype=torch.float64)
    p, q = torch.meshgrid(u, u, indexing="ij")
    inside = p + q <= 1
    dense = a + p[inside][:, None] * (b - a) + q[inside][:, None] * (c - a)
    x = 2 * torch.randn(50, 3, generator=draws, dtype=torch.float64)
    bary = closest_on_triangles(x, *(v.expand(50, 3) for v in (a, b, c)))
    found = (bary[..., None] * torch.stack([a, b, c])).sum(1)
    best = torch.cdist(x, dense).min(1).values
    assert float(((found - x).norm(dim=1) - best).abs().max()) < 1e-2
    assert bool(((found - x).norm(dim=1) <= best + 1e-9).all())


def test_points_tangents_and_area(ball, draws):
    x = ball.random((300, 3), Draw(draws))
    ball.require(x)
    assert math.exp(ball.log_volume()) == pytest.approx(4 * math.pi, rel=0.01)
    assert abs(float(x.mean(0).abs().max())) < 0.15
    v = ball.to_tangent(x, torch.randn(300, 3, generator=draws))
    assert torch.allclose(ball.to_tangent(x, v), v, atol=1e-5)
    moved = ball.exp(x, 0.05 * v)
    ball.require(moved)
    with pytest.raises(Exception, match=r"row 7 is off .* by 0\.5"):
        ball.require(torch.where(torch.arange(300)[:, None] == 7, 1.5 * x / x.norm(dim=1, keepdim=True), x))


def test_the_gradient_of_the_premetric_is_its_difference(ball, draws):
    x, y = ball.random((2, 64, 3), Draw(draws, dtype=torch.float64))
    target = ball.embed(y)
    d, gradient = ball.premetric_gradient(x, target)
    direction = ball.to_tangent(x, torch.randn(64, 3, generator=draws, dtype=torch.float64))
    h = 1e-6
    ends = [(ball.embed(x + s * direction) - target).norm(dim=1) for s in (h, -h)]
    assert torch.allclose((gradient * direction).sum(1), (ends[0] - ends[1]) / (2 * h), atol=1e-5)
    assert torch.allclose(d[:, 0], ball.distance(x, y))


def test_premetrics_order_points_of_the_sphere_by_angle(ball, draws):
    x = ball.random((200, 3), Draw(draws))
    north = ball.project(torch.tensor([[0.0, 0.0, 1.0]])).expand(200, 3)
    angle = Sphere(2).distance(x / x.norm(dim=1, keepdim=True), north / north.norm(dim=1, keepdim=True))
    ranks = [v.argsort().argsort().float() for v in (angle, ball.distance(x, north))]
    assert float(torch.corrcoef(torch.stack(ranks))[0, 1]) > 0.99


def test_the_premetric_falls_as_one_minus_t(ball, draws):
    path = PremetricPath(ball, steps=60)
    x0, x1 = ball.random((2, 128, 3), Draw(draws))
    t = torch.rand(128, generator=draws)
    point = path.sample(x0, x1, t)
    ball.require(point.x_t)
    kept = ball.distance(point.x_t, x1) / ball.distance(x0, x1)
    assert float((kept - (1 - t)).abs().quantile(0.9)) < 0.02
    residual = point.velocity - ball.to_tangent(point.x_t, point.velocity)
    assert float(residual.abs().max()) < 1e-4 * float(point.velocity.abs().max())
    # The velocity lowers the premetric at the rate d(x0, x1).
    _, gradient = ball.premetric_gradient(point.x_t, ball.embed(x1))
    rate = -(gradient * point.velocity).sum(1)
    assert torch.allclose(rate, ball.distance(x0, x1), rtol=1e-3)
    start, end = (path.sample(x0, x1, torch.full((128,), s)).x_t for s in (0.0, 1.0))
    assert torch.allclose(start, ball.project(x0), atol=1e-5)
    assert float(ball.distance(end, x1).median() / ball.distance(x0, x1).median()) < 0.02


def test_the_premetric_walks_round_a_wall(square, draws):
    """Straight lines cross it; the simulated paths go through the gap."""
    x0 = torch.tensor([0.2, 0.2, 0.0]) + 0.05 * torch.rand(32, 3, generator=draws) * torch.tensor([1.0, 1, 0])
    x1 = torch.tensor([0.8, 0.2, 0.0]) + 0.05 * torch.rand(32, 3, generator=draws) * torch.tensor([1.0, 1, 0])
    path = PremetricPath(square, steps=80)
    points = torch.cat(
        [path.sample(x0, x1, torch.full((32,), s)).x_t for s in torch.linspace(0, 1, 9).tolist()]
    )
    wall = ((points[:, 0] - 0.5).abs() < 0.045) & (points[:, 1] < 0.74)
    assert float(wall.float().mean()) == 0.0
    assert float(points[:, 1].max()) > 0.7
    straight = torch.cat([x0 + s * (x1 - x0) for s in torch.linspace(0, 1, 9).tolist()])
    assert float(((straight[:, 0] - 0.5).abs() < 0.045).float().mean()) > 0.05


def stretched(cells=12):
    """A bumpy square whose triangles differ in length by a factor of twenty, as scanned meshes have them."""
    ticks = torch.linspace(0, 1, cells + 1, dtype=torch.float64) ** 2
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    vertices = torch.stack([x, y, 0.1 * (6 * x).sin() * (5 * y).cos()], -1).reshape(-1, 3)
    row, column = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
    a = (row * (cells + 1) + column).flatten()
    return vertices, torch.cat(
        [torch.stack([a, a + 1, a + cells + 2], 1), torch.stack([a, a + cells + 2, a + cells + 1], 1)]
    )


def test_closest_points_on_uneven_triangles(draws):
    """Against every triangle, one by one; pieces of large faces stand for the whole."""
    vertices, triangles = stretched()
    x = torch.rand(200, 3, generator=draws, dtype=torch.float64) * torch.tensor([1.4, 1.4, 0.6]) - 0.2
    face, weights = Finder(vertices, triangles, candidates=4)(x)
    corners = vertices[triangles]
    found = ((weights[..., None] * corners[face]).sum(1) - x).norm(dim=1)
    every = closest_on_triangles(x[:, None], *corners[None].expand(200, -1, -1, -1).unbind(2))
    truth = ((every[..., None] * corners).sum(2) - x[:, None]).norm(dim=-1).amin(1)
    assert torch.allclose(found, truth, atol=1e-12)


def test_pieces_cover_their_faces_and_are_small():
    vertices, triangles = stretched()
    corners = vertices[triangles]
    centres, origin = pieces(corners, 0.02)
    assert sorted(set(origin.tolist())) == list(range(len(triangles)))
    bary = closest_on_triangles(centres, *corners[origin].unbind(1))
    assert torch.allclose((bary[..., None] * corners[origin]).sum(1), centres, atol=1e-12)
    # Every point of a face is within the radius of the centre of one of its pieces.
    share = torch.distributions.Dirichlet(torch.ones(3, dtype=torch.float64)).sample((40,))
    for face in range(0, len(triangles), 17):
        points = share @ corners[face]
        nearest = torch.cdist(points, centres[origin == face]).amin(1)
        assert float(nearest.max()) <= 0.02 + 1e-12


def test_points_just_projected_are_not_searched_again(ball, draws, monkeypatch):
    x = ball.project(torch.randn(20, 3, generator=draws))
    before = ball.locate(x.clone())
    searches = []
    monkeypatch.setattr(ball, "_finder", lambda p: searches.append(len(p)) or before)
    ball.locate(x)
    assert searches == []
    x += 0.1  # changed in place, so no longer the points that were found
    ball.locate(x)
    assert searches == [20]


def test_the_premetric_path_on_an_uneven_mesh(draws):
    vertices, triangles = stretched()
    space = MeshSurface(vertices=vertices, triangles=triangles, count=60)
    x0, x1 = (space.random((64, 3), Draw(draws)) for _ in "ab")
    end = PremetricPath(space, steps=40).sample(x0, x1, torch.ones(64)).x_t
    space.require(end)
    left = space.distance(end, x1) / space.distance(x0, x1)
    assert float(left.median()) < 0.05


def test_premetric_needs_a_premetric():
    with pytest.raises(IncompatibleError, match="use path: geodesic"):
        PremetricPath(Sphere(2))
    with pytest.raises(IncompatibleError, match="geometry: mesh"):
        MeshEigenfunction(Sphere(2))


def test_eigenfunction_data_lie_where_it_is_positive(ball):
    data = MeshEigenfunction(ball, index=1, n=500)
    x = data.all().x
    ball.require(x)
    assert float(data.density(x).min()) > 0
    # The first eigenfunction is a coordinate in some direction: draws fill one half of the sphere.
    mean = x.mean(0) / x.mean(0).norm()
    assert float((x @ mean).min()) > -0.15  # the direction is that of 500 draws
    assert not torch.equal(data.split("test").all().x, x)
