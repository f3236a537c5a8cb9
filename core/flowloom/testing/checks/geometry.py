"""Laws of geometries."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, OffManifoldError, ShapeError
from flowloom.fields import Field
from flowloom.geometry import Geometry, Product
from flowloom.likelihood import divergence_of
from flowloom.solvers import RK4
from flowloom.state import batch_size, first_leaf, leaves, map_state, shape_of, take
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom.testing.states import (
    all_finite,
    draw_points,
    event_shape,
    gap,
    minus,
    noise_like,
    rows_max,
    scaled,
)

FLOATS = (torch.float64, torch.float32)


def _continuous(geometry: Geometry) -> bool:
    return geometry.continuous


def _has_geodesics(geometry: Geometry) -> bool:
    return geometry.continuous and geometry.geodesic_distance


def _plain(geometry: Geometry) -> bool:
    return geometry.continuous and not isinstance(geometry, Product)


def _bounded(geometry: Geometry) -> bool:
    if isinstance(geometry, Product):
        return False
    try:
        return math.isfinite(geometry.log_volume())
    except NotImplementedError:
        return False


def _point_shape(geometry: Geometry, context: Context) -> tuple[int, ...]:
    """Shape of a single point, without the power that the shape of an example may hold."""
    shape = event_shape(geometry, context)
    assert not isinstance(shape, dict)
    return shape[len(shape) - geometry.point_ndim :] if geometry.point_ndim else ()


def _relative(dtype: torch.dtype) -> float:
    return 1e-7 if dtype == torch.float64 else 1e-3


def _rounding(geometry: Geometry, x: Any, dtype: torch.dtype) -> Tensor:
    """Riemannian length of a few units in the last place of the coordinates, ``(batch,)``."""
    size = torch.finfo(dtype).eps * (1 + rows_max(x))
    step = map_state(lambda v: torch.ones_like(v, dtype=torch.float64), x)
    return 64 * geometry.norm(map_state(Tensor.double, x), scaled(step, size)).double()


def _pairs(geometry: Geometry, context: Context, dtype: torch.dtype, n: int = 16) -> tuple[Any, Any, Any]:
    """Two sets of random points and the tangents from one to the other."""
    x = draw_points(geometry, context, n, 1, dtype)
    y = draw_points(geometry, context, n, 2, dtype)
    return x, y, geometry.log(x, y)


def _tangents(geometry: Geometry, x: Any, context: Context, stream: int = 3) -> Any:
    return geometry.to_tangent(x, noise_like(x, context.generator(stream)))


def _unit(geometry: Geometry, x: Any, v: Any) -> Any:
    norm = geometry.norm(x, v)
    return scaled(v, 1 / torch.where(norm > 0, norm, 1))


def _limit(off: Tensor) -> float:
    return 1e-4 if off.dtype == torch.float32 else 1e-8


@law("random points lie on the manifold, in the shape and dtype asked for")
def check_random_is_on_the_manifold(make: Make, context: Context) -> None:
    """``violation(random(...))`` is zero up to rounding."""
    geometry = make()
    try:
        event_shape(geometry, context)
    except NotApplicable as reason:
        # Otherwise every check would be skipped, and a broken geometry would pass.
        context.holds("a point shape can be found", False, str(reason))
    for dtype in FLOATS:
        x = draw_points(geometry, context, 64, 1, dtype)
        context.within(f"random lies on the manifold in {dtype}", geometry.violation(x), 1e-4)
        geometry.require(x)
        for name, leaf in leaves(x):
            if leaf.is_floating_point():
                context.holds("random has the dtype asked for", leaf.dtype == dtype, f"{name} {leaf.dtype}")


@law("random draws are reproduced by their generator, and differ from draw to draw")
def check_random_follows_its_generator(make: Make, context: Context) -> None:
    """All randomness comes from the generator that is handed in."""
    geometry = make()
    context.holds(
        "equal seeds give equal points", gap(*(draw_points(geometry, context, 8, 1) for _ in "ab")) == 0
    )
    generator = context.generator(1)
    sizes = shape_of(draw_points(geometry, context, 8, 1))
    a, b = (geometry.random(sizes, Draw(generator, dtype=torch.float64)) for _ in "ab")
    context.holds("two draws of one generator differ", gap(a, b) > 0)


@law("random is the uniform law where the space has a finite volume", when=_bounded)
def check_random_is_uniform(make: Make, context: Context) -> None:
    """The share of pairs closer than r is the volume of a ball over that of the space.

    Any other law gives more close pairs, because ``E_p p(x) >= 1/V`` with equality for the uniform one.
    """
    geometry = make()
    shape = _point_shape(geometry, context)
    two = geometry.log_uniform((2, *shape)) + 2 * geometry.log_volume()
    context.within("log_uniform of two points + twice log_volume", two, 1e-9)
    if not geometry.continuous:
        x = geometry.random((20_000, *shape), Draw(context.generator(5)))
        half = len(x) // 2
        equal = (x[:half] == x[half:]).double().mean()
        expected = math.exp(-geometry.log_volume())
        noise = math.sqrt(expected * (1 - expected) / (half * max(1, x[0].numel())))
        context.within(
            "tokens coincide as often as under the uniform law", equal - expected, 5 * noise + 1e-3
        )
        return
    dim = geometry.dim
    if not geometry.geodesic_distance:
        raise NotApplicable("balls have the volume of this law only in geodesic distance")
    if dim is None or dim > 4:
        raise NotApplicable("counting close pairs needs an intrinsic dimension of at most 4")
    n, share = 1500, 2e-3
    ball = math.pi ** (dim / 2) / math.gamma(dim / 2 + 1)
    radius = (share * math.exp(geometry.log_volume()) / ball) ** (1 / dim)
    x = geometry.random((n, *shape), Draw(context.generator(5), dtype=torch.float64))
    rows, columns = torch.triu_indices(n, n, 1)
    close = (geometry.distance(x[rows], x[columns]) < radius).double().mean()
    context.within("share of close pairs, relative to that of the uniform law", close / share - 1, 0.2)


@law("project is idempotent, lands on the manifold and keeps its points")
def check_project_is_idempotent(make: Make, context: Context) -> None:
    """Points of the manifold stay; points near it come back."""
    geometry = make()
    for dtype in FLOATS:
        x = draw_points(geometry, context, 32, 1, dtype)
        given = map_state(Tensor.clone, x)
        kept = geometry.project(x)
        context.within("project leaves its argument alone", gap(x, given), 0.0)
        # Where coordinates wrap, equal points may differ by a period, so ask the distance.
        if not geometry.continuous:
            context.within("project keeps points", gap(kept, x), 1e-6)
            continue
        context.within("project keeps points", geometry.distance(kept, x), _rounding(geometry, x, dtype))
        noise = noise_like(x, context.generator(4))
        if geometry.flat:
            # Just below zero a remainder rounds to the full period.
            rounded = geometry.violation(geometry.project(scaled(noise, 1e-9)))
            context.within("project lands on the manifold from beside zero", rounded, _limit(rounded))
        off = map_state(lambda v, e: v + 0.1 * e, x, noise)
        once = geometry.project(off)
        violation = geometry.violation(once)
        context.within("project lands on the manifold", violation, _limit(violation))
        twice = geometry.distance(geometry.project(once), once)
        context.within("project is idempotent", twice, _rounding(geometry, once, dtype))


@law("to_tangent is linear and idempotent", when=_continuous)
def check_to_tangent_is_a_projection(make: Make, context: Context) -> None:
    """``P(a u + b w) = a P u + b P w`` and ``P P u = P u``."""
    geometry = make()
    x = draw_points(geometry, context, 16, 1)
    u, w = noise_like(x, context.generator(2)), noise_like(x, context.generator(3))
    pu, pw = geometry.to_tangent(x, u), geometry.to_tangent(x, w)
    size = 1e-9 * float(1 + rows_max(x).max()) ** 2
    context.within("to_tangent is idempotent", gap(geometry.to_tangent(x, pu), pu), size)
    mixed = geometry.to_tangent(x, map_state(lambda a, b: 2 * a - 3 * b, u, w))
    context.within("to_tangent is linear", gap(mixed, map_state(lambda a, b: 2 * a - 3 * b, pu, pw)), size)


@law("inner is symmetric, bilinear and positive, and norm is its root", when=_continuous)
def check_inner_is_a_metric(make: Make, context: Context) -> None:
    """The Riemannian metric at every point."""
    geometry = make()
    x = draw_points(geometry, context, 16, 1)
    u, w = _tangents(geometry, x, context, 2), _tangents(geometry, x, context, 3)
    uu, ww = geometry.inner(x, u, u), geometry.inner(x, w, w)
    context.holds("inner has one value a row", tuple(uu.shape) == (16,), f"got {tuple(uu.shape)}")
    context.holds("inner is positive", bool((uu > 0).all() and (ww > 0).all()))
    size = 1e-9 * (1 + uu + ww)
    context.within("inner is symmetric", geometry.inner(x, u, w) - geometry.inner(x, w, u), size)
    total = map_state(torch.add, u, w)
    expanded = uu + 2 * geometry.inner(x, u, w) + ww
    context.within("inner is bilinear", geometry.inner(x, total, total) - expanded, size)
    context.within("norm is the root of inner", geometry.norm(x, u).square() - uu, size)


@law("exp of the zero tangent is the point itself", when=_continuous)
def check_exp_of_zero(make: Make, context: Context) -> None:
    """``exp(x, 0) = x``."""
    geometry = make()
    for dtype in FLOATS:
        x = draw_points(geometry, context, 16, 1, dtype)
        moved = geometry.exp(x, map_state(torch.zeros_like, x))
        context.within(
            f"exp(x, 0) = x in {dtype}", geometry.distance(moved, x), _rounding(geometry, x, dtype)
        )


@law("exp lands on the manifold, for long tangents too", when=_continuous)
def check_exp_stays_on_the_manifold(make: Make, context: Context) -> None:
    """``violation(exp(x, v))`` is zero for tangents from 1e-6 to beyond the way to a random point."""
    geometry = make()
    x, _, u = _pairs(geometry, context, torch.float64)
    for factor in (1e-6, 0.5, 1.0) if geometry.convex else (1e-6, 0.5, 1.0, 1.7):
        off = geometry.violation(geometry.exp(x, scaled(u, factor)))
        context.within(f"exp(x, {factor} u) lies on the manifold", off, 1e-8)


@law("exp inverts log", when=_continuous)
def check_exp_inverts_log(make: Make, context: Context) -> None:
    """``exp(x, log(x, y)) = y`` for random pairs and for neighbours, in float32 and float64."""
    geometry = make()
    for dtype in FLOATS:
        x, y, u = _pairs(geometry, context, dtype)
        ends = [y, *(geometry.exp(x, scaled(u, f)) for f in (1e-6, 1e-3, 0.1))]
        for end in ends:
            v = geometry.log(x, end)
            allowed = _rounding(geometry, end, dtype) + _relative(dtype) * geometry.norm(x, v).double()
            off = geometry.distance(geometry.exp(x, v), end)
            context.within(f"exp(x, log(x, y)) = y in {dtype}", off, allowed)


@law("log inverts exp within the injectivity radius, with full accuracy near zero", when=_continuous)
def check_log_inverts_exp(make: Make, context: Context) -> None:
    """``log(x, exp(x, v)) = v`` for lengths 1e-6, 1e-3, 0.1, and 0.9 of the way to random points."""
    geometry = make()
    for dtype in FLOATS:
        x, _, u = _pairs(geometry, context, dtype)
        length = geometry.norm(x, u)
        unit = _unit(geometry, x, u)
        wanted = [
            scaled(u, 0.9),
            *(scaled(unit, torch.minimum(length, torch.full_like(length, s))) for s in (1e-6, 1e-3, 0.1)),
        ]
        for v in wanted:
            back = geometry.log(x, geometry.exp(x, v))
            allowed = _rounding(geometry, x, dtype) + _relative(dtype) * geometry.norm(x, v).double()
            off = geometry.norm(x, minus(back, v))
            context.within(f"log(x, exp(x, v)) = v in {dtype}", off, allowed)


@law("log gives tangent vectors", when=_continuous)
def check_log_is_tangent(make: Make, context: Context) -> None:
    """``to_tangent(x, log(x, y)) = log(x, y)``."""
    geometry = make()
    x, _, u = _pairs(geometry, context, torch.float64)
    size = 1e-9 * (1 + rows_max(x)) ** 2 * (1 + rows_max(u))
    context.within("log(x, y) is tangent at x", rows_max(minus(geometry.to_tangent(x, u), u)), size)


@law("the distance of a point to itself is zero, in float32 as well", when=_continuous)
def check_distance_to_itself(make: Make, context: Context) -> None:
    """``distance(x, x) = 0`` up to rounding: an arccosine, clamped or not, gives 3e-4 in float32."""
    geometry = make()
    for dtype in FLOATS:
        x = draw_points(geometry, context, 256, 1, dtype)
        context.within(
            f"distance(x, x) = 0 in {dtype}", geometry.distance(x, x), _rounding(geometry, x, dtype)
        )


@law("distance is the length of log", when=_continuous)
def check_distance_is_length_of_log(make: Make, context: Context) -> None:
    """``distance(x, y) = |log(x, y)|_x``."""
    geometry = make()
    for dtype in FLOATS:
        x, y, u = _pairs(geometry, context, dtype)
        d = geometry.distance(x, y)
        context.holds("distance has one value a row", tuple(d.shape) == (16,), f"got {tuple(d.shape)}")
        allowed = _rounding(geometry, x, dtype) + _relative(dtype) * d.double()
        context.within(f"distance = |log| in {dtype}", d.double() - geometry.norm(x, u).double(), allowed)


@law("distance is symmetric and obeys the triangle inequality")
def check_distance_is_a_metric(make: Make, context: Context) -> None:
    """``d(x, y) = d(y, x)`` and ``d(x, z) <= d(x, y) + d(y, z)``."""
    geometry = make()
    x, y, z = (draw_points(geometry, context, 64, s) for s in (1, 2, 3))
    if geometry.continuous:
        # Half of the triples are tight: y lies on the way from x to z.
        y = map_state(
            lambda a, b: torch.cat([a[:32], b[32:]]), geometry.exp(x, scaled(geometry.log(x, z), 0.5)), y
        )
    xy, yz, xz = geometry.distance(x, y), geometry.distance(y, z), geometry.distance(x, z)
    size = 1e-7 * (1 + xz)
    context.within("distance is symmetric", xy - geometry.distance(y, x), size)
    context.within("triangle inequality", (xz - xy - yz).clamp_min(0), size)


@law("no point is farther than the geodesic that leads there is long", when=_has_geodesics)
def check_distance_is_at_most_the_way(make: Make, context: Context) -> None:
    """``distance(x, exp(x, v)) <= |v|`` for random v: where coordinates wrap, distance must know it."""
    geometry = make()
    x, y = (draw_points(geometry, context, 256, s) for s in (1, 2))
    unit = _unit(geometry, x, _tangents(geometry, x, context))
    typical = geometry.distance(x, y).median()
    for share in (0.05, 0.5):
        length = share * typical
        excess = geometry.distance(x, geometry.exp(x, scaled(unit, float(length)))) - length
        allowed = 1e-6 * length + _rounding(geometry, x, torch.float64)
        context.within("distance(x, exp(x, v)) - |v|", torch.where(excess < 0, 0, excess), allowed)


@law("distances of near points keep their digits in float32", when=_continuous)
def check_near_points_keep_accuracy(make: Make, context: Context) -> None:
    """At distance 1e-3 both ``distance`` and ``log`` are right to about 1 %."""
    geometry = make()
    x, y, u = _pairs(geometry, context, torch.float32)
    y = geometry.exp(x, scaled(_unit(geometry, x, u), 1e-3))
    # A float64 evaluation of the very same float32 points is the truth here.
    exact = geometry.distance(map_state(Tensor.double, x), map_state(Tensor.double, y))
    allowed = 0.01 + _rounding(geometry, x, torch.float32) / 1e-3
    context.within(
        "relative error of distance at 1e-3", geometry.distance(x, y).double() / exact - 1, allowed
    )
    length = geometry.norm(x, geometry.log(x, y)).double()
    context.within("relative error of |log| at 1e-3", length / exact - 1, allowed)


@law("gradients are finite at coincident points", when=_continuous)
def check_gradients_at_coincident_points(make: Make, context: Context) -> None:
    """``log(x, x)``, ``exp(x, 0)``, ``distance(x, x)``, ``norm(x, 0)``, geodesic and velocity from x to x."""
    geometry = make()
    for dtype in FLOATS:
        x = draw_points(geometry, context, 64, 1, dtype)
        zero = map_state(torch.zeros_like, x)
        half = torch.full((64,), 0.5, dtype=dtype)
        cases: dict[str, Any] = {
            "log": (geometry.log, x),
            "exp": (geometry.exp, zero),
            "distance": (geometry.distance, x),
            "norm": (geometry.norm, zero),
            "geodesic": (lambda a, b, t=half: geometry.geodesic(a, b, t)[0], x),
            "velocity": (lambda a, b, t=half: geometry.geodesic(a, b, t)[1], x),
        }
        for name, (fn, second) in cases.items():
            a, b = _leaf_copies(x), _leaf_copies(second)
            total = torch.stack([leaf.sum() for _, leaf in leaves(fn(a, b))]).sum()
            inputs = [leaf for _, leaf in (*leaves(a), *leaves(b))]
            for g in torch.autograd.grad(total, inputs, allow_unused=True):
                finite = g is None or bool(g.isfinite().all())
                context.holds(f"gradient of {name} at coincident points is finite in {dtype}", finite)


@law("log and exp have the identity as derivative at coincident points", when=_continuous)
def check_derivatives_at_coincident_points(make: Make, context: Context) -> None:
    """``d/dy log(x, y)`` at y = x and ``d/dv exp(x, v)`` at v = 0 are the identity; halfway, half of it."""
    geometry = make()
    x = draw_points(geometry, context, 16, 1)
    w, v = _tangents(geometry, x, context, 2), _tangents(geometry, x, context, 3)
    expected = _dot(w, v)
    zero = map_state(torch.zeros_like, x)

    def halfway(a: Any, b: Any) -> Any:
        return scaled(geometry.geodesic(a, b, torch.full((16,), 0.5, dtype=torch.float64))[0], 2.0)

    for name, fn, at in (("log", geometry.log, x), ("exp", geometry.exp, zero), ("geodesic", halfway, x)):
        b = _leaf_copies(at)
        inputs = [leaf for _, leaf in leaves(b)]
        paired = _dot(w, fn(x, b))
        slopes = torch.autograd.grad(paired, inputs)
        found = sum((g * leaf).sum() for g, (_, leaf) in zip(slopes, leaves(v), strict=True))
        off = abs(float(found) - float(expected)) / max(1.0, abs(float(expected)))
        context.within(f"derivative of {name} at coincident points is the identity", off, 1e-6)


@law("log has the derivative that differences show, forwards and backwards", when=_has_geodesics)
def check_derivative_of_log(make: Make, context: Context) -> None:
    """``d/dy log(x, y)`` along a tangent at y, halfway to a random point; steps by ``exp`` rest on it."""
    geometry = make()
    x, far, _ = _pairs(geometry, context, torch.float64)
    y = geometry.geodesic(x, far, torch.full((16,), 0.5, dtype=torch.float64))[0]
    u = _unit(geometry, y, _tangents(geometry, y, context))
    w = noise_like(x, context.generator(4))
    ends = [geometry.log(x, geometry.exp(y, scaled(u, step))) for step in (1e-4, -1e-4)]
    seen = scaled(minus(*ends), 0.5e4)
    _, forwards, *_ = torch.func.jvp(lambda b: geometry.log(x, b), (y,), (u,))
    allowed = 1e-4 * (1 + rows_max(seen))
    context.within("forward derivative of log minus differences", rows_max(minus(forwards, seen)), allowed)
    b = _leaf_copies(y)
    slopes = torch.autograd.grad(_dot(w, geometry.log(x, b)), [leaf for _, leaf in leaves(b)])
    found = sum((g * leaf).sum() for g, (_, leaf) in zip(slopes, leaves(u), strict=True))
    off = abs(float(found) - float(_dot(w, seen))) / (1 + abs(float(_dot(w, seen))))
    context.within("backward derivative of log minus differences", off, 1e-4)


@law("the geodesic starts at x0 and ends at x1", when=_continuous)
def check_geodesic_ends(make: Make, context: Context) -> None:
    """``geodesic(x0, x1, 0) = x0`` and ``geodesic(x0, x1, 1) = x1``."""
    geometry = make()
    for dtype in FLOATS:
        x, y, _ = _pairs(geometry, context, dtype)
        allowed = _rounding(geometry, y, dtype) + _relative(dtype) * geometry.distance(x, y).double()
        for t, end in ((0.0, x), (1.0, y)):
            reached = geometry.geodesic(x, y, torch.full((16,), t, dtype=dtype))[0]
            context.within(f"geodesic at t={t:g} in {dtype}", geometry.distance(reached, end), allowed)


@law("the geodesic runs on the manifold, at the constant speed distance(x0, x1)", when=_continuous)
def check_geodesic_has_constant_speed(make: Make, context: Context) -> None:
    """``|velocity| = distance(x0, x1)`` and ``violation(x_t) = 0`` at all times, every row at its own."""
    geometry = make()
    x, y, _ = _pairs(geometry, context, torch.float64)
    d = geometry.distance(x, y)
    for stream in (7, 8):
        t = torch.rand(16, generator=context.generator(stream), dtype=torch.float64)
        point, velocity = geometry.geodesic(x, y, t)
        context.within("points of the geodesic lie on the manifold", geometry.violation(point), 1e-7)
        context.within("speed of the geodesic", geometry.norm(point, velocity) - d, 1e-7 * (1 + d))
        context.within("distance covered at t", geometry.distance(x, point) - t * d, 1e-7 * (1 + d))


@law("the velocity of the geodesic is its time derivative, and tangent", when=_continuous)
def check_geodesic_velocity_is_the_derivative(make: Make, context: Context) -> None:
    """Central differences through ``log`` (coordinates may wrap) agree with the closed form."""
    geometry = make()
    x, y, _ = _pairs(geometry, context, torch.float64)
    t = 0.1 + 0.8 * torch.rand(16, generator=context.generator(7), dtype=torch.float64)
    h = 1e-4
    point, velocity = geometry.geodesic(x, y, t)
    ahead, behind = geometry.geodesic(x, y, t + h)[0], geometry.geodesic(x, y, t - h)[0]
    measured = scaled(minus(geometry.log(point, ahead), geometry.log(point, behind)), 1 / (2 * h))
    size = 1e-5 * (1 + geometry.norm(point, velocity))
    context.within("velocity of the geodesic = d/dt", geometry.norm(point, minus(measured, velocity)), size)
    normal = rows_max(minus(geometry.to_tangent(point, velocity), velocity))
    context.within(
        "velocity of the geodesic is tangent", normal, 1e-8 * (1 + rows_max(velocity)) * (1 + rows_max(x))
    )


@law("rows do not see each other", when=_continuous)
def check_batch_equals_loop(make: Make, context: Context) -> None:
    """Every operation gives a batch what it gives its rows one by one."""
    geometry = make()
    x, y, u = _pairs(geometry, context, torch.float64, n=5)
    t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    operations: dict[str, Any] = {
        "exp": lambda r: geometry.exp(take(x, r), take(u, r)),
        "log": lambda r: geometry.log(take(x, r), take(y, r)),
        "distance": lambda r: geometry.distance(take(x, r), take(y, r)),
        "project": lambda r: geometry.project(take(x, r)),
        "to_tangent": lambda r: geometry.to_tangent(take(x, r), take(y, r)),
        "geodesic": lambda r: geometry.geodesic(take(x, r), take(y, r), t[r])[0],
    }
    rows = torch.arange(5)
    for name, fn in operations.items():
        together = fn(rows)
        apart = [fn(rows[i : i + 1]) for i in range(5)]
        for i, single in enumerate(apart):
            off = gap(take(together, rows[i : i + 1]), single)
            context.within(
                f"{name} of a batch = {name} of its rows", off, 1e-8 * float(1 + rows_max(x).max())
            )


@law("autocast of a training rounds no operation", when=_continuous)
def check_autocast_rounds_nothing(make: Make, context: Context) -> None:
    """``to_tangent``, ``exp``, ``log``, ``distance`` and the geodesic give the same under bf16 autocast."""
    geometry = make()
    x, y, u = _pairs(geometry, context, torch.float32)
    v = noise_like(x, context.generator(3))
    t = torch.full((batch_size(x),), 0.3)

    def operations() -> dict[str, Any]:
        return {
            "to_tangent": geometry.to_tangent(x, v),
            "exp": geometry.exp(x, u),
            "log": geometry.log(x, y),
            "distance": geometry.distance(x, y),
            "geodesic": geometry.geodesic(x, y, t)[0],
        }

    exact = operations()
    with torch.autocast(first_leaf(x).device.type, torch.bfloat16):
        rounded = operations()
    for name, value in exact.items():
        off = gap(rounded[name], value)
        context.within(f"{name} under autocast - without", off, 1e-5 * float(1 + rows_max(value).max()))


@law("operations map over powers of the space, and distances add up in squares", when=_plain)
def check_powers(make: Make, context: Context) -> None:
    """States ``(batch, n, *point)`` behave as ``batch x n`` points with the product metric."""
    geometry = make()
    shape = _point_shape(geometry, context)
    draws = context.generator(6)
    flat_x, flat_y = (geometry.random((12, *shape), Draw(draws, dtype=torch.float64)) for _ in "xy")
    x, y = flat_x.reshape(4, 3, *shape), flat_y.reshape(4, 3, *shape)
    u, flat_u = geometry.log(x, y), geometry.log(flat_x, flat_y)
    size = 1e-8 * (1 + float(flat_x.abs().max()))
    context.within("log over a power", gap(u.reshape(flat_u.shape), flat_u), size)
    context.within(
        "exp over a power", gap(geometry.exp(x, u).reshape(flat_x.shape), geometry.exp(flat_x, flat_u)), size
    )
    t = torch.linspace(0.1, 0.9, 4, dtype=torch.float64)
    along = geometry.geodesic(x, y, t)[0].reshape(flat_x.shape)
    single = geometry.geodesic(flat_x, flat_y, t.repeat_interleave(3))[0]
    context.within("geodesic over a power", gap(along, single), size)
    d, parts = geometry.distance(x, y), geometry.distance(flat_x, flat_y).reshape(4, 3)
    context.holds(
        "distance over a power has one value a row", tuple(d.shape) == (4,), f"got {tuple(d.shape)}"
    )
    context.within("distance over a power", d - parts.square().sum(1).sqrt(), size)
    inner = geometry.inner(x, u, u)
    context.within("inner over a power", inner - parts.square().sum(1), size * (1 + inner))
    worst = geometry.violation(x)
    context.holds("violation over a power has one value a row", tuple(worst.shape) == (4,))


@law("operations on no points give none, or are refused in one line", when=_continuous)
def check_no_rows(make: Make, context: Context) -> None:
    """A batch whose rows were all sorted out, say."""
    geometry = make()
    x = draw_points(geometry, context, 2, 1)
    none = map_state(lambda leaf: leaf[:0], x)
    asked = {
        "project": lambda: geometry.project(none),
        "to_tangent": lambda: geometry.to_tangent(none, none),
        "exp": lambda: geometry.exp(none, none),
        "log": lambda: geometry.log(none, none),
        "distance": lambda: geometry.distance(none, none),
        "violation": lambda: geometry.violation(none),
        "log_sqrt_det": lambda: geometry.log_sqrt_det(none),
    }
    for name, ask in asked.items():
        found = context.of_no_rows(ask)
        if found is not None:
            context.holds(f"{name} of no rows has none", batch_size(found) == 0, f"{shape_of(found)}")


@law("dtype and device are kept", when=_continuous)
def check_dtype_is_kept(make: Make, context: Context) -> None:
    """float32 in, float32 out; float64 in, float64 out."""
    geometry = make()
    for dtype in FLOATS:
        x, y, u = _pairs(geometry, context, dtype, n=4)
        point, velocity = geometry.geodesic(x, y, torch.full((4,), 0.3, dtype=dtype))
        results = {
            "log": u,
            "exp": geometry.exp(x, u),
            "project": geometry.project(x),
            "to_tangent": geometry.to_tangent(x, u),
            "distance": geometry.distance(x, y),
            "inner": geometry.inner(x, u, u),
            "geodesic": point,
            "velocity": velocity,
        }
        for name, value in results.items():
            for _, leaf in leaves(value):
                context.holds(f"{name} keeps {dtype}", leaf.dtype == dtype, f"got {leaf.dtype}")


@law("far and opposite points give finite answers that still lead there", when=_continuous)
def check_far_points_are_finite(make: Make, context: Context) -> None:
    """Antipodes, and points within 1e-3 and 1e-6 of them, where the direction is no longer unique."""
    geometry = make()
    for dtype in FLOATS:
        x, _, u = _pairs(geometry, context, dtype)
        opposite = geometry.project(map_state(torch.neg, x))
        unit = _unit(geometry, x, u)
        near = [
            geometry.project(map_state(lambda a, b, s=s: a + s * b, opposite, unit)) for s in (1e-3, 1e-6)
        ]
        for y in (opposite, *near, geometry.exp(x, scaled(u, 10.0))):
            violation = geometry.violation(y)
            if not bool((violation <= _limit(violation)).all()):
                continue
            v, d = geometry.log(x, y), geometry.distance(x, y)
            context.holds(f"log to far points is finite in {dtype}", all_finite(v))
            context.holds(f"distance to far points is finite in {dtype}", all_finite(d))
            point, velocity = geometry.geodesic(x, y, torch.full((16,), 0.5, dtype=dtype))
            finite = all_finite(point) and all_finite(velocity)
            context.holds(f"geodesic to far points is finite in {dtype}", finite)
        for y in (opposite, *near):
            violation = geometry.violation(y)
            if not bool((violation <= _limit(violation)).all()):
                continue
            d = geometry.distance(x, y).double()
            allowed = _rounding(geometry, y, dtype) + 4 * _relative(dtype) * (1 + d)
            off = geometry.distance(geometry.exp(x, geometry.log(x, y)), y)
            context.within(f"exp(x, log(x, y)) = y for opposite y in {dtype}", off, allowed)


@law("require refuses empty batches, half precision, NaN and points off the manifold")
def check_require_refuses(make: Make, context: Context) -> None:
    """What no closed form survives is refused with a ShapeError or an OffManifoldError."""
    geometry = make()
    x = draw_points(geometry, context, 4, 1, torch.float32)
    geometry.require(x)
    bad: dict[str, Any] = {"an empty batch": map_state(lambda v: v[:0], x)}
    if all(leaf.is_floating_point() for _, leaf in leaves(x)):
        bad["float16"] = map_state(Tensor.half, x)
        bad["NaN"] = map_state(lambda v: torch.full_like(v, math.nan), x)
    for what, state in bad.items():
        refused = False
        try:
            geometry.require(state)
        except (ShapeError, OffManifoldError):
            refused = True
        context.holds(f"require refuses {what}", refused)


@law("log_sqrt_det is the volume density of the metric, where coordinates are a chart", when=_plain)
def check_volume_density(make: Make, context: Context) -> None:
    """``log_sqrt_det(x) - 1/2 log det <e_i, e_j>_x`` is the same at every point."""
    geometry = make()
    shape = _point_shape(geometry, context)
    size = math.prod(shape)
    if geometry.dim != size:
        raise NotApplicable("coordinates of an embedding are no chart")
    x = geometry.random((6, *shape), Draw(context.generator(1), dtype=torch.float64))
    basis = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    rows = []
    for point in x:
        here = point.expand(size * size, *point.shape)
        left, right = basis.repeat_interleave(size, 0), basis.repeat(size, *(1,) * point.ndim)
        rows.append(torch.logdet(geometry.inner(here, left, right).reshape(size, size)) / 2)
    difference = geometry.log_sqrt_det(x) - torch.stack(rows)
    context.within("log_sqrt_det - log volume of the metric", difference - difference.mean(), 1e-7)


class _Approach(Field):
    """``v = log_x(target)``: every row follows its geodesic, and ``exp(-t)`` of the way is left at time t."""

    kind = "velocity"

    def __init__(self, geometry: Geometry, target: Any) -> None:
        self.geometry, self.target = geometry, target

    def __call__(self, x: Any, t: Any, cond: Any) -> Any:
        return self.geometry.log(x, self.target)


@law("solvers as recipes have them follow a known flow, and end on the manifold", when=_has_geodesics)
def check_solvers_follow(make: Make, context: Context) -> None:
    """Runge-Kutta steps, in the way that ``flat`` and ``straight`` say they may be taken."""
    geometry = make()
    x, far, _ = _pairs(geometry, context, torch.float64)
    target = geometry.geodesic(x, far, torch.full((16,), 0.5, dtype=torch.float64))[0]
    end = geometry.exp(x, scaled(geometry.log(x, target), -math.expm1(-1.0)))
    found = RK4(32).solve(_Approach(geometry, target), x).x
    off = geometry.violation(found)
    context.within("the end of a solve is on the manifold", off, _limit(off))
    size = 1e-3 * (1 + geometry.distance(x, target))
    what = (
        "distance from where the flow ends (where crossing a seam turns vectors, only retraction: exp helps)"
    )
    context.within(what, geometry.distance(found, end), size)


@law("the divergence that likelihoods integrate is that of the metric", when=_has_geodesics)
def check_divergence(make: Make, context: Context) -> None:
    """Of ``log_x(target)``, against the trace of its derivative in normal coordinates, which are flat at x.

    ``project`` must have the right derivative (identity along the manifold, zero along normals), and
    ``log_sqrt_det`` must belong to the same coordinates.
    """
    geometry = make()
    if isinstance(geometry, Product):
        raise NotApplicable("a product's divergence is the sum of those of its parts")
    # Where a point is one number, a power of three.
    shape, rows = _point_shape(geometry, context) or (3,), 4
    x, far = (
        geometry.random((rows, *shape), Draw(context.generator(stream), dtype=torch.float64))
        for stream in (1, 2)
    )
    field = _Approach(geometry, geometry.geodesic(x, far, x.new_full((rows,), 0.5))[0])
    t = x.new_zeros(rows)
    try:
        with torch.no_grad():
            found = divergence_of(field, x, t)
    except IncompatibleError as error:
        raise NotApplicable(str(error)) from None
    context.holds(
        "the divergence has one value a row", tuple(found.shape) == (rows,), f"{tuple(found.shape)}"
    )
    identity = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, *shape)
    reach = geometry.distance(x, field.target).clamp_max(1)
    for row, (point, target) in enumerate(zip(x, field.target, strict=True)):
        images = geometry.to_tangent(point.expand_as(identity), identity).flatten(1)
        left, strength, _ = torch.linalg.svd(images.mT)
        basis = left[:, strength > 1e-6].mT.reshape(-1, *shape)
        start, goal = point.expand_as(basis), target.expand_as(basis)
        short = 1e-3 * reach[row] / geometry.norm(start, basis)
        beside = [geometry.exp(start, scaled(basis, sign * short)) for sign in (1.0, -1.0)]
        seen = [_carried(geometry, start, y, geometry.log(y, goal)) for y in beside]
        along = ((seen[0] - seen[1]) * basis).flatten(1).sum(1)
        trace = (along / (2 * short)).sum()
        context.within("divergence minus the trace", found[row] - trace, 1e-3 * (1 + trace.abs()))


def _carried(geometry: Geometry, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
    """The tangent ``v`` at ``y`` in normal coordinates at ``x``, by differences."""
    ends = [geometry.log(x, geometry.exp(y, step * v)) for step in (1e-3, -1e-3)]
    return (ends[0] - ends[1]) / 2e-3


def _dot(a: Any, b: Any) -> Tensor:
    """Sum of products of all entries."""
    return torch.stack([(u * v).sum() for (_, u), (_, v) in zip(leaves(a), leaves(b), strict=True)]).sum()


def _leaf_copies(state: Any) -> Any:
    return map_state(lambda v: v.detach().clone().requires_grad_(), state)
