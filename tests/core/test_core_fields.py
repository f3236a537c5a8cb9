"""Fields, conversions on paths, solvers from tableaus, and parts that speak for themselves."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.clashes import Clash, problems, within
from flowloom.data import Tensors
from flowloom.energies import GaussianMixture as MixtureEnergy
from flowloom.errors import IncompatibleError, SolverError
from flowloom.fields import EulerMap, Field, NetworkField, ThroughPath, Wrapped, read_as
from flowloom.geometry import Box, Euclidean, FlatTorus, Product, Sphere
from flowloom.guidance import ClassifierFree
from flowloom.layout import Layout
from flowloom.models import MLP
from flowloom.objectives import FlowMatching, Objective, Step
from flowloom.objectives.base import Batch
from flowloom.paths import AffinePath, GeodesicPath, MixturePath, Path, Point, ProductPath
from flowloom.schedules import VP, CondOT, Cosine, LinearVP, Polynomial
from flowloom.solvers import (
    RK4,
    Adaptive,
    BogackiShampine,
    CTMCEuler,
    DormandPrince,
    Euler,
    EulerMaruyama,
    Heun,
    Midpoint,
    PIController,
)
from flowloom.solvers.tableaus import (
    BOGACKI_SHAMPINE,
    DORMAND_PRINCE,
    EULER,
    HEUN,
    MIDPOINT,
    Tableau,
)
from flowloom.solvers.tableaus import RK4 as RK4_TABLEAU
from flowloom.sources import Gaussian, Uniform
from flowloom.spec import Spec
from flowloom.testing.oracles import LinearFlow


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ends(space, n=6, dim=3):
    g = draws(1)
    return (space.project(torch.randn(n, dim, generator=g, dtype=torch.float64)) for _ in "ab")


# -- conversions ---------------------------------------------------------------------------------------


def test_the_score_needs_to_know_a_gaussian_source():
    path, x, t = AffinePath(), torch.randn(4, 2, generator=draws()), torch.full((4,), 0.5)
    assert not path.converts("velocity", "score")
    assert not path.converts("velocity", "score", Uniform(Sphere(2)))
    with pytest.raises(IncompatibleError, match="source: gaussian"):
        path.convert(x, x, t, "velocity", "score")
    one, two = (path.convert(x, x, t, "noise", "score", Gaussian(s)) for s in (1.0, 2.0))
    assert torch.allclose(one, -x / 0.5)
    assert torch.allclose(two, one / 4)


def test_a_product_converts_part_by_part_with_its_own_source_and_schedule():
    path = ProductPath({"a": AffinePath(Cosine()), "b": GeodesicPath(Sphere(2))})
    source = fl.sources.Product({"a": Gaussian(2.0), "b": Uniform(Sphere(2))})
    kinds = {"a": "velocity", "b": "velocity"}
    assert path.converts(kinds, {"a": "score", "b": "velocity"}, source)
    assert not path.converts(kinds, "score", source)
    x = {"a": torch.randn(3, 2, generator=draws()), "b": next(iter(ends(Sphere(2), 3))).float()}
    v = {"a": torch.randn(3, 2, generator=draws(2)), "b": Sphere(2).to_tangent(x["b"], torch.ones(3, 3))}
    t = torch.full((3,), 0.3)
    made = path.convert(v, x, t, kinds, {"a": "score", "b": "data"}, source)
    alone = path.parts["a"].convert(v["a"], x["a"], t, "velocity", "score", Gaussian(2.0))
    assert torch.equal(made["a"], alone)
    assert torch.allclose(made["b"], Sphere(2).exp(x["b"], 0.7 * v["b"]), atol=1e-5)


@pytest.mark.parametrize(("space", "dim"), [(Sphere(2), 3), (FlatTorus(2), 2)])
@pytest.mark.parametrize("quantity", ["data", "noise"])
def test_networks_of_curved_spaces_may_answer_with_an_end(space, dim, quantity):
    """A network that knows the ends has no loss in whatever quantity is compared, and flows to the data."""
    x0, x1 = (space.project(v) for v in ends(space, 5, dim))
    answer = x1 if quantity == "data" else x0

    class Knows(nn.Module):
        def forward(self, x, t):
            return 1.0 * answer

    path = GeodesicPath(space)
    for compared in ("velocity", "data", "noise"):
        objective = FlowMatching(path, predict=quantity, compare_as=compared)
        right = objective.loss(Knows(), Batch(x0, x1), Step(generator=draws())).total
        wrong = objective.loss(Knows(), Batch(x1, x0), Step(generator=draws())).total
        assert float(right) < 1e-12 < 1e-3 < float(wrong)
    if quantity == "noise":
        return  # at t = 0 the noise is where the state is, and says nothing of the way
    end = Euler(20).solve(FlowMatching(path, predict=quantity).field(Knows()), x0).x
    assert float(space.distance(end, x1).max()) < 1e-3


def test_errors_of_predicted_points_are_squared_distances():
    """On a circle the short way counts: 0.1 turns off is 0.1 turns off on either side of zero."""
    space = FlatTorus(1)
    objective = FlowMatching(GeodesicPath(space), predict="data")
    x = torch.zeros(2, 1)
    point = Point(x, torch.full((2,), 0.5), x, x, torch.tensor([[0.05], [0.05]]))
    off = objective.compare(torch.tensor([[0.95], [0.15]]), point, {})
    assert torch.allclose(off, torch.tensor([0.01, 0.01]), atol=1e-5)


def test_padding_of_predicted_points_has_no_loss_and_no_gradient():
    space, layout = Sphere(2), Layout(torch.tensor([[True, True, False]]))
    g = draws()
    x0, x1 = (space.project(torch.randn(1, 3, 3, generator=g)) for _ in "ab")
    raw = torch.randn(1, 3, 3, generator=g)
    raw[:, 2] = 0.0  # what projection cannot divide by
    raw.requires_grad_(True)

    class Answers(nn.Module):
        def forward(self, x, t):
            return raw

    objective = FlowMatching(GeodesicPath(space), predict="data", compare_as="velocity")
    loss = objective.loss(Answers(), Batch(x0, x1, {}, layout), Step(generator=draws(3))).total
    (gradient,) = torch.autograd.grad(loss, raw)
    assert bool(loss.isfinite())
    assert bool(gradient.isfinite().all())
    assert bool((gradient[:, 2] == 0).all())
    assert bool((gradient[:, :2] != 0).any())


# -- fields --------------------------------------------------------------------------------------------


class Turn(Field):
    """A kind of its own, that says what it is as a velocity."""

    kind = "turn"

    def __call__(self, x, t, cond):
        return torch.stack([-x[:, 1], x[:, 0]], 1)

    def as_kind(self, kind):
        if kind != "velocity":
            return None
        read = Wrapped(self)
        read.kind = "velocity"
        return read


def test_kinds_of_field_are_open():
    x0 = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    end = RK4(40).solve(Turn(), x0).x
    assert torch.allclose(end, torch.tensor([[math.cos(1), math.sin(1)]], dtype=torch.float64), atol=1e-6)
    with pytest.raises(IncompatibleError, match="turn field"):
        read_as(Turn(), "score")


class Shaken(Field):
    """A velocity that is drawn at every call."""

    kind, stochastic = "velocity", True

    def __call__(self, x, t, cond, generator=None):
        return torch.randn(x.shape, generator=generator, dtype=x.dtype)


def test_fields_that_draw_follow_the_generator_of_the_solve_through_wrappers():
    x0 = torch.zeros(4, 2)
    wrapped = ClassifierFree(2.0)(Wrapped(Shaken()))
    assert wrapped.stochastic
    one, same, other = (Euler(5).solve(wrapped, x0, generator=draws(s)).x for s in (0, 0, 1))
    plain = Euler(5).solve(Shaken(), x0, generator=draws(0)).x
    assert torch.equal(one, same)
    assert torch.equal(one, plain)
    assert not torch.equal(one, other)


class Told(Field):
    """A velocity of 1 where the class is told and of 0 where it is withheld."""

    kind = "velocity"

    def __call__(self, x, t, cond):
        null = cond.get("null", torch.zeros(len(x), dtype=torch.bool))
        return (~null).to(x)[:, None].expand_as(x)


def test_rows_at_different_times_are_guided_each_by_its_own():
    rule, x = ClassifierFree(3.0, interval=(0.4, 0.6)), torch.zeros(4, 2)
    times, cond = torch.tensor([0.1, 0.5, 0.9, 0.6]), {"label": torch.zeros(4, dtype=torch.long)}
    wanted = torch.tensor([1.0, 3.0, 1.0, 3.0])[:, None].expand(4, 2)
    assert torch.equal(rule(Told())(x, times, cond), wanted)
    assert torch.equal(rule(Told())(x.flip(0), times.flip(0), cond), wanted.flip(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_limit_that_a_grid_meets_is_guided_and_counted_in_any_precision(dtype):
    rule = ClassifierFree(3.0, interval=(0.2, 0.8))
    cond = {"label": torch.zeros(1, dtype=torch.long)}
    solution = Euler(10).solve(rule(Told()), torch.zeros(1, 2, dtype=dtype), cond=cond)
    assert solution.nfe == 17  # seven of ten steps, from 0.2 to 0.8
    assert torch.allclose(solution.x.float(), torch.tensor(0.7 * 3 + 0.3), atol=0.02)


def test_what_is_withheld_is_not_shown_to_the_conditional_branch_of_guidance():
    """Rows that are withheld everything stay unguided; guidance over a name keeps what else is withheld."""

    class Tells(Field):
        kind = "velocity"

        def __call__(self, x, t, cond):
            rows = torch.zeros(len(x), dtype=torch.bool)
            a, b = (cond.get("null", rows) | cond.get(f"null_{name}", rows) for name in "ab")
            return torch.where(a, 0.0, cond["a"])[:, None] + torch.where(b, 0.0, cond["b"])[:, None] + 0 * x

    x, t = torch.zeros(2, 1), torch.zeros(2)
    cond = {"a": torch.ones(2), "b": torch.full((2,), 10.0), "null": torch.tensor([True, False])}
    torch.testing.assert_close(ClassifierFree(3.0)(Tells())(x, t, cond), torch.tensor([[0.0], [33.0]]))
    cond = cond | {"null": torch.zeros(2, dtype=torch.bool), "null_b": torch.tensor([True, False])}
    over_a = ClassifierFree(3.0, conditions=["a"])(Tells())
    torch.testing.assert_close(over_a(x, t, cond), torch.tensor([[3.0], [13.0]]))


def test_a_wrapper_forwards_everything_it_does_not_change():
    class Odd(LinearFlow):
        batch_independent, jvp_safe = False, False

        def calls(self, t, cond):
            return 7

    field = Odd()
    field.source, field.path, field.informs = Gaussian(3.0), AffinePath(Cosine()), ("label",)
    for made in (Wrapped(field), Wrapped(Wrapped(field)), EulerMap(field)):
        assert (made.source, made.path, made.geometry) == (field.source, field.path, field.geometry)
        assert (made.batch_independent, made.jvp_safe, made.informs) == (False, False, ("label",))
        assert made.calls(0.5, {}) == 7
        assert made.span == (0.0, 1.0)


def test_what_converts_is_converted_once():
    field = NetworkField(MLP(Spec((2,)), width=8, depth=1), "data", AffinePath(), Gaussian())
    assert read_as(field, "data") is field
    read = read_as(field, "score")
    assert isinstance(read, ThroughPath)
    assert read.source is field.source


class Doubling(Field):
    """The map z -> 2 z, which tells its density."""

    kind, has_density = "velocity", True

    def __call__(self, x, t, cond):
        return math.log(2) * x

    def log_prob(self, x, cond, layout=None):
        return Gaussian().log_prob(x / 2) - x.shape[1] * math.log(2)


def test_a_field_that_tells_its_density_is_asked_and_not_integrated():
    class Plain(FlowMatching):
        def field(self, model, source=None):
            return Doubling()

    class Never(Heun):
        def solve(self, *args, **settings):
            raise AssertionError("integrated")

    flow = fl.Flow(MLP(Spec((2,)), width=8, depth=1), objective=Plain(), solver=Never())
    x = torch.tensor([[1.0, -2.0]])
    wanted = torch.distributions.Normal(0.0, 2.0).log_prob(x).sum(1)
    assert torch.allclose(flow.log_prob(x), wanted)
    found = fl.scores.Likelihood()(flow, fl.data.Examples(x))
    assert found["nll"] == pytest.approx(-float(wanted), rel=1e-5)


# -- another time domain -------------------------------------------------------------------------------


class NoiseLevels(AffinePath):
    """Time is the noise level: from 8 at the source down to 0 at the data (``x = x1 + s n``)."""

    span = (8.0, 0.0)
    affine = False

    def sample(self, x0, x1, t, *, generator=None):
        s = t[:, None] / 8
        return Point(x1 + s * (x0 - x1), t, (x0 - x1) / 8, x0, x1)

    def converts(self, given, wanted, source=None):
        return given == wanted


def test_solvers_walk_the_span_of_the_path_and_turn_it_for_likelihoods():
    """A Gaussian of spread 8 carried to one of spread 2 along a straight line of levels."""

    class Exact(Field):
        kind, path = "velocity", NoiseLevels()

        def __call__(self, x, t, cond):
            return x * (6 / 8) / (2 + 6 * t[:, None] / 8)

    field, source = Exact(), Gaussian(8.0)
    assert field.span == (8.0, 0.0)
    x0 = torch.randn(5, 2, generator=draws(), dtype=torch.float64) * 8
    for solver in (RK4(40), Adaptive(rtol=1e-8, atol=1e-8)):
        solution = solver.solve(field, x0, keep=100)
        assert (solution.times[0], solution.times[-1]) == (8.0, 0.0)
        assert torch.allclose(solution.x, x0 / 4, atol=1e-6)
        told = fl.likelihood.log_prob(field, source, solution.x, solver=solver).log_prob
        forth = fl.likelihood.sample_with_log_prob(field, source, x0, solver=solver).log_prob
        wanted = torch.distributions.Normal(0.0, 2.0).log_prob(solution.x).sum(1)
        assert torch.allclose(told, wanted, atol=1e-5)
        assert torch.allclose(forth, wanted, atol=1e-5)


def test_a_flow_samples_over_the_span_of_its_path():
    class Down(nn.Module):
        spec = Spec((2,))

        def forward(self, x, t):
            seen.append(float(t[0]))
            return torch.zeros_like(x)

    seen: list[float] = []
    flow = fl.Flow(Down(), path=NoiseLevels(), objective=FlowMatching(NoiseLevels()), solver=Euler(4))
    flow.sample(3, seed=0)
    assert seen == [8.0, 6.0, 4.0, 2.0]


def test_parts_of_one_path_share_their_time():
    with pytest.raises(IncompatibleError, match="share their time"):
        ProductPath({"a": NoiseLevels(), "b": AffinePath()})


# -- solving from anywhere -----------------------------------------------------------------------------


def test_a_solve_starts_where_it_is_told_and_from_another_source():
    flow = fl.Flow(MLP(Spec((2,)), width=8, depth=1), solver=Euler(8))
    x0 = torch.randn(3, 2, generator=draws())
    whole = flow.solve(x0=x0).x
    middle = flow.solve(x0=x0, span=(0.0, 0.5), solver=Euler(4)).x
    assert torch.allclose(flow.solve(x0=middle, span=(0.5, 1.0), solver=Euler(4)).x, whole, atol=1e-6)
    wide, narrow = (flow.solve(400, source=Gaussian(s), seed=0, span=(0.0, 1e-6)).x.std() for s in (5.0, 0.1))
    assert 4.5 < float(wide) < 5.5
    assert float(narrow) < 0.2


def test_scores_are_those_of_the_source_that_a_solve_starts_from():
    """Euler-Maruyama from another spread uses the score of that spread: ``-n / (sigma s)`` of noise n."""
    asked: list[float | None] = []

    class Spied(EulerMaruyama):
        def prepare(self, field):
            asked.append(field.source.std)
            return super().prepare(field)

    flow = fl.Flow(MLP(Spec((1,)), width=8, depth=1), objective=FlowMatching(predict="noise"))
    flow.solve(2, solver=Spied(2))
    flow.solve(2, solver=Spied(2), source=Gaussian(2.0))
    assert asked == [1.0, 2.0]


# -- tableau and controller ----------------------------------------------------------------------------

TABLEAUS = {1: EULER, 2: MIDPOINT, 2.5: HEUN, 3: BOGACKI_SHAMPINE, 4: RK4_TABLEAU, 5: DORMAND_PRINCE}


def conditions(tableau: Tableau, weights) -> list[float]:
    """How far the order conditions up to order 4 are from holding, one number an order."""
    n = len(weights)
    b, c = torch.tensor(weights, dtype=torch.float64), torch.tensor(tableau.nodes, dtype=torch.float64)
    a = torch.zeros(n, n, dtype=torch.float64)
    for i, row in enumerate(tableau.stages):
        a[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    orders = [
        [(b.sum(), 1)],
        [(b @ c, 1 / 2)],
        [(b @ c**2, 1 / 3), (b @ (a @ c), 1 / 6)],
        [(b @ c**3, 1 / 4), ((b * c) @ (a @ c), 1 / 8), (b @ (a @ c**2), 1 / 12), (b @ a @ a @ c, 1 / 24)],
    ]
    return [max(abs(float(found) - wanted) for found, wanted in order) for order in orders]


@pytest.mark.parametrize("order", TABLEAUS)
def test_tableaus_meet_the_conditions_of_their_order_and_no_more(order):
    tableau = TABLEAUS[order]
    rows = [sum(row) for row in tableau.stages]
    assert rows == pytest.approx(list(tableau.nodes), abs=1e-12)
    off = conditions(tableau, tableau.weights)
    assert all(o < 1e-12 for o in off[: int(order)])
    assert int(order) >= 4 or off[int(order)] > 1e-3
    if tableau.error:
        lower = [b - e for b, e in zip(tableau.weights, tableau.error, strict=True)]
        off = conditions(tableau, lower)
        assert all(o < 1e-12 for o in off[: tableau.error_order - 1])
        assert tableau.error_order > 4 or off[tableau.error_order - 1] > 1e-4


METHODS = [Euler(), Midpoint(), Heun(), BogackiShampine(), RK4(), DormandPrince()]


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("how", ["project", "exp"])
def test_every_method_can_choose_its_steps(method, how):
    flow = LinearFlow()
    method.retraction = how
    x0 = torch.randn(6, flow.matrix.shape[0], generator=draws(), dtype=torch.float64)
    tolerance = 1e-3 if method.order == 1 else 1e-5
    solution = Adaptive(method, tolerance, tolerance).solve(flow, x0)
    off = (solution.x - flow.solution(x0, 0.0, 1.0)).abs().max()
    assert float(off) < (100 if method.order == 1 else 30) * tolerance  # of steps, not of the whole
    loose = Adaptive(method, 100 * tolerance, 100 * tolerance).solve(flow, x0)
    assert loose.nfe < solution.nfe


@pytest.mark.parametrize("spread", [1.0, 0.3, 0.1])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_chosen_steps_see_data_that_are_small_beside_the_noise(method, spread):
    """From noise of 80 to data of a spread of 1 or less: far out the field is a cone, in which one step over
    all of the span seems exact."""

    def velocity(x, t):
        level = t[:, None]
        return x * level / (spread**2 + level**2)

    x0 = 80 * torch.randn(200, 2, generator=draws(), dtype=torch.float64)
    exact = x0 * math.sqrt((spread**2 + 0.002**2) / (spread**2 + 80**2))
    for tolerance in (1e-2, 1e-3, 1e-4, 1e-5)[: 3 if method.order == 1 else 4]:
        solver = Adaptive(method, tolerance, tolerance)
        found = solver.solve(_Given(velocity), x0, span=(80.0, 0.002)).x
        if tolerance == 1e-2:  # of steps, not of the whole, and about as large as the data
            assert float(found.std() / exact.std()) == pytest.approx(1, abs=0.4)
        else:
            off = (found - exact).square().mean().sqrt() / exact.std()
            assert float(off) < 8 * tolerance ** (method.order / (method.order + 1))


def test_a_method_that_never_looks_at_the_end_of_its_step_cannot_choose_it():
    class Blind(Euler):
        tableau = Tableau((0.0,), ((),), (1.0,))

    with pytest.raises(ValueError, match="Blind looks nowhere at the end of its step"):
        Adaptive(Blind())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("space", [Sphere(3), FlatTorus(1.0), Euclidean()], ids=str)
def test_conversions_on_geodesics_are_finite_at_both_ends_under_any_schedule(space, dtype):
    """A schedule that arrives with no speed has 1 - alpha = 0 in single precision well before t = 1."""
    x0, x1 = torch.rand(2, 4, 3, generator=draws(), dtype=dtype).unbind()
    x0, x1 = space.project(x0), space.project(x1)
    for schedule in (CondOT(), Cosine()):
        path = GeodesicPath(space, schedule)
        for time in (0.0, 0.999, 1.0):
            point = path.sample(x0, x1, torch.full((4,), time, dtype=dtype))
            told = {"velocity": point.velocity, "data": x1, "noise": x0}
            for given, wanted in itertools.product(told, told):
                found = path.convert(told[given], point.x_t, point.t, given, wanted)
                assert found.isfinite().all(), (given, wanted, time)
        speed = path.convert(x1, point.x_t, torch.full((4,), 0.5, dtype=dtype), "data", "velocity")
        assert speed.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("schedule", [CondOT(), Cosine(), VP(), LinearVP(), Polynomial(2.0)], ids=str)
def test_conversions_of_half_precision_are_those_of_single(dtype, schedule):
    """1 - 1e-4 is 1 in half precision, and sigma is 0 there."""
    x, v = torch.randn(2, 4, 3, generator=draws()).to(dtype).unbind()
    path = AffinePath(schedule)
    for time in (0.0, 0.5, 0.999, 1.0):
        t = torch.full((4,), time)
        for given, wanted in itertools.product(("velocity", "data", "noise"), repeat=2):
            found = path.convert(v, x, t.to(dtype), given, wanted)
            fine = path.convert(v.float(), x.float(), t.to(dtype).float(), given, wanted).to(dtype)
            assert found.dtype == dtype
            assert torch.equal(found, fine), (given, wanted, time)


def test_paths_that_leave_a_space_with_walls_are_refused():
    box = Box()
    for schedule in (Cosine(), VP(), CondOT(0.1)):
        said = [clash.message for clash in AffinePath(schedule, box).clashes({"geometry": box})]
        assert len(said) == 1
        assert "do not add up to 1; use schedule: cond-ot" in said[0]
        assert not list(AffinePath(schedule).clashes({"geometry": Euclidean()}))
        inside = {"geometry": Product({"a": box}), "path": ProductPath({"a": AffinePath(schedule, box)})}
        assert list(inside["path"].clashes(inside))
    for schedule in (CondOT(), CondOT(1e-5), Polynomial(3.0)):
        assert not list(AffinePath(schedule, box).clashes({"geometry": box}))


class _Given(Field):
    """A velocity written down."""

    kind = "velocity"

    def __init__(self, velocity, geometry=None):
        self.velocity, self.geometry = velocity, geometry or Euclidean()

    def __call__(self, x, t, cond):
        return self.velocity(x, t)


@pytest.mark.parametrize("solver", [Euler(3), Adaptive()], ids=repr)
def test_a_hook_does_not_move_what_is_given(solver):
    given = torch.tensor([[True, False]] * 3)
    layout = Layout(given=given, values=torch.full((3, 2), 5.0))
    field = _Given(lambda x, t: torch.ones_like(x))
    solution = solver.solve(field, torch.zeros(3, 2), layout=layout, on_step=lambda x, t: x + 100, keep=9)
    for state in (solution.x, *solution.trajectory):
        assert (state[:, 0] == 5).all()
    assert (solution.x[:, 1] > 100).all()


def test_a_field_that_draws_has_no_euler_map():
    """Its draws would be nobody's: maps know no generator, and the same seed would give other samples."""

    class Drawing(Field):
        kind, stochastic = "velocity", True

        def __call__(self, x, t, cond, generator=None):
            return torch.randn(x.shape, generator=generator)

    with pytest.raises(IncompatibleError, match="Drawing draws"):
        EulerMap(Drawing())


@pytest.mark.parametrize("role", ["real", "given"])
@pytest.mark.parametrize("method", [DormandPrince(), RK4(), Heun()], ids=repr)
def test_what_does_not_move_does_not_loosen_the_tolerance(method, role):
    x0 = torch.randn(4, 3, 2, generator=draws(), dtype=torch.float64)
    field = _Given(lambda x, t: -8 * x * torch.cos(5 * t)[:, None, None])
    alone = Adaptive(method, 1e-4, 1e-4).solve(field, x0)
    wide = torch.cat([x0, torch.zeros(4, 200, 2, dtype=torch.float64)], 1)
    free = (torch.arange(203) < 3).expand(4, -1)
    layout = Layout(real=free) if role == "real" else Layout(given=~free)
    beside = Adaptive(method, 1e-4, 1e-4).solve(field, wide, layout=layout)
    assert beside.nfe == alone.nfe
    assert torch.allclose(beside.x[:, :3], alone.x, atol=1e-12, rtol=0)


def test_two_half_steps_meet_across_a_seam_in_a_product_that_is_curved_elsewhere():
    """The difference of the two is short there, as it is on the torus alone."""
    x0 = {"a": torch.arange(500, dtype=torch.float64)[:, None] / 500}
    ball = torch.eye(3, dtype=torch.float64)[torch.zeros(500, dtype=torch.long)]

    def turning(x, t):
        still = {name: torch.zeros_like(v) for name, v in x.items()}
        return still | {"a": torch.sin(2 * torch.pi * x["a"]) * torch.cos(8 * t)[:, None] + 1}

    solver, torus = Adaptive(Euler(), 1e-4, 1e-4), FlatTorus(1.0)
    alone = solver.solve(_Given(turning, Product({"a": torus})), x0)
    beside = solver.solve(_Given(turning, Product({"a": torus, "s": Sphere(3)})), x0 | {"s": ball})
    assert beside.nfe <= alone.nfe


@pytest.mark.parametrize("whole", [1e-9, 1e3, 1e6, 1e9])
@pytest.mark.parametrize("start", [0.0, 1.0])
@pytest.mark.parametrize("back", [False, True])
def test_adaptive_gets_going_on_spans_of_any_length(whole, start, back):
    span = (whole, 0.0) if back else (0.0, whole)
    x0 = torch.full((2, 1), start, dtype=torch.float64)
    still = Adaptive().solve(_Given(lambda x, t: torch.zeros_like(x)), x0, span=span)
    assert torch.equal(still.x, x0)
    moved = Adaptive().solve(_Given(lambda x, t: torch.ones_like(x) / whole), x0, span=span)
    assert torch.allclose(moved.x, x0 + (-1 if back else 1), atol=1e-9)


def test_what_adaptive_evaluates_is_counted():
    class Counting(LinearFlow):
        asked = 0

        def __call__(self, x, t, cond):
            Counting.asked += 1
            return super().__call__(x, t, cond)

    for method in (Heun(), RK4(), BogackiShampine(), DormandPrince()):
        Counting.asked = 0
        solution = Adaptive(method, 1e-4, 1e-4).solve(Counting(), torch.ones(2, 2, dtype=torch.float64))
        assert solution.nfe == Counting.asked


def test_the_controller_shrinks_grows_and_keeps_its_bounds():
    rule = PIController()
    assert rule.accepted(1.0, 1.0, 5) == pytest.approx(0.9)
    assert rule.accepted(1e-9, 1.0, 5) == 10.0
    assert rule.rejected(1e9, 5) == 0.2
    assert rule.rejected(32.0, 5) == pytest.approx(0.45)
    assert rule.accepted(0.5, 0.01, 2) < rule.accepted(0.5, 1.0, 2)  # errors that grow call for care
    for wrong in ({"safety": 1.5}, {"shrink": 0.0}, {"grow": 0.5}, {"proportional": 0.0}, {"integral": -1.0}):
        with pytest.raises(ValueError, match=r"must|not"):
            PIController(**wrong)


def test_the_budget_names_the_method():
    with pytest.raises(SolverError, match="adaptive RK4 used"):
        Adaptive(RK4(), 1e-12, 1e-12, max_nfe=50).solve(LinearFlow(), torch.ones(2, 2, dtype=torch.float64))


# -- clashes -------------------------------------------------------------------------------------------


def test_any_part_may_say_what_it_cannot_work_with():
    class Picky(nn.Module):
        def clashes(self, parts):
            if parts["spec"].shape == (2,):
                yield Clash("model", "data", "I want three")

    assert problems({"model": Picky(), "spec": Spec((3,))}) == []
    assert [c.message for c in problems({"model": Picky(), "spec": Spec((2,))})] == ["I want three"]


def test_a_guidance_with_a_scale_of_its_own_is_not_taken_for_classifier_free():
    """Fault 18 of the review: an attribute named ``scale`` says nothing."""

    class Louder(fl.guidance.Guidance):
        scale = 3.0

        def __call__(self, field):
            return field

    parts = {"guidance": Louder(), "objective": FlowMatching()}
    assert problems(parts) == []
    assert "condition_dropout" in problems(parts | {"guidance": ClassifierFree(3.0)})[0].message


def test_parts_of_a_product_are_asked_about_their_own_part():
    space = Product({"a": Euclidean(), "b": Sphere(2)})
    path = ProductPath({"a": AffinePath(), "b": AffinePath()})
    assert [c.message for c in problems({"geometry": space, "path": path})] == [
        "an affine path leaves Sphere(dim=2); use path: geodesic"
    ]
    assert within({"geometry": space, "spec": None}, "b") == {"geometry": space.parts["b"], "spec": None}


def test_a_solver_that_cannot_read_the_field_says_which_can():
    tokens = fl.geometry.Discrete(4)
    objective = fl.objectives.PosteriorMatching(MixturePath(tokens))
    (clash,) = problems({"objective": objective, "solver": Euler(), "source": fl.sources.Mask(tokens)})
    assert clash.first == "solver"
    assert "solver: ctmc-euler" in clash.message
    assert problems({"objective": objective, "solver": CTMCEuler()}) == []
    straight = FlowMatching(GeodesicPath(Euclidean()))
    (clash,) = problems({"objective": straight, "solver": EulerMaruyama(), "source": Gaussian()})
    assert (clash.first, clash.second) == ("solver", "path")


class Both(Objective):
    """A field of its own kind that is a velocity too."""

    kind, also = "turn", ("velocity",)

    def __init__(self) -> None:
        super().__init__()
        self.path: Path = AffinePath(CondOT())

    def loss(self, model, batch, step):
        raise NotImplementedError

    def field(self, model, source=None):
        return Turn()


def test_an_objective_says_what_else_its_field_is():
    assert Both().serves("velocity")
    assert Both().serves("turn")
    assert not Both().serves("data")
    assert problems({"objective": Both(), "solver": Euler()}) == []


# -- energies ------------------------------------------------------------------------------------------


def test_a_mixture_is_normalised_and_draws_from_itself():
    energy = MixtureEnergy(means=[[-1.0], [2.0]], stds=[0.5, 1.0], weights=[1.0, 3.0])
    x = torch.linspace(-8, 10, 20001, dtype=torch.float64)[:, None]
    density = (-energy(x, {})).exp()
    assert float(torch.trapezoid(density, x[:, 0])) == pytest.approx(1.0, abs=1e-6)
    x = energy.sample(40_000, draws())
    assert float(x.mean()) == pytest.approx(1.25, abs=0.03)
    for wrong in ({"means": []}, {"stds": 0.0}, {"weights": [1.0]}, {"weights": [1.0, -1.0]}):
        with pytest.raises(ValueError, match=r"means|positive"):
            MixtureEnergy(**wrong)


def test_tensors_of_one_flow_are_those_of_its_parts():
    """What a wrapped field holds is not a module of its own: the flow's parameters stay as they were."""
    flow = fl.Flow(MLP(Spec((2,)), width=8, depth=1), guidance=ClassifierFree(1.0))
    names = {n for n, _ in flow.named_parameters()}
    flow.fit(Tensors(torch.randn(64, 2, generator=draws())), steps=2, batch=16)
    flow.field()
    assert {n for n, _ in flow.named_parameters()} == names
