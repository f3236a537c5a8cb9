"""Laws of paths."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from flowloom.draw import Draw
from flowloom.geometry import Discrete, Product
from flowloom.paths import Path
from flowloom.state import State, leaves, map_state, take
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom.testing.states import draw_points, event_shape, gap, minus, rows_max, scaled


def _curves(path: Path) -> bool:
    return path.geometry.continuous and _parts(path, "pathwise")


def _single(path: Path) -> bool:
    return not isinstance(path.geometry, Product) and path.arrives


def _parts(path: Path, claim: str) -> bool:
    """Whether a path, and every part of a product path, makes a claim."""
    return bool(getattr(path, claim)) and all(_parts(inner, claim) for inner in path.parts.values())


def _arrives(path: Path) -> bool:
    return _parts(path, "arrives")


def _jumps(path: Path) -> bool:
    return isinstance(path.geometry, Discrete)


def _ends(path: Path, context: Context, n: int = 16, dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
    return draw_points(path.geometry, context, n, 1, dtype), draw_points(path.geometry, context, n, 2, dtype)


def _times(path: Path, n: int, context: Context, dtype: torch.dtype = torch.float64) -> Tensor:
    """Inside the path's own span."""
    start, end = path.span
    return start + (end - start) * (0.1 + 0.8 * torch.rand(n, generator=context.generator(3), dtype=dtype))


def _at(path: Path, x0: State, x1: State, t: Tensor, context: Context, stream: int = 4) -> Any:
    return path.sample(x0, x1, t, generator=context.generator(stream))


def _deterministic(path: Path, context: Context) -> bool:
    x0, x1 = _ends(path, context)
    t = torch.full((16,), sum(path.span) / 2, dtype=torch.float64)
    return gap(_at(path, x0, x1, t, context).x_t, _at(path, x0, x1, t, context, 5).x_t) == 0


def _missing(path: Any, t: float) -> float:
    """How far the schedules of a path are from their ideal ends (t is 0 or 1), by design."""
    if path.parts:
        return max(_missing(inner, t) for inner in path.parts.values())
    if path.schedule is None:
        return 0.0
    time = torch.tensor(t, dtype=torch.float64)
    alpha, sigma = float(path.schedule.alpha(time)), float(path.schedule.sigma(time))
    left = path.schedule.leaves if t == 0 else 0.0
    return max(abs(alpha - t - left), abs(sigma - (1 - t)) if path.affine else 0.0)


def _start(path: Any, x0: Any, x1: Any) -> Any:
    """Where the path starts: at x0, and what its schedule says that it leaves of x1."""
    left = 0.0 if path.schedule is None else path.schedule.leaves
    return map_state(lambda a, b: a + left * b, x0, x1) if left else x0


@law("the path is at x0 where its span starts and at x1 where it ends", when=_arrives)
def check_ends(make: Make, context: Context) -> None:
    """Up to what the schedule leaves by design (0.7 % of the data at t=0 for VP, all of them for VE)."""
    path = make()
    x0, x1 = _ends(path, context)
    size = 1 + path.geometry.distance(x0, x1).double() + 10 * (rows_max(x0) + rows_max(x1))
    for ideal, t, end in zip((0.0, 1.0), path.span, (_start(path, x0, x1), x1), strict=True):
        reached = _at(path, x0, x1, torch.full((16,), t, dtype=torch.float64), context).x_t
        allowed = size * min(0.02, _missing(path, ideal)) + 1e-7 * size
        context.within(f"x_t at t={t:g}", path.geometry.distance(reached, end), allowed)


@law("points carry the time and the ends they were made of")
def check_point_is_complete(make: Make, context: Context) -> None:
    """``Point.t, x0, x1`` are the arguments; ``x_t`` (and the velocity) have the structure of x1."""
    path = make()
    x0, x1 = _ends(path, context)
    t = _times(path, 16, context)
    point = _at(path, x0, x1, t, context)
    same = gap(point.x0, x0) == 0 and gap(point.x1, x1) == 0 and torch.equal(torch.as_tensor(point.t), t)
    context.holds("point carries t, x0 and x1", same)
    shapes = {name: leaf.shape for name, leaf in leaves(point.x_t)}
    context.holds("x_t has the shape of x1", shapes == {name: leaf.shape for name, leaf in leaves(x1)})
    if path.geometry.continuous:
        context.holds("velocity is given", point.velocity is not None)


@law("the velocity is the time derivative of the path", when=_curves)
def check_velocity_is_the_derivative(make: Make, context: Context) -> None:
    """Central differences through ``log`` (coordinates may wrap), the randomness held fixed."""
    path = make()
    geometry, (x0, x1) = path.geometry, _ends(path, context)
    t, h = _times(path, 16, context), 1e-4 * abs(path.span[1] - path.span[0])
    point = _at(path, x0, x1, t, context)
    ahead, behind = (_at(path, x0, x1, t + s, context).x_t for s in (h, -h))
    measured = scaled(minus(geometry.log(point.x_t, ahead), geometry.log(point.x_t, behind)), 1 / (2 * h))
    off = geometry.norm(point.x_t, minus(measured, point.velocity))
    context.within("velocity = d x_t / dt", off, 1e-4 * (1 + geometry.norm(point.x_t, point.velocity)))


def _converts(path: Path) -> bool:
    return _curves(path) and not path.parts and bool(_ways(path))


def _ways(path: Path) -> list[tuple[str, str]]:
    """Conversions between quantities that a single pair of ends fixes."""
    kinds = ("velocity", "data", "noise")
    return [(a, b) for a in kinds for b in kinds if a != b and path.converts(a, b)]


@law("conversions carry the velocity of a point to its ends, and back", when=_converts)
def check_conversions(make: Make, context: Context) -> None:
    """On one pair of ends velocity, data and noise fix each other: ``u_t`` is that towards x1 and from x0."""
    path = make()
    x0, x1 = _ends(path, context)
    t = _times(path, 16, context)
    point = _at(path, x0, x1, t, context)
    known = {"velocity": point.velocity, "data": x1, "noise": x0}
    size = 1 + path.geometry.distance(x0, x1).double() + 10 * (rows_max(x0) + rows_max(x1))
    for given, wanted in _ways(path):
        made = path.convert(known[given], point.x_t, t, given, wanted)
        if wanted == "velocity":
            off = path.geometry.norm(point.x_t, minus(made, point.velocity))
        else:
            off = path.geometry.distance(made, known[wanted])
        context.within(f"{given} to {wanted}", off, 1e-5 * size)


@law("points of the path lie on the geometry, and velocities are tangent")
def check_stays_on_the_geometry(make: Make, context: Context) -> None:
    """At random times, a different one in every row."""
    path = make()
    x0, x1 = _ends(path, context)
    point = _at(path, x0, x1, _times(path, 16, context), context)
    context.within("x_t lies on the geometry", path.geometry.violation(point.x_t), 1e-7)
    if path.geometry.continuous:
        normal = minus(path.geometry.to_tangent(point.x_t, point.velocity), point.velocity)
        context.within("velocity is tangent", rows_max(normal), 1e-8 * (1 + rows_max(point.velocity)))


@law("every row goes by its own time")
def check_times_per_row(make: Make, context: Context) -> None:
    """A batch of times gives what its rows give one by one."""
    path = make()
    if not _deterministic(path, context):
        raise NotApplicable("the path draws, so rows cannot be compared one by one")
    x0, x1 = _ends(path, context)
    t = _times(path, 16, context)
    together = _at(path, x0, x1, t, context)
    for i in (0, 7, 15):
        row = torch.tensor([i])
        single = _at(path, take(x0, row), take(x1, row), t[row], context)
        context.within("x_t of a batch = x_t of its rows", gap(take(together.x_t, row), single.x_t), 1e-10)
        if path.geometry.continuous:
            off = gap(take(together.velocity, row), single.velocity)
            context.within("velocity of a batch = velocity of its rows", off, 1e-10)


@law("every token goes by its own time, where times have shape (batch, length)", when=_single)
def check_times_per_token(make: Make, context: Context) -> None:
    """Tokens at time 0 are those of x0, tokens at time 1 those of x1, up to what the schedule leaves."""
    path = make()
    shape = event_shape(path.geometry, context)
    assert not isinstance(shape, dict)
    point = shape[len(shape) - path.geometry.point_ndim :] if path.geometry.point_ndim else ()
    draws = context.generator(1)
    x0, x1 = (path.geometry.random((4, 6, *point), Draw(draws, dtype=torch.float64)) for _ in "ab")
    arrived = torch.randint(2, (4, 6), generator=context.generator(3)).double()
    t = torch.where(arrived == 1, path.span[1], path.span[0]).double()
    reached = _at(path, x0, x1, t, context).x_t
    wanted = torch.where(arrived.reshape(4, 6, *(1,) * len(point)) == 1, x1, _start(path, x0, x1))
    size = 10 * (1 + rows_max(x0) + rows_max(x1))
    allowed = size * min(0.02, max(_missing(path, 0.0), _missing(path, 1.0))) + 1e-7 * size
    context.within("tokens at their own ends", path.geometry.distance(reached, wanted), allowed)


@law("float32 ends and times give float32 points")
def check_dtype_is_kept(make: Make, context: Context) -> None:
    """``x_t`` and the velocity keep the dtype of x1; token ids stay int64."""
    path = make()
    for dtype in (torch.float32, torch.float64):
        x0, x1 = _ends(path, context, dtype=dtype)
        point = _at(path, x0, x1, _times(path, 16, context, dtype), context)
        kinds = {name: leaf.dtype for name, leaf in leaves(x1)}
        context.holds("x_t keeps dtypes", {n: v.dtype for n, v in leaves(point.x_t)} == kinds)
        if path.geometry.continuous:
            velocity: Any = point.velocity
            context.holds("velocity keeps dtypes", {n: v.dtype for n, v in leaves(velocity)} == kinds)


@law("the generator determines the draw")
def check_follows_its_generator(make: Make, context: Context) -> None:
    """Equal seeds give equal points, whatever the global generator holds."""
    path = make()
    x0, x1 = _ends(path, context)
    t = _times(path, 16, context)
    first = _at(path, x0, x1, t, context).x_t
    torch.rand(1)
    context.holds("equal seeds give equal points", gap(first, _at(path, x0, x1, t, context).x_t) == 0)


@law("the share of tokens that have arrived is alpha(t), independently of each other", when=_jumps)
def check_mixture_marginal(make: Make, context: Context) -> None:
    """At t = 0.25, 0.5 and 0.75: the share of x1 among tokens whose ends differ, and its spread over rows."""
    path = make()
    n, length = 2000, 16
    draws = context.generator(1)
    x0 = path.geometry.random((n, length), Draw(draws))
    x1 = (x0 + 1) % path.geometry.vocab
    if path.geometry.vocab < 2:
        raise NotApplicable("one token has nowhere to go")
    for t in (0.25, 0.5, 0.75):
        time = torch.full((n,), t, dtype=torch.float64)
        x_t = _at(path, x0, x1, time, context).x_t
        assert isinstance(x_t, Tensor)
        arrived = (x_t == x1).double()
        context.holds("every token is that of x0 or of x1", bool(((x_t == x0) | (x_t == x1)).all()))
        expected = float(path.schedule.alpha(time[:1]))
        deviation = math.sqrt(max(1e-9, expected * (1 - expected)))
        context.within(
            f"share of arrived tokens at t={t}",
            arrived.mean() - expected,
            5 * deviation / math.sqrt(n * length),
        )
        spread = arrived.mean(1).std() * math.sqrt(length)
        context.within(f"spread of that share over rows at t={t}", spread / deviation - 1, 0.12)
