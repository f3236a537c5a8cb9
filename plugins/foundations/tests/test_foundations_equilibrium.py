"""Equilibrium matching against closed forms and wrong twins: loss, energy, descent, rest, composition."""

import math

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.fields import Field, read_as
from flowloom.guidance import ClassifierFree
from flowloom.layout import Layout
from flowloom.models import MLP
from flowloom.objectives import Batch, FlowMatching, Step
from flowloom.solvers import RK4, Euler
from flowloom.spec import Condition, Spec
from flowloom.testing import check
from flowloom_foundations.equilibrium import (
    Composition,
    EquilibriumMatching,
    GradientDescent,
    Landscape,
    Linear,
    Magnitude,
    Nesterov,
    OutOfDistribution,
    Piecewise,
    Slope,
    TimeBlind,
    Truncated,
)
from flowloom_foundations.equilibrium import laws as magnitude_laws
from flowloom_foundations.equilibrium.outliers import auroc
from flowloom_registry import load_recipe
from flowloom_registry.errors import ConfigError

SPEC = Spec((3,), conditions={"label": Condition(4)})
FORMS = ("implicit", "dot", "norm")


def step(seed=0):
    return Step(generator=torch.Generator().manual_seed(seed))


def network(spec=SPEC, seed=0):
    torch.manual_seed(seed)
    return MLP(spec, width=16, depth=2).double()


def batch(draws, n=6):
    x0, x1 = (torch.randn(n, 3, generator=draws).double() for _ in "ab")
    return Batch(x0, x1, {"label": torch.arange(n) % 4})


class Bowl(nn.Module):
    """The gradient of ``rate |x - centre_y|^2 / 2``; told the time, it would show."""

    conditional = True

    def __init__(self, rate=1.0, centres=((0.0, 0.0, 0.0),)):
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(rate).double())
        self.centres = torch.tensor(centres).double()
        self.spec = Spec((3,), conditions={"label": Condition(len(centres))} if len(centres) > 1 else {})
        self.rows, self.times = 0, set()

    def forward(self, x, t, /, label=None, null=None, **cond):
        self.rows += len(x)
        self.times |= set(t.tolist())
        centre = self.centres[0] if label is None else self.centres[label]
        if null is not None:
            centre = torch.where(null[:, None], self.centres.mean(0), centre)
        return self.rate * (x - centre)


# --- the loss -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_loss_and_gradients_are_the_papers(form, draws):
    """Written out: target (x0 - x1) c(t), the network asked at time 0, grad E by create_graph."""
    model, data = network(), batch(draws)
    objective = EquilibriumMatching(landscape=form)
    loss = objective.loss(model, data, step(5)).total
    t = objective.times.sample(6, fl.draw.Draw.like(data.x1, torch.Generator().manual_seed(5)))[:, None]

    def papers(sign=1.0, told=False, graph=True):
        x = ((1 - t) * data.x0 + t * data.x1).requires_grad_()
        f = model(x, t[:, 0] if told else torch.zeros(6).double(), **data.cond)
        if form == "implicit":
            gradient = f
        else:
            energy = (x * f).sum() if form == "dot" else -0.5 * f.square().sum()
            (gradient,) = torch.autograd.grad(energy, x, create_graph=graph, retain_graph=True)
        target = sign * (data.x0 - data.x1) * 4.0 * ((1 - t) / 0.2).clamp(max=1)
        return (gradient - target).square().mean()

    assert torch.allclose(loss, papers(), atol=1e-12)
    assert not torch.allclose(loss, papers(sign=-1.0), atol=1e-3), "the sign of the target tells nothing"
    assert abs(loss - papers(told=True)) > 1e-6, "the network was told the time"
    # The output bias alone has no part in the gradient of some energies, everything else does.
    ours, theirs = (
        torch.autograd.grad(v, list(model.parameters()), allow_unused=True) for v in (loss, papers())
    )
    gap = max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True) if b is not None)
    assert gap < 1e-12
    assert any(a is not None and a.abs().max() > 1e-4 for a in ours)
    if form != "implicit":
        assert not papers(graph=False).requires_grad, "without create_graph nothing would be learned"


def test_the_least_loss_is_the_mean_target(draws):
    """Of Gaussian data N(0, s^2) the best gradient at x is an integral over t; others are worse."""
    s, n = 0.3, 200_000
    x0, x1 = torch.randn(n, 1, generator=draws).double(), s * torch.randn(n, 1, generator=draws).double()
    grid = torch.linspace(0, 1, 2001, dtype=torch.float64)[:-1] + 0.00025

    def best(x):
        variance = (1 - grid) ** 2 + (s * grid) ** 2
        weight = (-0.5 * x**2 / variance).exp() / variance.sqrt()
        slope = ((1 - grid) - grid * s**2) / variance * Truncated()(grid)
        return (weight * slope * x).sum(1, keepdim=True) / weight.sum(1, keepdim=True)

    table = best(torch.linspace(-4, 4, 801, dtype=torch.float64)[:, None])

    class Table(nn.Module):
        def __init__(self, scale=1.0, shift=0.0):
            super().__init__()
            self.scale, self.shift = scale, shift

        def forward(self, x, t, /, **cond):
            index = ((x[:, 0] + 4) * 100).round().long().clamp(0, 800)
            return self.scale * table[index] + self.shift

    losses = {
        key: float(EquilibriumMatching().loss(Table(*key), Batch(x0, x1), step(1)).total)
        for key in ((1.0, 0.0), (0.9, 0.0), (1.1, 0.0), (1.0, 0.1), (1.0, -0.1), (-1.0, 0.0))
    }
    assert min(losses, key=losses.get) == (1.0, 0.0), losses


@pytest.mark.parametrize("form", FORMS)
def test_the_network_is_never_told_the_time(form, draws):
    model, data = Bowl(), batch(draws)
    objective = EquilibriumMatching(landscape=form)
    objective.loss(model, Batch(data.x0, data.x1), step())
    field = objective.field(model)
    early, late = (field(data.x0, torch.full((6,), t).double(), {}) for t in (0.1, 0.9))
    assert model.times == {0.0}
    assert torch.equal(early, late)


def test_a_time_blind_network_hears_no_time_under_flow_matching(draws):
    bowl = Bowl()
    model, data = TimeBlind(bowl.spec, bowl), batch(draws)
    FlowMatching().loss(model, Batch(data.x0, data.x1), step())
    assert bowl.times == {0.0}
    assert model.conditional


def test_padding_and_given_entries_have_no_part_in_the_energy(draws):
    """NaN there changes neither energy nor slope of the rest."""
    conditions = {"real": Condition(shape=(3,), role="real"), "given": Condition(shape=(3,), role="given")}
    spec = Spec((3,), conditions=conditions)
    model = network(spec)
    real = torch.tensor([[True, True, False]]).expand(4, 3)
    cond = {"real": real, "given": torch.tensor([[True, False, False]]).expand(4, 3)}
    x = torch.randn(4, 3, generator=draws).double()
    spoiled = torch.where(real, x, torch.nan)
    for form in ("dot", "norm"):
        energy = Landscape(model, form)
        assert torch.equal(energy(x, cond), energy(spoiled, cond))
    for landscape in FORMS:
        losses = [
            EquilibriumMatching(landscape=landscape)
            .loss(model, Batch(x, v, cond, Layout.of(spec, cond)), step())
            .total
            for v in (x.flip(0), torch.where(real, x.flip(0), torch.nan))
        ]
        assert torch.isfinite(losses[0])
        assert torch.equal(*losses)


def test_curved_spaces_are_descended_along_their_tangents(draws):
    space = fl.geometry.Sphere(2)
    objective = EquilibriumMatching(fl.paths.GeodesicPath(space), magnitude=Linear(1.0))
    spec = Spec((3,))
    flow = fl.Flow(network(spec), spec=spec, geometry=space, objective=objective, solver=Nesterov(9, 0.1))
    x = flow.solve(5, seed=0).x
    assert space.violation(x).max() < 1e-6
    field = flow.field()
    assert (field(x, torch.zeros(5), {}) * x).sum(1).abs().max() < 1e-6


# --- magnitudes ---------------------------------------------------------------------------------------------


def test_magnitudes_are_the_papers():
    t = torch.tensor([0.0, 0.4, 0.8, 0.9, 1.0], dtype=torch.float64)
    for law, wanted in (
        (Linear(2.0), [2.0, 1.2, 0.4, 0.2, 0.0]),
        (Truncated(0.8, 4.0), [4.0, 4.0, 4.0, 2.0, 0.0]),
        (Piecewise(0.8, 1.4, 1.0), [1.4, 1.2, 1.0, 0.5, 0.0]),
    ):
        assert torch.allclose(law(t), torch.tensor(wanted).double())
    assert torch.allclose(Truncated(0.0, 2.0)(t), Linear(2.0)(t))
    assert torch.allclose(Piecewise(0.8, 1.0)(t), Truncated(0.8)(t))


class NoRest(Magnitude):
    def shape(self, t):
        return torch.ones_like(t)


class Jumps(Magnitude):
    def shape(self, t):
        return torch.where(t < 0.5, 1.0, 1 - t)


class Uphill(Magnitude):
    def shape(self, t):
        return (1 - t) * (t - 0.5)


class Rounds(Magnitude):
    def shape(self, t):
        return (1 - t).float()


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (NoRest, "check_vanishes_at_the_data"),
        (Jumps, "check_continuous"),
        (Uphill, "check_positive_before"),
        (Rounds, "check_keeps_the_time"),
    ],
)
def test_laws_of_magnitudes_find_their_wrong_twin(wrong, name):
    kind = fl.kinds.Kind("magnitude", f"{Magnitude.__module__}:Magnitude", "m", magnitude_laws.__name__)
    assert all(r.ok for r in check(Piecewise, kind))
    failed = {r.name for r in check(wrong, kind) if not r.ok}
    assert name in failed


# --- energies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["dot", "norm"])
def test_the_explicit_energy_is_an_energy_whose_gradient_is_the_field(form, draws):
    spec = Spec((3,))
    model = network(spec)
    objective = EquilibriumMatching(landscape=form)
    energy = objective.energy(model)
    assert all(r.ok for r in check(energy, expected_failures={"check_one_number_a_row": "double weights"}))
    x, h = torch.randn(6, 3, generator=draws).double(), 1e-6
    with torch.no_grad():  # as in sampling
        slope = objective.field(model)(x, torch.zeros(6), {})
    assert not slope.requires_grad
    for i in range(3):
        e = h * torch.eye(3)[i].double()
        with torch.no_grad():
            measured = (energy(x + e, {}) - energy(x - e, {})) / (2 * h)
        assert torch.allclose(slope[:, i], measured, atol=1e-7)
    f = model(x, torch.zeros(6).double())
    wanted = (x * f).sum(1) if form == "dot" else -0.5 * f.square().sum(1)
    assert torch.allclose(energy(x, {}), wanted)


def test_a_slope_stays_in_the_graph_of_the_state(draws):
    """The derivative of the slope by the state is the Hessian, which is symmetric."""
    model, x = network(Spec((3,))), torch.randn(1, 3, generator=draws).double()
    hessian = torch.autograd.functional.jacobian(lambda v: Slope(model, "dot")(v, torch.zeros(1))[0], x)[:, 0]
    assert torch.allclose(hessian, hessian.T, atol=1e-10)
    assert hessian.abs().max() > 1e-3
    plain = torch.autograd.functional.jacobian(lambda v: Slope(model)(v, torch.zeros(1))[0], x)[:, 0]
    assert not torch.allclose(plain, plain.T, atol=1e-3), "an implicit landscape need not be one"


def test_rows_that_see_each_other_have_no_energy():
    model = network()
    model.batch_independent = False
    found = list(EquilibriumMatching(landscape="dot").clashes({"model": model}))
    assert "implicit" in found[0].message
    assert not list(EquilibriumMatching().clashes({"model": model}))
    assert EquilibriumMatching().energy(model) is None


# --- descent ------------------------------------------------------------------------------------------------


def flow_of(model, solver, **more):
    return fl.Flow(model, spec=model.spec, objective=EquilibriumMatching(**more), solver=solver)


def test_descent_of_a_bowl_is_known(draws):
    """x_k = (1 - eta)^k x_0; Nesterov as the paper has it follows x+ = x - eta (x + mu (x - x-))."""
    x0, eta, mu = torch.randn(4, 3, generator=draws).double(), 0.1, 0.4
    flow = flow_of(Bowl(), GradientDescent(7, eta))
    assert torch.allclose(flow.solve(x0=x0).x, (1 - eta) ** 7 * x0, atol=1e-12)
    before, x = x0, x0
    classical_before, classical = x0, x0
    for _ in range(7):
        before, x = x, x - eta * (x + mu * (x - before))
        look = classical + mu * (classical - classical_before)
        classical_before, classical = classical, look - eta * look
    found = flow.solve(x0=x0, solver=Nesterov(7, eta, mu)).x
    assert torch.allclose(found, x, atol=1e-12)
    assert not torch.allclose(found, classical, atol=1e-3), "Nesterov's own scheme piles up momentum"
    plain = flow.solve(x0=x0, solver=Nesterov(7, eta, 0.0)).x
    assert torch.allclose(plain, flow.solve(x0=x0).x, atol=1e-12)


def test_more_steps_go_on_where_fewer_stopped(draws):
    flow, x0 = flow_of(Bowl(), GradientDescent(5, 0.1)), torch.randn(4, 3, generator=draws).double()
    half = flow.solve(x0=x0).x
    assert torch.equal(flow.solve(x0=half).x, flow.solve(x0=x0, solver=GradientDescent(10, 0.1)).x)


@pytest.mark.parametrize("solver", [GradientDescent, Nesterov])
def test_every_sample_stops_by_itself_and_is_paid_for_by_itself(solver):
    """|f| = |x| = 0.9^k |x_0|: a row at distance r rests after ceil(log(r / 0.1) / -log 0.9) steps."""
    x0 = torch.zeros(4, 3).double()
    x0[:, 0] = torch.tensor([0.05, 1.0, 4.0, 1e9])
    model = Bowl()
    flow = flow_of(model, solver(100, 0.1, tolerance=0.1))
    solution = flow.solve(x0=x0)
    spent = solution.cond["evaluations"]
    alone = [flow.solve(x0=x0[i : i + 1]) for i in range(4)]
    assert all(torch.equal(solution.x[i : i + 1], one.x) for i, one in enumerate(alone)), "rows stop together"
    assert spent.tolist() == [one.nfe for one in alone]
    assert spent[0] == 1
    assert torch.equal(solution.x[0], x0[0])
    assert spent[3] == 100 == solution.nfe
    if solver is GradientDescent:
        wanted = [1 + math.ceil(math.log(r / 0.1) / -math.log(0.9)) for r in (1.0, 4.0)]
        assert spent[1:3].tolist() == wanted
    model.rows = 0
    flow.solve(x0=x0)
    assert model.rows == int(spent.sum()), "the network is asked about samples at rest, or not paid for"


def test_stopping_with_guidance_counts_both_branches(draws):
    model = Bowl(centres=((1.0, 0, 0), (0, 1.0, 0)))
    flow = flow_of(model, GradientDescent(60, 0.2, tolerance=0.05), condition_dropout=0.1)
    flow.guidance = ClassifierFree(1.5)
    x0 = torch.randn(5, 3, generator=draws).double()
    solution = flow.solve(x0=x0, cond={"label": [0, 1, 0, 1, 1]})
    assert model.rows == int(solution.cond["evaluations"].sum())
    assert solution.nfe == int(solution.cond["evaluations"].max())
    assert solution.cond["label"].tolist() == [0, 1, 0, 1, 1]
    # Chunks of a batch stop on their own, and are joined again.
    chunks = flow.solve(x0=x0, cond={"label": [0, 1, 0, 1, 1]}, batch=2)
    assert torch.equal(chunks.cond["evaluations"], solution.cond["evaluations"])
    # (1 - w) null + w conditional: the bowl about 1.5 centre - 0.5 mean.
    wanted = 1.5 * model.centres[[0, 1, 0, 1, 1]] - 0.5 * model.centres.mean(0)
    assert (solution.x - wanted).norm(dim=1).max() < 0.05


def test_stopping_rows_keep_layout_hooks_and_trajectory(draws):
    conditions = {"given": Condition(shape=(3,), role="given")}
    model = Bowl()
    model.spec = Spec((3,), conditions=conditions)
    given = torch.eye(3, dtype=torch.bool)
    flow = flow_of(model, Nesterov(50, 0.2, tolerance=0.1))
    x0, times = torch.tensor([[5.0, 0, 0], [5.0, 3.0, 1.0], [0.0, 9.0, 7.0]]).double(), []
    solution = flow.solve(x0=x0, cond={"given": given}, keep=4, on_step=lambda x, t: times.append(t))
    assert torch.equal(solution.x[given], x0[given]), "given entries moved"
    assert solution.cond["evaluations"][0] == 1, "given entries keep a row from its rest"
    assert solution.x[~given].norm() < 0.3
    assert times == sorted(times)
    assert times[-1] == 1.0 == solution.times[-1]
    assert torch.equal(solution.trajectory[0], x0)
    assert torch.equal(solution.trajectory[-1], solution.x)
    # What a hook puts in place is awake.
    moved = flow.solve(x0=x0, cond={"given": given}, on_step=lambda x, t: x + 1.0 if t < 0.5 else None)
    assert (moved.cond["evaluations"] >= 25).all()


def test_fields_that_see_the_batch_are_asked_about_all_of_it(draws):
    class Together(Bowl):
        batch_independent = False

        def forward(self, x, t, /, **cond):
            return super().forward(x, t) + 0 * x.mean(0)

    model = Together()
    flow = flow_of(model, GradientDescent(20, 0.2, tolerance=0.5))
    x0 = torch.diag(torch.tensor([0.1, 1.0, 4.0])).double()
    together = flow.solve(x0=x0)
    assert model.rows == 3 * together.nfe
    assert torch.equal(together.x, flow_of(Bowl(), GradientDescent(20, 0.2, tolerance=0.5)).solve(x0=x0).x)


def test_a_landscape_that_is_not_finite_is_told():
    model = Bowl(float("nan"))
    for tolerance in (0.0, 0.1):
        with pytest.raises(fl.errors.SolverError, match="not finite"):
            flow_of(model, GradientDescent(5, 0.1, tolerance)).solve(x0=torch.ones(2, 3).double())


# --- readings -----------------------------------------------------------------------------------------------


def test_read_as_a_velocity_it_is_gradient_flow(draws):
    """Euler in N steps is descent at eta = T / N; RK4 is at exp(-T)."""
    x0 = torch.randn(4, 3, generator=draws).double()
    flow = flow_of(Bowl(), Euler(10), horizon=1.5)
    assert torch.allclose(flow.solve(x0=x0).x, flow.solve(x0=x0, solver=GradientDescent(10, 0.15)).x)
    assert torch.allclose(flow.solve(x0=x0, solver=RK4(20)).x, math.exp(-1.5) * x0, atol=1e-6)
    back = flow.solve(x0=flow.solve(x0=x0, solver=RK4(40)).x, span=(1.0, 0.0), solver=RK4(40)).x
    assert torch.allclose(back, x0, atol=1e-6)
    with pytest.raises(IncompatibleError, match="no way back"):
        flow.solve(x0=x0, span=(1.0, 0.0), solver=GradientDescent())


def test_the_density_of_gradient_flow_is_that_of_what_it_carries(draws):
    """N(0, I) under x' = -T x is N(0, exp(-2 T) I)."""
    flow = flow_of(Bowl(), RK4(20), horizon=1.5)
    x = 0.3 * torch.randn(4, 3, generator=draws).double()
    wanted = torch.distributions.Normal(0.0, math.exp(-1.5)).log_prob(x).sum(1)
    assert torch.allclose(flow.log_prob(x), wanted, atol=1e-4)


def test_guided_gradients_are_read_as_velocities_too(draws):
    """What is read is the guided field and not the one inside."""
    model = Bowl(centres=((1.0, 0, 0), (0, 1.0, 0)))
    objective = EquilibriumMatching(condition_dropout=0.1, horizon=2.0)
    field, x = objective.field(model), torch.randn(4, 3, generator=draws).double()
    cond = {"label": torch.tensor([0, 1, 1, 0])}
    guided = ClassifierFree(2.5)(field)
    assert guided.kind == "gradient"
    t = torch.zeros(4)
    velocity = read_as(guided, "velocity")
    assert torch.allclose(velocity(x, t, cond), -2.0 * guided(x, t, cond))
    assert not torch.allclose(velocity(x, t, cond), -2.0 * field(x, t, cond))
    assert velocity.calls(0.0, cond) == 2
    with pytest.raises(IncompatibleError, match="without a path"):
        read_as(velocity, "data")  # it is not the velocity of the path


def test_a_solver_that_descends_refuses_velocities():
    with pytest.raises(ConfigError, match="gradient"):
        from flowloom_registry import build

        build(load_recipe("equilibrium-baseline", overrides=["solver=gradient-descent"]))


# --- composition, outliers ----------------------------------------------------------------------------------


def test_composition_descends_the_sum_of_the_landscapes(draws):
    """Bowls about several points add up to one about their weighted mean."""
    model = Bowl(centres=((1.0, 0, 0), (0, 1.0, 0), (0, 0, 6.0)))
    flow = flow_of(model, GradientDescent(200, 0.1))
    x0, cond = torch.randn(4, 3, generator=draws).double(), {"label": 2}
    rule = Composition([0, 1], [1.0, 3.0])
    solution = flow.solve(x0=x0, guidance=rule, cond=cond)
    wanted = (model.centres[0] + 3 * model.centres[1]) / 4
    assert torch.allclose(solution.x, wanted.expand(4, 3), atol=1e-8)
    assert solution.nfe == 400
    assert model.rows == 4 * 400
    # Its classes stand in for whatever the solve is told, withheld or not; what else is withheld stays so.
    plain, hidden = flow.field(), torch.ones(4, dtype=torch.bool)
    asked: list[dict] = []
    model.register_forward_pre_hook(lambda _m, _x, told: asked.append(told), with_kwargs=True)
    told = {"label": torch.full((4,), 2), "size": torch.ones(4), "null": hidden, "null_label": hidden}
    composed = rule(plain)(x0, torch.zeros(4), told)
    assert asked[0].keys() == {"label", "size", "null_size"}
    assert bool(asked[0]["null_size"].all())
    assert torch.allclose(composed, 4 * (x0 - wanted), atol=1e-8)
    with pytest.raises(IncompatibleError, match="gradients of landscapes"):
        rule(FlowMatching().field(model))
    field = flow.field()
    field.informs = ("size",)
    with pytest.raises(IncompatibleError, match="no condition 'label'"):
        rule(field)


def test_auroc_counts_pairs():
    inside, outside = torch.tensor([1.0, 2.0, 2.0]), torch.tensor([0.0, 2.0, 3.0])
    pairs = (outside[:, None] > inside).double() + 0.5 * (outside[:, None] == inside).double()
    assert auroc(inside, outside) == pytest.approx(float(pairs.mean()))
    lost = torch.tensor([1.0, math.nan])
    assert math.isnan(auroc(inside, lost))
    assert math.isnan(auroc(lost, outside))


def test_outliers_by_norm_and_by_energy(draws):
    """Of a bowl, the norm is the distance: AUROC is that of the distances."""
    x = 0.5 * torch.randn(500, 3, generator=draws).double()
    flow, examples = flow_of(Bowl(), GradientDescent()), fl.data.Examples(x)
    found = OutOfDistribution(low=-2, high=2)(flow, examples, seed=4)["auroc"]
    box = -2 + 4 * torch.rand(x.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert found == pytest.approx(auroc(x.norm(dim=1), box.norm(dim=1)))
    assert found > 0.9
    # <x, f(x)> of the same network is the squared distance, and orders alike.
    explicit = flow_of(Bowl(), GradientDescent(), landscape="dot")
    same = OutOfDistribution("energy", low=-2, high=2)(explicit, examples, seed=4)["auroc"]
    assert same == pytest.approx(found)
    with pytest.raises(IncompatibleError, match="only the gradient"):
        OutOfDistribution("energy")(flow, examples)
    with pytest.raises(IncompatibleError, match="no landscape"):
        OutOfDistribution()(fl.Flow(Bowl(), spec=Spec((3,))), examples)
    with pytest.raises(ShapeError):
        OutOfDistribution()(flow, examples.take(torch.arange(0)))


def test_settings_that_mean_nothing_are_refused():
    for make in (
        lambda: GradientDescent(rate=0.0),
        lambda: GradientDescent(tolerance=-1.0),
        lambda: Nesterov(momentum=1.0),
        lambda: Linear(0.0),
        lambda: Truncated(1.0),
        lambda: Piecewise(0.0),
        lambda: EquilibriumMatching(horizon=0.0),
        lambda: OutOfDistribution(low=1.0, high=1.0),
        lambda: OutOfDistribution(low=math.nan),
        lambda: Composition([0, 1], [1.0]),
    ):
        with pytest.raises(ValueError, match=r"must|give"):
            make()


# --- runs ---------------------------------------------------------------------------------------------------


def test_a_killed_run_goes_on_bit_for_bit(survives_a_kill):
    """Classes withheld, an explicit energy, averaged weights."""
    survives_a_kill(
        "equilibrium-classes",
        "objective.landscape=dot",
        "train.ema=0.9",
        "model.width=16",
        "solver.steps=3",
        "renderer=null",
    )


@pytest.mark.parametrize(
    ("recipe", "size"), [("equilibrium-imagenet", 674_816_272), ("equilibrium-imagenet-b", 0)]
)
def test_the_papers_size(recipe, size, at_paper_scale):
    """SiT-XL/2, 675 M, and SiT-B/2, 130 M."""
    built = at_paper_scale(recipe)
    total = sum(p.numel() for p in built["model"].parameters())
    assert total == size or round(total / 1e6) in (130, 131)
    assert built["solver"].steps == 250
    assert built["objective"].magnitude.scale == 4.0


def test_the_images_transformer_has_an_energy():
    """Attention must have a second derivative there; the fused kernels lack it."""
    images = pytest.importorskip("flowloom_images.models")
    spec = Spec((4, 8, 8), conditions={"label": Condition(3)})
    torch.manual_seed(0)
    model = images.DiT(spec, patch=4, width=32, depth=2, heads=2)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    x0, x1 = torch.randn(2, 2, 4, 8, 8)
    data = Batch(x0, x1, {"label": torch.tensor([0, 2])})
    EquilibriumMatching(landscape="dot").loss(model, data, step()).total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert sum(p.grad is not None and bool(p.grad.any()) for p in model.parameters()) > 10


def test_field_is_a_field():
    assert isinstance(EquilibriumMatching().field(network()), Field)
