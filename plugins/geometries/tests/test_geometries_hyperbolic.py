"""Hyperbolic spaces far out and rotations near half turns, against arithmetic with 60 digits."""

import math

import pytest
import torch

import flowloom as fl
from flowloom.draw import Draw
from flowloom.solvers import Euler
from flowloom.spec import Spec
from flowloom_geometries.spaces import SO3, Lorentz, PoincareBall
from flowloom_geometries.spaces.so3 import hat

mp = pytest.importorskip("mpmath")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
RADII = {torch.float32: (0.1, 1, 3, 5, 7), torch.float64: (0.1, 1, 3, 5, 7, 10, 12)}
SEPARATIONS = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1)
MODELS = pytest.mark.parametrize("space", [Lorentz(2), PoincareBall(2)], ids=["lorentz", "ball"])
SPACES = [(Lorentz(2), (3,)), (Lorentz(3, 0.5), (2, 4)), (PoincareBall(2), (2,)), (SO3(), (3, 3))]


# -- the reference: the hyperboloid at c = 1, in mpmath ----------------------------------------------------


@pytest.fixture(autouse=True)
def digits():
    with mp.workdps(60):
        yield


def exact(space, row):
    """The point of the hyperboloid that the floats of ``row`` mean."""
    if isinstance(space, Lorentz):
        s = [mp.mpf(float(v)) for v in row[1:]]
        return [mp.sqrt(1 + mp.fsum(v * v for v in s)), *s]
    z = [mp.mpf(float(v)) for v in row]
    n = mp.fsum(v * v for v in z)
    return [(1 + n) / (1 - n), *(2 * v / (1 - n) for v in z)]


def tangent(row, v):
    """The tangent vector of the hyperboloid with the space part of ``v``."""
    x, s = exact(Lorentz(2), row), [mp.mpf(float(a)) for a in v[1:]]
    return [mp.fsum(a * b for a, b in zip(x[1:], s, strict=True)) / x[0], *s]


def pulled(space, x, v):
    """The tangent vector ``v`` of the hyperboloid at ``x`` in the coordinates of ``space``."""
    if isinstance(space, Lorentz):
        return v
    return [b / (1 + x[0]) - a * v[0] / (1 + x[0]) ** 2 for a, b in zip(x[1:], v[1:], strict=True)]


def product(u, v):
    return mp.fsum(a * b for a, b in zip(u[1:], v[1:], strict=True)) - u[0] * v[0]


def length(v):
    return mp.sqrt(max(product(v, v), mp.mpf(0)))


def apart(x, y):
    return 2 * mp.asinh(length([b - a for a, b in zip(x, y, strict=True)]) / 2)


def between(x, y, t):
    d, t = apart(x, y), mp.mpf(float(t))
    weights = mp.sinh((1 - t) * d) / mp.sinh(d), mp.sinh(t * d) / mp.sinh(d)
    rates = -d * mp.cosh((1 - t) * d) / mp.sinh(d), d * mp.cosh(t * d) / mp.sinh(d)
    return ([w[0] * a + w[1] * b for a, b in zip(x, y, strict=True)] for w in (weights, rates))


# -- pairs of points ---------------------------------------------------------------------------------------


def at(space, r, angle, dtype):
    """The points at distance ``r`` from the origin in direction ``angle``."""
    r, angle = (torch.as_tensor(v, dtype=torch.float64) for v in (r, angle))
    direction = torch.stack(torch.broadcast_tensors(angle.cos(), angle.sin()), -1)
    if isinstance(space, PoincareBall):
        return ((r / 2).tanh()[..., None] * direction).to(dtype)
    there = (r.sinh()[..., None] * direction).to(dtype)
    return torch.cat([(1 + there.square().sum(-1, keepdim=True)).sqrt(), there], -1)


def wide(space, r, dtype, rows=6):
    """Pairs at one distance from the origin: opposite, 2 rad and 0.5 rad apart, one of them halfway out."""
    start = torch.linspace(0.1, 6.0, rows, dtype=torch.float64)
    turn = torch.tensor([math.pi, 2.0, 0.5], dtype=torch.float64).repeat(rows)[:rows]
    inner = torch.tensor([1.0, 1.0, 1.0, 0.5, 0.5, 0.5], dtype=torch.float64)[:rows]
    return at(space, torch.full_like(start, r), start, dtype), at(space, r * inner, start + turn, dtype)


def close(space, r, dtype):
    """Pairs at the distances of SEPARATIONS, along the ray from the origin and across it."""
    step = torch.tensor(SEPARATIONS, dtype=torch.float64)
    r, angle = torch.full_like(step, r), torch.arange(5, dtype=torch.float64)
    x = at(space, r, angle, dtype)
    along, across = at(space, r + step, angle, dtype), at(space, r, angle + step / r.sinh(), dtype)
    return torch.cat([x, x]), torch.cat([along, across])


@DTYPES
@MODELS
def test_geodesics_between_far_points(space, dtype):
    """Points within the rounding of a point, and velocities to the same share, at both ends and between."""
    for r in RADII[dtype]:
        allowed = 4 * torch.finfo(dtype).eps * math.exp(r)
        for x, y in (wide(space, r, dtype), close(space, r, dtype)):
            for t in (0.0, 0.3, 0.5, 0.9, 1.0):
                point, velocity = space.geodesic(x, y, torch.full((len(x),), t, dtype=dtype))
                speed = space.norm(point, velocity)
                for i in range(len(x)):
                    a, b = exact(space, x[i]), exact(space, y[i])
                    d = apart(a, b)
                    if d == 0:  # rounded to one point
                        continue
                    wanted, rate = between(a, b, t)
                    assert apart(exact(space, point[i]), wanted) < allowed, (r, t, i)
                    assert abs(float(speed[i]) / d - 1) < allowed, (r, t, i)
                    found, rate = velocity[i].tolist()[-2:], pulled(space, wanted, rate)[-2:]
                    off = mp.norm([p - q for p, q in zip(found, rate, strict=True)])
                    assert off < 2 * allowed * mp.norm(rate), (r, t, i)


@DTYPES
def test_distances_and_norms_on_the_hyperboloid(dtype):
    """Relative errors; the Minkowski product of float coordinates has none of these digits."""
    space = Lorentz(2)
    eps = torch.finfo(dtype).eps
    for r in RADII[dtype]:
        x, y = wide(space, r, dtype)
        d, v = space.distance(x, y), space.log(x, y)
        u = space.log(x, y.roll(1, 0))
        norm, inner = space.norm(x, v), space.inner(x, u, v)
        for i in range(len(x)):
            a, b = exact(space, x[i]), exact(space, y[i])
            assert abs(float(d[i]) / apart(a, b) - 1) < 16 * eps, (r, i)
            one, two = tangent(x[i], u[i]), tangent(x[i], v[i])
            assert abs(float(norm[i]) / length(two) - 1) < 16 * eps, (r, i)
            assert abs(float(norm[i]) / apart(a, b) - 1) < 32 * eps, (r, i)
            off = abs(float(inner[i]) - product(one, two))
            assert off < 16 * eps * math.exp(r) * length(one) * length(two), (r, i)
        x, y = close(space, r, dtype)
        d = space.distance(x, y)
        for i in range(len(x)):
            true = apart(exact(space, x[i]), exact(space, y[i]))
            assert abs(float(d[i]) - true) <= 4 * eps * (1 + math.exp(r)) * true, (r, i)


@DTYPES
@MODELS
def test_exp_inverts_log_far_out(space, dtype):
    """Up to the rounding of the tangent, which the way to y multiplies."""
    eps = torch.finfo(dtype).eps
    for r in RADII[dtype]:
        x, y = wide(space, r, dtype)
        reached = space.exp(x, space.log(x, y))
        for i in range(len(x)):
            a, b = exact(space, x[i]), exact(space, y[i])
            d = float(apart(a, b))
            known = 8 * eps * math.exp(d) if isinstance(space, PoincareBall) else eps * math.exp(r + d)
            if known < 0.3:
                assert apart(exact(space, reached[i]), b) < known + 2 * eps * math.exp(r), (r, i)


@DTYPES
def test_random_points_of_a_curved_hyperboloid_round_trip(dtype, draws):
    space = Lorentz(3, 2.0)
    x, y = space.random((2, 1000, 4), Draw(draws, dtype=dtype))
    reached = space.exp(x, space.log(x, y))
    d, r = space.distance(x, y), space.distance(x, space.origin(x))
    known = 4 * torch.finfo(dtype).eps * (1 + (2**0.5 * (r + d)).exp())
    assert bool((space.distance(reached, y) < known).all())
    assert torch.allclose(space.norm(x, space.log(x, y)), d, rtol=32 * torch.finfo(dtype).eps)


@DTYPES
def test_a_step_to_the_light_cone_does_not_run_off(dtype):
    """Ambient steps of length h move artanh(h), infinite at 1: project bounds them."""

    class Boost(torch.nn.Module):
        def __init__(self, speed):
            super().__init__()
            self.speed = speed

        def forward(self, x, t):
            return self.speed * torch.stack([x[:, 1], x[:, 0], 0 * x[:, 2]], 1)

    space, start = Lorentz(2), torch.tensor([[1.0, 0, 0]], dtype=dtype)
    for step in (0.9, 0.99, 0.999, 1.0, 1.1, 1.5):
        flow = fl.Flow(Boost(6 * step), spec=Spec(shape=(3,)), geometry=space, source=fl.sources.Gaussian())
        reached = Euler(6).solve(flow.field(), start).x
        assert float(reached[0, 1].asinh()) < 1.55 * 6 * step, step
    # No jump where the ambient point leaves the cone.
    beside = torch.tensor([[1.0, 1 - 1e-4, 0], [1.0, 1.0, 0], [1.0, 1 + 1e-4, 0]], dtype=dtype)
    assert float(space.project(beside)[:, 1].diff().abs().max()) < 1e-3


@DTYPES
def test_the_distance_of_rotations_up_to_half_turns(dtype, draws):
    """Value and slope; at the half turn itself the distance has a ridge, and its slope must be finite."""
    space, eps = SO3(), torch.finfo(dtype).eps
    axis = torch.randn(200, 3, generator=draws, dtype=torch.float64)
    axis = axis / axis.norm(dim=1, keepdim=True)
    x = space.random((200, 3, 3), Draw(draws, dtype=torch.float64))
    for gap in (0.0, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 3.0):
        turn = torch.linalg.matrix_exp(hat((math.pi - gap) * axis))
        y, z = (x @ turn).to(dtype), x.to(dtype).clone().requires_grad_()
        d = space.distance(z, y)
        assert float((d.detach().double() - (math.pi - gap)).abs().max()) < 12 * eps, gap
        (slope,) = torch.autograd.grad(d.sum(), z)
        assert bool(slope.isfinite().all()), gap
        if gap > 100 * eps:
            # The gradient in the metric tr(u^T v)/2 is twice the ambient one, and points away from y.
            gradient = 2 * space.to_tangent(x.to(dtype), slope)
            away = -(x @ hat(axis)).to(dtype)
            off = float(space.norm(x.to(dtype), gradient - away).max())
            assert off < 30 * eps * (1 + 1 / gap + 1 / (math.pi - gap)), gap


@DTYPES
@pytest.mark.parametrize(("space", "shape"), SPACES, ids=lambda v: str(v).replace(" ", ""))
def test_derivatives_are_finite_where_points_coincide(space, shape, dtype, draws):
    """Backwards, forwards and under vmap, of all operations, at one point and at points ever closer."""
    x = space.random((5, *shape), Draw(draws, dtype=dtype))
    unit = space.to_tangent(x, torch.randn(x.shape, generator=draws, dtype=dtype))
    t = torch.tensor([0.0, 0.3, 0.5, 0.9, 1.0], dtype=dtype)
    operations = {
        "distance": space.distance,
        "log": space.log,
        "exp": lambda a, b: space.exp(a, space.to_tangent(a, b - a)),
        "geodesic": lambda a, b: space.geodesic(a, b, t)[0],
        "velocity": lambda a, b: space.geodesic(a, b, t)[1],
        "norm": lambda a, b: space.norm(a, b - a),
        "norm of log": lambda a, b: space.norm(a, space.log(a, b)),
    }
    for step in (0.0, 1e-30, 1e-12, 1e-8, 1e-5, 1e-2):
        y = space.exp(x, step * unit) if step else x.clone()
        for name, fn in operations.items():
            value, pull = torch.func.vjp(fn, x, y)
            slopes = pull(torch.ones_like(value))
            rates = torch.func.jvp(fn, (x, y), (unit, -unit))
            several = torch.func.vmap(fn)(torch.stack([x, y]), torch.stack([y, y]))
            for result in (value, *slopes, *rates, several):
                assert bool(result.isfinite().all()), (name, step)


@MODELS
def test_gradients_in_float32(space, draws):
    """Against float64 at the same points, from coincident to far apart."""
    n = 200
    x = space.random((n, 3 if isinstance(space, Lorentz) else 2), Draw(draws))
    v = space.to_tangent(x, torch.randn(x.shape, generator=draws))
    v = v / space.norm(x, v)[:, None]
    pairs = [(x, space.exp(x, s * v)) for s in (0.0, *SEPARATIONS)]
    pairs += [wide(space, r, torch.float32) for r in (2.0, 5.0)]
    for case, (x, y) in enumerate(pairs):
        weight = torch.randn(x.shape, generator=draws)
        found = []
        for dtype in (torch.float32, torch.float64):
            a, b = (z.to(dtype).clone().requires_grad_() for z in (x, y))
            point, velocity = space.geodesic(a, b, torch.linspace(0, 1, len(x), dtype=dtype))
            total = (weight.to(dtype) * (point + velocity)).sum()
            found.append(torch.cat(torch.autograd.grad(total, (a, b)), 1))
        single, double = found
        assert bool(((single - double).norm(dim=1) < 2e-5 * double.norm(dim=1)).all()), case
