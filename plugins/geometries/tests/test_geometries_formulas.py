"""Closed forms against formulas found elsewhere: matrix functions, other models, geoopt, quadrature."""

import math

import geoopt
import pytest
import torch
from scipy import linalg

from flowloom.divergence import exact_divergence
from flowloom.draw import Draw
from flowloom.errors import DataError, IncompatibleError
from flowloom_geometries.sources import WrappedNormal
from flowloom_geometries.spaces import SO3, SPD, LogEuclideanSPD, Lorentz, PoincareBall, Polytope, Simplex
from flowloom_geometries.spaces.polar import polar_factor
from flowloom_geometries.spaces.so3 import from_quaternion, hat, rotation_vector, vee
from flowloom_geometries.spaces.spectral_function import symmetric_function

DOUBLE = torch.float64


def test_rotations_are_matrix_exponentials(draws):
    w = torch.randn(20, 3, generator=draws, dtype=DOUBLE)
    space, eye = SO3(), torch.eye(3, dtype=DOUBLE).expand(20, 3, 3)
    assert torch.allclose(space.exp(eye, hat(w)), torch.linalg.matrix_exp(hat(w)))
    x, y = space.random((2, 20, 3, 3), Draw(draws, dtype=DOUBLE))
    logs = torch.stack(
        [torch.from_numpy(linalg.logm((a.T @ b).numpy()).real) for a, b in zip(x, y, strict=True)]
    )
    assert torch.allclose(x.mT @ space.log(x, y), logs, atol=1e-9)
    angle = torch.acos(((x * y).sum((1, 2)) - 1) / 2)
    assert torch.allclose(space.distance(x, y), angle)
    assert torch.allclose(vee(hat(w)), w)


@pytest.mark.parametrize("gap", [0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.3])
def test_rotations_near_a_half_turn_in_float32(gap, draws):
    """The axis survives where the skew part is rounding, and gradients stay finite."""
    axis = torch.randn(200, 3, generator=draws, dtype=DOUBLE)
    axis = axis / axis.norm(dim=1, keepdim=True)
    space = SO3()
    x = space.random((200, 3, 3), Draw(draws))
    y = space.project((x.double() @ torch.linalg.matrix_exp(hat((math.pi - gap) * axis))).float())
    x.requires_grad_()
    v = space.log(x, y)
    assert float(space.distance(space.exp(x, v), y).detach().max()) < 2e-3
    assert torch.allclose(space.norm(x, v), torch.full((200,), math.pi - gap), atol=2e-3)
    (slope,) = torch.autograd.grad(v.square().sum(), x)
    assert bool(slope.isfinite().all())


def test_small_rotations_keep_relative_accuracy_in_float32(draws):
    space = SO3()
    x = space.random((100, 3, 3), Draw(draws))
    for size in (1e-2, 1e-4):
        w = torch.randn(100, 3, generator=draws)
        w = size * w / w.norm(dim=1, keepdim=True)
        y = space.exp(x, x @ hat(w))
        # The entries of y are rounded to 6e-8, so that is what can be known of w.
        assert float((rotation_vector(x, y) - w).norm(dim=1).max()) < 1e-6


def test_the_volume_of_rotations_by_their_angle_density(draws):
    """Haar measure has the angle density (1 - cos a) / pi."""
    x = SO3().random((20_000, 3, 3), Draw(draws, dtype=DOUBLE))
    angle = SO3().distance(x, torch.eye(3, dtype=DOUBLE).expand_as(x))
    a = torch.linspace(0.1, math.pi, 30, dtype=DOUBLE)
    empirical = (angle[:, None] <= a).double().mean(0)
    assert float((empirical - (a - a.sin()) / math.pi).abs().max()) < 0.015
    # A ball of radius r has the volume of the flat one to leading order: 4 pi r^3 / 3 over 8 pi^2.
    r = 0.5
    share = (r - math.sin(r)) / math.pi
    assert share == pytest.approx(4 * math.pi * r**3 / 3 / math.exp(SO3().log_volume()), rel=0.02)


def test_the_polar_factor_has_its_derivatives(draws):
    square = torch.randn(4, 3, 3, generator=draws, dtype=DOUBLE, requires_grad=True)
    tall = torch.randn(3, 5, 2, generator=draws, dtype=DOUBLE, requires_grad=True)
    on = SO3().random((3, 3, 3), Draw(draws, dtype=DOUBLE)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: polar_factor(z, True), (square,))
    assert torch.autograd.gradcheck(lambda z: polar_factor(z, True), (on,))
    assert torch.autograd.gradcheck(polar_factor, (tall,))
    direction = torch.randn(3, 5, 2, generator=draws, dtype=DOUBLE)
    tall = tall.detach()
    _, slope = torch.func.jvp(polar_factor, (tall,), (direction,))
    h = 1e-6
    difference = (polar_factor(tall + h * direction) - polar_factor(tall - h * direction)) / (2 * h)
    assert torch.allclose(slope, difference, atol=1e-8)


def test_quaternions_double_cover_rotations(draws):
    q = torch.randn(10, 4, generator=draws, dtype=DOUBLE)
    q = q / q.norm(dim=1, keepdim=True)
    x = from_quaternion(q)
    SO3().require(x)
    assert torch.allclose(x, from_quaternion(-q))
    assert torch.allclose(
        2 * torch.acos(q[:, 0].abs()), SO3().distance(x, torch.eye(3).expand_as(x).double())
    )


@pytest.mark.parametrize("curvature", [0.3, 1.0, 2.5])
def test_ball_and_hyperboloid_are_isometric(curvature, draws):
    ball, sheet = PoincareBall(3, curvature), Lorentz(3, curvature)
    x, y = ball.random((2, 40, 3), Draw(draws, dtype=DOUBLE))
    a, b = ball.to_lorentz(x), ball.to_lorentz(y)
    sheet.require(a)
    assert torch.allclose(ball.from_lorentz(a), x)
    assert torch.allclose(ball.distance(x, y), sheet.distance(a, b))
    t = torch.rand(40, generator=draws, dtype=DOUBLE)
    middle, velocity = ball.geodesic(x, y, t)
    other, pace = sheet.geodesic(a, b, t)
    assert torch.allclose(ball.to_lorentz(middle), other)
    _, pushed = torch.func.jvp(ball.to_lorentz, (middle,), (velocity,))
    assert torch.allclose(pushed, pace, atol=1e-9)


def test_hyperbolic_space_against_geoopt(draws):
    ball, theirs = PoincareBall(2), geoopt.PoincareBall().double()
    x, y = ball.random((2, 50, 2), Draw(draws, dtype=DOUBLE))
    v = torch.randn(50, 2, generator=draws, dtype=DOUBLE)
    assert torch.allclose(ball.exp(x, 0.1 * v), theirs.expmap(x, 0.1 * v))
    assert torch.allclose(ball.log(x, y), theirs.logmap(x, y), atol=1e-8)
    assert torch.allclose(ball.distance(x, y), theirs.dist(x, y))
    # Without keepdim, geoopt 0.5 broadcasts this one to (batch, batch).
    assert torch.allclose(ball.inner(x, v, v), theirs.inner(x, v, v, keepdim=True).squeeze(-1))


def test_the_balls_geodesic_solves_the_geodesic_equation(draws):
    """For a metric L^2 |dx|^2: x'' + 2 <grad log L, x'> x' - |x'|^2 grad log L = 0."""
    ball = PoincareBall(2)
    x, y = 0.5 * ball.random((2, 20, 2), Draw(draws, dtype=DOUBLE))
    h, t = 1e-4, 0.4
    before, here, after = (ball.geodesic(x, y, torch.full((20,), s, dtype=DOUBLE)) for s in (t - h, t, t + h))
    point, velocity = here
    acceleration = (after[1] - before[1]) / (2 * h)
    slope = 2 * point / (1 - point.square().sum(1, keepdim=True))
    along, squared = (slope * velocity).sum(1, keepdim=True), velocity.square().sum(1, keepdim=True)
    assert torch.allclose(acceleration, squared * slope - 2 * along * velocity, atol=1e-5)


def test_fisher_rao_distance_is_that_of_the_sphere_of_radius_two(draws):
    space = Simplex(4)
    p, q = space.random((2, 30, 4), Draw(draws, dtype=DOUBLE))
    assert torch.allclose(space.distance(p, q), 2 * torch.acos((p * q).sqrt().sum(1)))
    # Locally it is the chi-square distance: sum (dp)^2 / p.
    dp = 1e-5 * space.to_tangent(p, torch.randn(30, 4, generator=draws, dtype=DOUBLE) * p)
    local = (dp.square() / p).sum(1).sqrt()
    assert torch.allclose(space.distance(p, p + dp), local, rtol=1e-3)
    vertex = torch.tensor([[1.0, 0, 0, 0]]).expand(30, 4).double()
    middle, velocity = space.geodesic(p, vertex, torch.ones(30, dtype=DOUBLE))
    assert torch.allclose(middle, vertex, atol=1e-12)
    assert bool(velocity.isfinite().all())


def test_the_volume_of_the_simplex_by_quadrature():
    """k = 2: the segment has the length of a quarter circle of radius 2."""
    assert math.exp(Simplex(2).log_volume()) == pytest.approx(math.pi)
    # k = 3: integrate the density over the flat triangle, of area sqrt(3) / 2.
    n = 400
    u = (torch.arange(n, dtype=DOUBLE) + 0.5) / n
    # sin^2 substitutions remove the singularity of 1 / sqrt(p) at the edges.
    a, b = torch.meshgrid(u * math.pi / 2, u * math.pi / 2, indexing="ij")
    p1 = a.sin().square()
    p2 = a.cos().square() * b.sin().square()
    p = torch.stack([p1, p2, 1 - p1 - p2], -1).reshape(-1, 3)
    jacobian = (2 * a.sin() * a.cos()) * (a.cos().square() * 2 * b.sin() * b.cos())
    # d(p1, p2) to area in the plane: sqrt(3)
    weight = math.sqrt(3) * jacobian.flatten() * (math.pi / 2 / n) ** 2
    volume = float((Simplex(3).log_sqrt_det(p).exp() * weight).sum())
    assert volume == pytest.approx(math.exp(Simplex(3).log_volume()), rel=1e-3)


def test_affine_invariant_closed_forms(draws):
    space = SPD(3)
    x, y = space.random((2, 10, 3, 3), Draw(draws, dtype=DOUBLE))
    expected = torch.stack(
        [
            torch.from_numpy(linalg.eigvalsh(b.numpy(), a.numpy())).log().norm()
            for a, b in zip(x, y, strict=True)
        ]
    )
    assert torch.allclose(space.distance(x, y), expected)
    a = torch.randn(10, 3, 3, generator=draws, dtype=DOUBLE)
    moved = a @ x @ a.mT, a @ y @ a.mT
    assert torch.allclose(space.distance(*moved), space.distance(x, y))
    log = torch.stack(
        [
            torch.from_numpy((linalg.logm(b.numpy() @ linalg.inv(a.numpy())) @ a.numpy()).real)
            for a, b in zip(x, y, strict=True)
        ]
    )
    assert torch.allclose(space.log(x, y), log, atol=1e-8)


def test_log_euclidean_is_flat_and_agrees_on_commuting_matrices(draws):
    flat, curved = LogEuclideanSPD(3), SPD(3)
    d = torch.rand(2, 8, 3, generator=draws, dtype=DOUBLE) + 0.2
    x, y = d.diag_embed()
    assert torch.allclose(flat.distance(x, y), curved.distance(x, y))
    x, y = flat.random((2, 8, 3, 3), Draw(draws, dtype=DOUBLE))
    logs = [torch.stack([torch.from_numpy(linalg.logm(m.numpy()).real) for m in z]) for z in (x, y)]
    assert torch.allclose(flat.distance(x, y), (logs[0] - logs[1]).flatten(1).norm(dim=1))
    middle, _ = flat.geodesic(x, y, torch.full((8,), 0.3, dtype=DOUBLE))
    assert torch.allclose(middle, torch.linalg.matrix_exp(0.7 * logs[0] + 0.3 * logs[1]))


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "rsqrt"])
def test_matrix_functions_differentiate_through_repeated_eigenvalues(name, draws):
    q = polar_factor(torch.randn(3, 3, generator=draws, dtype=DOUBLE))
    for values in ([1.0, 1.0, 2.0], [0.7, 0.7, 0.7], [0.5, 0.5 + 1e-9, 3.0]):
        x = (q * torch.tensor(values, dtype=DOUBLE)) @ q.mT
        direction = torch.randn(3, 3, generator=draws, dtype=DOUBLE)
        direction = direction + direction.mT
        _, slope = torch.func.jvp(lambda z: symmetric_function(z, name), (x,), (direction,))
        h = 1e-5
        above, below = (symmetric_function(x + s * direction, name) for s in (h, -h))
        assert torch.allclose(slope, (above - below) / (2 * h), atol=1e-7)
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(symmetric_function(leaf, name).square().sum(), leaf)
        assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("space", [SPD(2), LogEuclideanSPD(2)], ids=str)
def test_volume_density_of_positive_matrices_is_the_root_of_the_gram_determinant(space, draws):
    x = space.random((6, 2, 2), Draw(draws, dtype=DOUBLE))
    r = math.sqrt(0.5)
    basis = torch.tensor([[[1.0, 0], [0, 0]], [[0, 0], [0, 1]], [[0, r], [r, 0]]], dtype=DOUBLE)
    gram = torch.stack(
        [torch.stack([space.inner(x, u.expand_as(x), v.expand_as(x)) for u in basis]) for v in basis]
    )
    assert torch.allclose(space.log_sqrt_det(x), 0.5 * torch.logdet(gram.permute(2, 0, 1)), atol=1e-8)


def test_wrapped_normal_integrates_to_one_on_the_hyperbolic_plane():
    ball = PoincareBall(2)
    for std in (0.5, 1.0):
        source = WrappedNormal(ball, std)
        n = 400
        radius = (torch.arange(n, dtype=DOUBLE) + 0.5) / n * 0.9999
        x = torch.stack([radius, torch.zeros(n, dtype=DOUBLE)], 1)
        density = (source.log_prob(x) + ball.log_sqrt_det(x)).exp()
        total = float((density * 2 * math.pi * radius).sum() * 0.9999 / n)
        assert total == pytest.approx(1, abs=5e-3)
        sheet = WrappedNormal(Lorentz(2), std)
        assert torch.allclose(sheet.log_prob(ball.to_lorentz(x)), source.log_prob(x), atol=1e-6)


def test_wrapped_normal_draws_have_the_right_radius(draws):
    for space, shape in ((PoincareBall(3), (4000, 3)), (Lorentz(3), (4000, 4))):
        source = WrappedNormal(space, 0.5)
        x = source.sample(shape, Draw(draws, dtype=DOUBLE))
        radius = space.distance(source._origin(x), x)
        assert float(radius.square().mean()) == pytest.approx(3 * 0.25, rel=0.06)
    with pytest.raises(IncompatibleError, match="wrapped-normal needs"):
        WrappedNormal(SO3())


def test_divergence_of_left_invariant_fields_on_rotations_vanishes(draws):
    """x hat(w) is a Killing field; x hat(A vee(x)) is not, and reverse and forward mode agree on it."""
    space = SO3()
    x = space.random((5, 3, 3), Draw(draws, dtype=DOUBLE))
    w = torch.randn(3, generator=draws, dtype=DOUBLE)

    def killing(z):
        p = space.project(z)
        return p @ hat(w)

    with torch.no_grad():
        assert float(exact_divergence(killing, x)[1].abs().max()) < 1e-10
    m = torch.randn(3, 3, generator=draws, dtype=DOUBLE)

    def gradient(z):
        # grad of tr(m^T x): its divergence is the Laplacian, -2 tr(m^T x) for linear functions on SO(3).
        p = space.project(z)
        return 2 * space.to_tangent(p, m.expand_as(p))

    with torch.no_grad():
        laplacian = exact_divergence(gradient, x)[1]
    assert torch.allclose(laplacian, -2 * (m * x).sum((1, 2)), atol=1e-9)
    assert torch.allclose(exact_divergence(gradient, x, forward=True)[1], laplacian)


def test_polytopes(draws):
    cube = Polytope([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], [1] * 6)
    assert math.exp(cube.log_volume()) == pytest.approx(8)
    x = cube.random((5000, 3), Draw(draws))
    cube.require(x)
    assert float(x.square().mean()) == pytest.approx(1 / 3, rel=0.05)
    out = torch.tensor([[2.0, 0.0, 3.0], [0.1, 0.2, 0.3]])
    assert torch.allclose(cube.project(out), torch.tensor([[1.0, 0.0, 1.0], [0.1, 0.2, 0.3]]))
    triangle = Polytope([[-1, 0], [0, -1], [1, 1]], [0, 0, 1])
    assert torch.allclose(triangle.project(torch.tensor([[1.0, 1.0]])), torch.tensor([[0.5, 0.5]]), atol=1e-6)
    assert torch.allclose(
        triangle.project(torch.tensor([[3.0, -1.0]])), torch.tensor([[1.0, 0.0]]), atol=1e-6
    )
    with pytest.raises(DataError, match="empty"):
        Polytope([[1.0], [-1.0]], [-1, -1])
    with pytest.raises(DataError, match="unbounded"):
        Polytope([[-1, 0], [0, -1]], [0, 0])
    with pytest.raises(DataError, match="one offset a row"):
        Polytope([[1, 0]], [0, 0])
