"""Laws of solvers, measured on flows known in closed form."""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from flowloom.draw import Draw
from flowloom.errors import SolverError
from flowloom.fields import Field, Wrapped
from flowloom.geometry import Discrete, Euclidean, Product
from flowloom.layout import Layout
from flowloom.paths import AffinePath, MixturePath, ProductPath
from flowloom.paths.conversions import AFFINE_KINDS
from flowloom.schedules import CondOT, Polynomial
from flowloom.solvers import Adaptive, Solver
from flowloom.sources import Gaussian
from flowloom.state import Cond, State, batch_size, map_state, part, shape_of, with_batch
from flowloom.testing.laws import Context, Make, NotApplicable, law
from flowloom.testing.oracles import (
    AffineMap,
    GaussianMixture,
    JointPosterior,
    JointTable,
    LinearFlow,
    MixtureField,
    SphereSpiral,
)
from flowloom.testing.states import all_finite, gap, spoiled


def _grid(solver: Solver) -> bool:
    return hasattr(solver, "steps")


def _ode(solver: Solver) -> bool:
    return solver.wanted() == "velocity" and not solver.stochastic


def _ode_on_grid(solver: Solver) -> bool:
    return _ode(solver) and _grid(solver)


def _adaptive(solver: Solver) -> bool:
    return _ode(solver) and isinstance(solver, Adaptive)


def _sde(solver: Solver) -> bool:
    return solver.wanted() in ("velocity", "data") and solver.stochastic


def _jumps(solver: Solver) -> bool:
    return solver.wanted() == "posterior"


def _maps(solver: Solver) -> bool:
    return solver.wanted() == "flow-map"


def _mixes(solver: Solver) -> bool:
    return isinstance(solver.wanted(), dict)


def _with_steps(make: Make, steps: int) -> Any:
    """A fresh solver on an even grid of ``steps`` steps; solvers without a grid as they are."""
    solver = make()
    if not _grid(solver):
        return solver
    if dataclasses.is_dataclass(solver) and not isinstance(solver, type):
        return dataclasses.replace(solver, steps=steps)
    solver.steps = steps
    if hasattr(solver, "grid"):
        solver.grid = None
    return solver


def _flat(context: Context, n: int = 8) -> tuple[LinearFlow, Tensor]:
    return LinearFlow(), torch.randn(n, 2, generator=context.generator(1), dtype=torch.float64)


class Counted(Wrapped):
    """Another field that counts how often it is asked, and what a call is said to cost.

    Args:
        field: the other.
        cost: evaluations that one call claims.
    """

    def __init__(self, field: Field, cost: int = 1) -> None:
        super().__init__(field)
        self.cost, self.count = cost, 0

    def __call__(self, x: State, t: Any, cond: Any, generator: torch.Generator | None = None) -> State:
        """Ask the other field."""
        self.count += 1
        return self.ask(x, t, cond, generator)

    def calls(self, t: float, cond: Cond) -> int:
        """The cost."""
        return self.cost


class _Mixture(Field):
    """One oracle for every part of a product."""

    def __init__(self, parts: dict[str, Field]) -> None:
        self.parts = parts
        self.kind = {name: field.kind for name, field in parts.items()}
        self.path = ProductPath({name: field.path or AffinePath() for name, field in parts.items()})
        self.geometry = Product({name: field.geometry for name, field in parts.items()})
        self.source = Gaussian()

    def __call__(self, x: State, t: Any, cond: Any) -> State:
        assert isinstance(x, dict)
        return {name: field(x[name], t, cond) for name, field in self.parts.items()}


class _Settled(Field):
    """A field of a kind that core does not know: 0 at one point, and growing away from it.

    Laws that ask nothing of a field's meaning (what is counted, kept and held) can be tried on it.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, x: State, t: Any, cond: Any) -> State:
        return map_state(lambda v: v - 1, x)


def _oracle(kind: Any, context: Context, n: int = 8, dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
    """A field of a kind, and ``n`` states at t=0."""
    if isinstance(kind, dict):
        pairs = {name: _oracle(inner, context, n, dtype) for name, inner in kind.items()}
        return _Mixture({k: p[0] for k, p in pairs.items()}), {k: p[1] for k, p in pairs.items()}
    if kind == "posterior":
        field = JointPosterior()
        return field, torch.full((n, field.joint.length), field.joint.vocab)
    x0 = torch.randn(n, 2, generator=context.generator(1), dtype=dtype)
    if kind == "flow-map":
        return AffineMap(), x0
    if kind not in AFFINE_KINDS:
        return _Settled(str(kind)), x0
    return MixtureField(kind=str(kind)), x0


def _solve(solver: Solver, context: Context, **settings: Any) -> Any:
    field, x0 = _oracle(solver.wanted(), context)
    return solver.solve(field, x0, generator=context.generator(2), **settings)


def _slope(errors: list[float]) -> float:
    """Order of convergence over halved steps, from the last ratio that rounding has not touched."""
    clean = [e for e in errors if e > 1e-12]
    if len(clean) < 2:
        return math.inf
    return math.log2(clean[-2] / clean[-1])


@law("errors fall with the order that the solver claims", when=_ode_on_grid)
def check_order(make: Make, context: Context) -> None:
    """On a linear flow with a rate that changes in time, against the matrix exponential, in float64."""
    field, x0 = _flat(context)
    exact = field.solution(x0, 0.0, 1.0)
    errors = [gap(_with_steps(make, n).solve(field, x0).x, exact) for n in (16, 32, 64)]
    order = make().order
    context.within(
        f"claimed order {order} minus the measured {_slope(errors):.2f}",
        max(0.0, order - _slope(errors)),
        0.25,
    )


@law("errors fall with the claimed order on the sphere as well, and steps end on it", when=_ode_on_grid)
def check_order_on_the_sphere(make: Make, context: Context) -> None:
    """Rotation and contraction on S^2, whichever way steps return to it."""
    field = SphereSpiral()
    x0 = field.geometry.random((8, 3), Draw(context.generator(1), dtype=torch.float64))
    exact = field.solution(x0, 0.0, 1.0)
    errors = []
    for n in (16, 32, 64):
        x = _with_steps(make, n).solve(field, x0).x
        context.within("solutions lie on the sphere", field.geometry.violation(x), 1e-10)
        errors.append(gap(x, exact))
    order = make().order
    context.within(
        f"claimed order {order} minus the measured {_slope(errors):.2f}",
        max(0.0, order - _slope(errors)),
        0.25,
    )


@law("constant fields are integrated exactly", when=_ode)
def check_constant_fields(make: Make, context: Context) -> None:
    """``x(t) = x(s) + (t - s) c`` over every span, forwards and backwards: no step is lost or doubled."""

    class Constant(LinearFlow):
        def __call__(self, x: Any, t: Any, cond: Any) -> State:
            return torch.full_like(x, 3.0)

    _, x0 = _flat(context)
    for start, end in ((0.0, 1.0), (0.25, 0.75), (1.0, 0.0)):
        x = make().solve(Constant(), x0, span=(start, end)).x
        context.within(f"constant field from {start:g} to {end:g}", gap(x, x0 + 3 * (end - start)), 1e-10)


@law("spans are respected, forwards and backwards", when=_ode)
def check_spans(make: Make, context: Context) -> None:
    """From 0.2 to 0.7, from 0.7 to 0.2, and from 1 to 0, on 64 steps."""
    field, x0 = _flat(context)
    forward = gap(_with_steps(make, 64).solve(field, x0).x, field.solution(x0, 0.0, 1.0))
    for start, end in ((0.2, 0.7), (0.7, 0.2), (1.0, 0.0)):
        x = _with_steps(make, 64).solve(field, x0, span=(start, end)).x
        off = gap(x, field.solution(x0, start, end))
        context.within(f"solution from {start:g} to {end:g}", off, 5 * forward + 1e-3)


@law("evaluations are counted as they are made, at the price the field asks")
def check_evaluations_are_counted(make: Make, context: Context) -> None:
    """``nfe`` is the number of calls; a guided field that costs two makes it double."""
    solver = make()
    if _maps(solver):
        raise NotApplicable("flow maps are not called but jump")
    oracle, x0 = _oracle(solver.wanted(), context)
    for cost in (1, 2):
        field = Counted(oracle, cost)
        solution = make().solve(field, x0, generator=context.generator(2))
        context.within("nfe - calls made", solution.nfe - cost * field.count, 0)


@law("the state keeps its shape and dtype, and x0 is not changed")
def check_dtype_is_kept(make: Make, context: Context) -> None:
    """In float32 and float64; tokens stay int64."""
    for dtype in (torch.float32, torch.float64):
        solver = make()
        field, x0 = _oracle(solver.wanted(), context, dtype=dtype)
        before = map_state(Tensor.clone, x0)
        x = solver.solve(field, x0, generator=context.generator(2)).x
        kinds = map_state(lambda a, b: torch.tensor(a.dtype == b.dtype and a.shape == b.shape), x, x0)
        context.holds("shape and dtype are kept", _all(kinds))
        context.holds("x0 is not changed", gap(before, x0) == 0)


@law("the generator determines the solution")
def check_follows_its_generator(make: Make, context: Context) -> None:
    """Equal seeds give equal solutions; for solvers that draw, other seeds give others."""
    solver = make()
    first = _solve(solver, context).x
    torch.rand(1)
    context.holds("equal seeds give equal solutions", gap(first, _solve(make(), context).x) == 0)
    field, x0 = _oracle(solver.wanted(), context)
    other = make().solve(field, x0, generator=context.generator(3)).x
    same = gap(first, other) == 0
    context.holds("a solver that claims to be deterministic does not draw", solver.stochastic or same)
    context.holds("a solver that claims to be stochastic draws", not (solver.stochastic and same))


@law("one object may solve twice: nothing is kept between solves")
def check_has_no_memory(make: Make, context: Context) -> None:
    """The second solve of an object equals that of a fresh one."""
    solver = make()
    _solve(solver, context, span=(0.0, 0.5))
    context.within("second solve - fresh solve", gap(_solve(solver, context).x, _solve(make(), context).x), 0)


@law("the trajectory holds as many states as asked for, both ends included")
def check_trajectory(make: Make, context: Context) -> None:
    """Times rise from the start of the span to its end; without ``keep`` nothing is kept."""
    solver = _with_steps(make, 8)
    _, x0 = _oracle(solver.wanted(), context)
    context.holds("nothing is kept unasked", not _solve(solver, context).trajectory)
    solution = _solve(solver, context, keep=4)
    times = solution.times
    context.holds("times and states agree in number", len(times) == len(solution.trajectory) > 1, f"{times}")
    context.holds("about as many as asked for", 2 <= len(times) <= 5, f"{len(times)}")
    context.within("times start and end with the span", max(abs(times[0]), abs(times[-1] - 1)), 1e-12)
    context.holds("times rise", all(a < b for a, b in pairwise(times)))
    context.within("first state - x0", gap(solution.trajectory[0], x0), 0)
    context.within("last state - solution", gap(solution.trajectory[-1], solution.x), 0)


@law("on_step sees every step and may replace the state")
def check_on_step(make: Make, context: Context) -> None:
    """It is called at rising times up to the end of the span, and what it returns is used."""
    times: list[float] = []

    def watch(x: State, t: float) -> None:
        times.append(t)

    solver = _with_steps(make, 8)
    _solve(solver, context, on_step=watch)
    rises = all(a < b for a, b in pairwise(times))
    context.holds("on_step is called at rising times", len(times) > 0 and rises, f"{times}")
    context.within("last call at the end of the span", times[-1] - 1, 1e-12)

    def hold(x: State, t: float) -> State:
        return map_state(torch.zeros_like, x)

    held = _solve(_with_steps(make, 8), context, on_step=hold).x
    context.within("state that on_step returned - solution", gap(held, map_state(torch.zeros_like, held)), 0)


@law("a field that stops being finite is a SolverError that names the time", when=_ode)
def check_not_finite(make: Make, context: Context) -> None:
    """The field is NaN from t = 0.5 on."""

    class Broken(LinearFlow):
        def __call__(self, x: Any, t: Any, cond: Any) -> State:
            value: Any = super().__call__(x, t, cond)
            return torch.where(t[:, None] > 0.5, torch.nan, value)

    _, x0 = _flat(context)
    message = ""
    try:
        _with_steps(make, 8).solve(Broken(), x0)
    except SolverError as error:
        message = str(error)
    context.holds("a NaN field raises SolverError", message != "")
    named = re.search(r"t = ([0-9.]+)", message)
    close = named is not None and 0.4 <= float(named[1]) <= 0.9
    context.holds("the message names the time", close, message)


@law("adaptive solutions are as accurate as their tolerance", when=_adaptive)
def check_tolerance(make: Make, context: Context) -> None:
    """Errors at rtol = atol = 1e-3, 1e-5, 1e-8 stay below 30 times that, on flat space and on the sphere."""
    flat, x0 = _flat(context)
    sphere = SphereSpiral()
    p0 = sphere.geometry.random((8, 3), Draw(context.generator(1), dtype=torch.float64))
    spent = []
    for tolerance in (1e-3, 1e-5, 1e-8):
        solver: Any = make()
        solver.rtol = solver.atol = tolerance
        solution = solver.solve(flat, x0)
        spent.append(solution.nfe)
        context.within(
            f"error at rtol {tolerance:g}", gap(solution.x, flat.solution(x0, 0.0, 1.0)), 30 * tolerance
        )
        point = solver.solve(sphere, p0).x
        off = gap(point, sphere.solution(p0, 0.0, 1.0))
        context.within(f"error on the sphere at rtol {tolerance:g}", off, 30 * tolerance)
        context.within("solutions lie on the sphere", sphere.geometry.violation(point), 1e-10)
    context.holds("tighter tolerances cost more evaluations", spent[0] < spent[-1], f"{spent}")


@law("an adaptive solver gives up when its budget is spent", when=_adaptive)
def check_budget(make: Make, context: Context) -> None:
    """With ``max_nfe = 20`` and tolerances it cannot meet, it raises SolverError."""
    solver: Any = make()
    solver.rtol = solver.atol = 1e-12
    solver.max_nfe = 20
    raised = False
    field, x0 = _flat(context)
    try:
        solver.solve(field, x0)
    except SolverError:
        raised = True
    context.holds("a spent budget raises SolverError", raised)


@law("parts of a product are integrated as they would be alone", when=_ode_on_grid)
def check_product_states(make: Make, context: Context) -> None:
    """A flat and a spherical part side by side, in a dict."""
    linear, x0 = _flat(context)
    spiral = SphereSpiral()
    p0 = spiral.geometry.random((8, 3), Draw(context.generator(1), dtype=torch.float64))

    class Both(Field):
        kind = "velocity"
        geometry = Product({"a": Euclidean(), "b": spiral.geometry})

        def __call__(self, x: Any, t: Any, cond: Any) -> State:
            return {"a": linear(x["a"], t, cond), "b": spiral(x["b"], t, cond)}

    together: Any = make().solve(Both(), {"a": x0, "b": p0}).x
    context.within("flat part of a product", gap(together["a"], make().solve(linear, x0).x), 1e-12)
    context.within("spherical part of a product", gap(together["b"], make().solve(spiral, p0).x), 1e-12)


@law("stochastic solutions have the marginals of the flow", when=_sde)
def check_marginals(make: Make, context: Context) -> None:
    """From a Gaussian source to a Gaussian: mean and covariance at t = 0.5 and t = 1, over 6,000 rows."""
    mean = torch.tensor([[1.0, -0.5]], dtype=torch.float64)
    n = 6000
    x0 = torch.randn(n, 2, generator=context.generator(1), dtype=torch.float64)
    field = MixtureField(GaussianMixture(mean, torch.tensor([0.5])))
    for end in (0.5, 1.0):
        x = _with_steps(make, 200).solve(field, x0, span=(0.0, end), generator=context.generator(2)).x
        variance = (end * 0.5) ** 2 + (1 - end) ** 2
        context.within(f"mean at t={end:g}", x.mean(0) - end * mean[0], 5 * math.sqrt(variance / n) + 0.01)
        covariance = torch.cov(x.T) / variance
        context.within(f"covariance at t={end:g}, relative", covariance - torch.eye(2), 0.1)


def _jumped(make: Make, field: JointPosterior, x0: Tensor, end: float, context: Context) -> Tensor:
    x = _with_steps(make, 128).solve(field, x0, span=(0.0, end), generator=context.generator(2)).x
    assert isinstance(x, Tensor)
    return x


@law("jumps reach the exact joint law", when=_jumps)
def check_joint_law(make: Make, context: Context) -> None:
    """Two dependent tokens, 128 steps: total variation no larger than sampling itself makes it."""
    joint, n = JointTable(), 10_000
    allowed = joint.floor(n, context.generator(3))
    for masked in (True, False):
        for schedule in (CondOT(), Polynomial(2)) if masked else (CondOT(),):
            field = JointPosterior(joint, MixturePath(Discrete(3, mask=masked), schedule))
            x0 = torch.full((n, 2), 3) if masked else torch.randint(3, (n, 2), generator=context.generator(1))
            x = _jumped(make, field, x0, 1.0, context)
            source = "mask" if masked else "uniform"
            context.within(f"total variation to the joint law, {source} source", joint.distance(x), allowed)


@law("jumps have the marginal of the path halfway", when=_jumps)
def check_marginal_halfway(make: Make, context: Context) -> None:
    """From a mask source half of the tokens are still masked, and rows without masks follow the data."""
    joint, n = JointTable(), 10_000
    field = JointPosterior(joint)
    x0 = torch.full((n, 2), 3)
    x = _jumped(make, field, x0, 0.5, context)
    context.within("share of masked tokens at t = 0.5", (x == 3).double().mean() - 0.5, 0.03)
    both = x[(x < 3).all(1)]
    floor = joint.floor(max(1, len(both)), context.generator(3))
    context.within("total variation of rows without masks", joint.distance(both), floor)


@law("jumps along an exact flow map are exact", when=_maps)
def check_flow_map(make: Make, context: Context) -> None:
    """For 1, 2 and 5 jumps, one evaluation each."""
    field = AffineMap()
    x0 = torch.randn(8, 2, generator=context.generator(1), dtype=torch.float64)
    for steps in (1, 2, 5):
        solution = _with_steps(make, steps).solve(field, x0)
        context.within(f"{steps} jumps", gap(solution.x, field.flow.solution(x0, 0.0, 1.0)), 1e-9)
        context.within("nfe - jumps", solution.nfe - steps, 0)


@law("every part moves as its own solver would move it, over one evaluation a step", when=_mixes)
def check_parts(make: Make, context: Context) -> None:
    """Deterministic parts are compared with their solver on the same grid."""
    solver = _with_steps(make, 6)
    field, x0 = _oracle(solver.wanted(), context)
    counted = Counted(field)
    solution = solver.solve(counted, x0, generator=context.generator(2))
    context.within("network calls a step, minus one", counted.count / 6 - 1, 0)
    for name, inner in solver.parts.items():
        if not inner.stochastic:
            alone = _with_steps(partial(copy.deepcopy, inner), 6).solve(field.parts[name], part(x0, name)).x
            context.within(f"part {name} alone", gap(solution.x[name], alone), 1e-10)


class _Spy(Wrapped):
    """Another field that remembers where it was asked, and answers rubbish in padding.

    Args:
        field: the other.
        real: what is no padding; everything where None.
    """

    def __init__(self, field: Field, real: Any = None) -> None:
        super().__init__(field)
        self.real, self.seen = real, list[State]()

    def __call__(self, x: State, t: Any, cond: Any, generator: torch.Generator | None = None) -> State:
        self.seen.append(x)
        answer = self.ask(x, t, cond, generator)
        return answer if self.real is None else spoiled(answer, self.real)


def _marked(solver: Solver, context: Context) -> tuple[Any, Any, Any]:
    """A field, states, and marks of every other entry of them."""
    field, x0 = _oracle(solver.wanted(), context)

    def every_other(leaf: Tensor) -> Tensor:
        i, j = torch.arange(leaf.shape[0])[:, None], torch.arange(leaf.shape[1])
        return (i + j) % 2 == 0

    return field, x0, map_state(every_other, x0)


@law("given entries stand at their values throughout, and the field never sees them moved")
def check_given_entries_are_held(make: Make, context: Context) -> None:
    """With values of their own, and as they start where none are said; after every step, and within it."""
    solver = make()
    field, x0, given = _marked(solver, context)
    other = map_state(lambda v: 0.5 * v.flip(0) if v.is_floating_point() else torch.zeros_like(v), x0)
    for values in (other, None):
        spy, kept = _Spy(field), list[State]()
        layout = Layout(given=given, values=values)
        settled = layout.holding(x0 if values is None else values)
        asked = field if _maps(solver) else spy
        x = (
            make()
            .solve(
                asked,
                x0,
                generator=context.generator(2),
                layout=layout,
                on_step=lambda x, t, kept=kept: kept.append(x),
            )
            .x
        )
        for what, states in (("the solution", [x]), ("states after steps", kept), ("the field's", spy.seen)):
            off = max((gap(settled.hold(state), state) for state in states), default=0.0)
            context.within(f"given entries of {what} - their values", off, 0)
        context.holds("free entries move", gap(settled.hold(x0), x) > 0)


@law("what stands in padding changes no real entry, and no step")
def check_padding_changes_nothing(make: Make, context: Context) -> None:
    """NaN or the id -1 in x0, and in what the field answers there, against a clean start."""
    solver = make()
    field, x0, real = _marked(solver, context)
    layout = Layout(real)
    found = []
    for start, asked in ((x0, field), (spoiled(x0, real), field if _maps(solver) else _Spy(field, real))):
        found.append(make().solve(asked, start, generator=context.generator(2), layout=layout))
    off = gap(layout.zero(found[0].x), layout.zero(found[1].x))
    context.within("real entries beside rubbish - beside clean padding", off, 0)
    context.within("evaluations beside rubbish - beside clean padding", found[0].nfe - found[1].nfe, 0)


def _all(state: Any) -> bool:
    return all(_all(v) for v in state.values()) if isinstance(state, dict) else bool(state)


@law("the flow of its own recipe is walked to finite states of its space, alike for equal seeds")
def check_walks_its_flow(make: Make, context: Context) -> None:
    """Untrained, under conditions of the recipe's own data: shape, finiteness, geometry, repetition."""
    flow, data = context.flow, context.data
    if flow is None:
        raise NotApplicable("no recipe is around it")
    n = 4 if data is None else min(4, len(data))
    cond = {} if data is None else data.take(torch.arange(n)).cond
    x = flow.solve(n, solver=make(), seed=context.seed, cond=cond).x
    wanted = with_batch(flow.spec.event_shape(), n)
    context.holds("states have the shape of the spec", shape_of(x) == wanted, f"{shape_of(x)} for {wanted}")
    context.holds("states are finite", all_finite(x))
    if flow.geometry.continuous:
        context.within("states lie on the geometry", flow.geometry.violation(x), 1e-3)
    torch.rand(1)
    again = flow.solve(n, solver=make(), seed=context.seed, cond=cond).x
    context.within("states of equal seeds", gap(x, again), 0)


@law("no rows are carried to no rows, or refused in one line")
def check_no_rows(make: Make, context: Context) -> None:
    """On the flow of its recipe, where it stands in one, and on one in closed form."""
    solver = make()
    offered = [_oracle(solver.wanted(), context, n=0)]
    if context.flow is not None and context.flow.field().kind == solver.wanted():
        flow = context.flow
        shape = with_batch(flow.spec.event_shape(), 0)
        offered = [(flow.field(), flow.source.noise(shape, Draw(context.generator(3), dtype=flow.dtype)))]
    for field, x0 in offered:
        found = context.of_no_rows(partial(solver.solve, field, x0, generator=context.generator(2)))
        if found is None:
            raise NotApplicable("it refuses no rows, or this field")
        context.holds("there are no rows", batch_size(found.x) == 0, f"{shape_of(found.x)}")
