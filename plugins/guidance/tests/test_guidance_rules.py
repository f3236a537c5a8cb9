"""Rules of guidance beside what is known exactly."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.conditions import without
from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.fields import Field, read_as
from flowloom.guidance import Unguided
from flowloom.spec import Condition, Spec
from flowloom.trained import Trained
from flowloom_guidance.auto import AutoGuidance
from flowloom_guidance.by_energy import ByEnergy
from flowloom_guidance.composed import Composed, Term
from flowloom_guidance.crossed_bars import CrossedBars
from flowloom_guidance.langevin import AnnealedLangevin
from flowloom_guidance.raag import RAAG
from flowloom_guidance.rescaled import Rescaled
from flowloom_guidance.source_guided import SourceGuided
from flowloom_guidance.tilted import Linear, Tilted
from flowloom_registry.cli import main

N = 2000


@pytest.fixture
def point(flow):
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(6, 2, generator=draws, dtype=torch.float64)
    t = torch.full((6,), 0.4, dtype=torch.float64)
    cond = {"label": torch.tensor([0, 1, 0, 1, 0, 1])}
    field = flow.field(Unguided())
    with torch.no_grad():
        told, null = field(x, t, cond), field(x, t, without(cond, 6))
    return field, x, t, cond, told, null


def test_raag_has_a_weight_for_every_row(point):
    field, x, t, cond, told, null = point
    guided = RAAG(7.0, alpha=3.0)(field)(x, t, cond)
    for i in range(6):
        rho = (told[i] - null[i]).norm() / null[i].norm()
        weight = 1 + 6 * torch.exp(-3 * rho)
        assert torch.allclose(guided[i], null[i] + weight * (told[i] - null[i]))
    assert torch.equal(RAAG(1.0)(field)(x, t, cond), told)


def test_the_ratio_at_noise_is_that_of_the_data(flow):
    x0 = torch.randn(50, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    zero, label = torch.zeros(50, dtype=torch.float64), torch.zeros(50, dtype=torch.long)
    field = flow.field(Unguided())
    with torch.no_grad():
        guided = RAAG(2.0, alpha=1.0)(field)(x0, zero, {"label": label})
        null = field(x0, zero, without({"label": label}, 50))
    rho = 1.0 / x0.norm(dim=1)  # |E[x1|c] - E[x1]| / |E[x1] - x0|, and E[x1] = 0
    wanted = (1 + torch.exp(-rho))[:, None] * torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert torch.allclose(guided - null, wanted, atol=1e-6)


def test_rescaled_keeps_the_deviation(point):
    field, x, t, cond, told, null = point
    plain = null + 4.0 * (told - null)
    assert torch.allclose(Rescaled(4.0, share=0.0)(field)(x, t, cond), plain)
    whole = Rescaled(4.0, share=1.0)(field)(x, t, cond)
    assert torch.allclose(whole.std(1), told.std(1))
    assert torch.allclose(whole / plain, (told.std(1) / plain.std(1))[:, None].expand(6, 2))


def test_auto_guidance_leaves_the_weaker_model(flow, point):
    field, x, t, cond, told, _ = point
    weak = fl.Flow(fl.models.MLP(flow.spec, width=8).double())
    with torch.no_grad():
        guided = AutoGuidance(Trained(weak), 3.0)(field)(x, t, cond)
        other = weak.model(x, t, **cond)
    assert torch.allclose(guided, 3 * told - 2 * other)


def test_sizes_are_of_what_is_real_and_free(point):
    """Padding and given entries say nothing, whatever a network answers there."""
    field, x, t, cond, *_ = point
    roles = {"real": Condition(shape=(4,), role="real"), "given": Condition(shape=(4,), role="given")}
    marks = {
        "real": torch.tensor([[1, 1, 1, 0]]).expand(6, 4).bool(),
        "given": torch.tensor([[0, 0, 1, 0]]).expand(6, 4).bool(),
    }

    class Ragged(Field):
        kind, path, source = "velocity", field.path, field.source
        spec = Spec((4,), conditions={"label": Condition(3), **roles})

        def __call__(self, x, t, cond):
            return torch.cat(
                [field(x[:, :2], t, {k: cond[k] for k in ("label", "null") if k in cond}), 9 * x[:, 2:]], 1
            )

    wide = torch.cat([x, x + 1], 1)
    for rule in (RAAG(5.0, alpha=2.0), Rescaled(3.0), Rescaled(3.0, of="data")):
        found = rule(Ragged())(wide, t, {**cond, **marks})
        assert torch.allclose(found[:, :2], rule(field)(x, t, cond)), rule


def test_auto_guidance_asks_both_models_of_the_same_path(flow):
    weak = fl.Flow(fl.models.MLP(flow.spec, width=8).double())
    rule = AutoGuidance(Trained(weak), 3.0)
    assert not list(rule.clashes({"spec": flow.spec, "path": flow.path}))
    (clash,) = rule.clashes({"spec": flow.spec, "path": fl.paths.AffinePath(fl.schedules.Cosine())})
    assert "CondOT(sigma_min=0.0), and this flow walks Cosine()" in clash.message
    weak.model.jvp_safe = weak.model.batch_independent = False
    guided = AutoGuidance(Trained(weak), 3.0)(flow.field(Unguided()))
    assert not guided.jvp_safe
    assert not guided.batch_independent


def rules(flow):
    weak = fl.Flow(fl.models.MLP(flow.spec, width=8).double())
    unequal = [Term({"label": 0}), Term({"label": 1}), Term({"label": 2}, -0.5)]
    for at, through in (("data", True), ("data", False), ("state", True)):
        yield ByEnergy(Linear([-2.0, 1.0]), weight=1.5, at=at, through=through)
    yield from (RAAG(5.0, alpha=2.0), Rescaled(3.0, of="data"), AutoGuidance(Trained(weak), 3.0))
    yield from (Composed(unequal), Composed(unequal, over_null=True))


@pytest.mark.parametrize("kind", ["data", "noise", "score"])
def test_a_rule_is_the_same_whatever_the_network_answers_with(flow, point, kind):
    field, x, t, cond, _, _ = point
    for rule in rules(flow):
        guided = read_as(rule(read_as(field, kind)), "velocity")(x, t, cond)
        assert torch.allclose(guided, rule(field)(x, t, cond), rtol=1e-5, atol=1e-5), rule


def test_data_are_rescaled_as_they_are_told(point):
    field, x, t, cond, told, null = point
    clean = [x + 0.6 * v for v in (told, null)]  # at 0.4
    mixed = clean[1] + 3.0 * (clean[0] - clean[1])
    wanted = mixed * (0.3 + 0.7 * clean[0].std(1) / mixed.std(1))[:, None]
    found = Rescaled(3.0, of="data")(field)(x, t, cond)
    assert torch.allclose(x + 0.6 * found, wanted)


def test_a_composition_adds_scores(flow, point):
    field, x, t, cond, _, _ = point
    path, source = flow.path, flow.source

    def score(label):
        told = {"label": torch.full((6,), label)}
        return path.convert(field(x, t, told), x, t, "velocity", "score", source)

    rule = Composed([Term({"label": 0}, 1.0), Term({"label": 1}, 0.5), Term({"label": 2}, -2.0)])
    guided = rule(field)
    with torch.no_grad():
        found = path.convert(guided(x, t, cond), x, t, "velocity", "score", source)
        # Beside their sum -0.5, 1.5 parts of N(0, 100), noised, of which 0.6 are left at 0.4.
        broad = -0.6 * x / (0.6**2 + (0.4 * 10) ** 2)
        wanted = score(0) + 0.5 * score(1) - 2.0 * score(2) + 1.5 * broad
    assert torch.allclose(found, wanted)
    assert guided.calls(0.4, cond) == 3


def test_weights_over_the_null_are_relative_to_it(point):
    field, x, t, cond, _, null = point
    with torch.no_grad():
        one, two = (field(x, t, {"label": torch.full((6,), k)}) for k in (0, 1))
        rule = Composed([Term({"label": 0}, 2.0), Term({"label": 1}, -1.0)], over_null=True)
        found = rule(field)(x, t, cond)
    assert torch.allclose(found, null + 2.0 * (one - null) - (two - null))


def test_weights_of_another_sum_want_scores(flow):
    objective = fl.objectives.FlowMatching(path=fl.paths.AffinePath())
    other = fl.Flow(flow.model, objective=objective, source=None)
    field = other.field(Unguided())
    field.source = None
    with pytest.raises(IncompatibleError, match="sum 2"):
        Composed([Term({"label": 0}), Term({"label": 1})])(field)


@pytest.mark.slow
def test_langevin_steps_draw_from_the_product_and_the_ode_does_not(flow):
    rule = Composed([Term({"label": 0}), Term({"label": 1}), Term({"label": 2}, -1.0)])
    precisions = torch.tensor([1 / 0.25, 1 / 0.64, -1 / 4.0], dtype=torch.float64)
    variance = 1 / precisions.sum()
    means = torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.0, 0.0]], dtype=torch.float64)
    mean = variance * (precisions[:, None] * means).sum(0)

    def off(solver):
        x = flow.solve(N, solver=solver, guidance=rule, seed=0, cond={"label": 0}).x
        return float((x.mean(0) - mean).norm() + (x.var(0) - variance).norm())

    mended, naive = off(AnnealedLangevin(40, corrections=20)), off(fl.solvers.Euler(400))
    assert mended < 0.08
    assert mended < 0.6 * naive


@pytest.mark.parametrize("weights", [(1.0, 1.0, 0.0), (1.0, 0.5, -1.0), (0.5, 0.0, 0.0)])
def test_a_product_of_another_sum_than_1_starts_at_the_source(flow, weights):
    """At t=0 its noised laws have variance 1/W, and a velocity from the source to there has no bound."""
    terms = [Term({"label": k}, w) for k, w in enumerate(weights) if w]
    precisions = torch.tensor(weights, dtype=torch.float64) / torch.tensor([0.25, 0.64, 4.0])
    means = torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.0, 0.0]], dtype=torch.float64)
    variance = 1 / precisions.sum()
    mean = variance * (precisions[:, None] * means).sum(0)
    solver, cond = AnnealedLangevin(20, corrections=20), {"label": 0}
    found = flow.solve(1000, solver=solver, guidance=Composed(terms), seed=0, keep=21, cond=cond)
    assert max(float(x.abs().max()) for x in found.trajectory) < 10
    assert (found.x.mean(0) - mean).norm() < 0.12
    assert (found.x.std(0) / variance.sqrt() - 1).abs().max() < 0.2


@pytest.fixture
def tilt():
    """Of class 0, N((1, 0), 0.25 I): the tilted law is N(mean - a / 4, 0.25 I)."""
    return Linear([-2.0, 1.0]), torch.tensor([1.5, -0.25], dtype=torch.float64)


def test_guidance_by_a_linear_energy_is_exact_for_a_gaussian(flow, tilt):
    energy, mean = tilt
    x = flow.solve(N, solver=fl.solvers.Midpoint(60), guidance=ByEnergy(energy), seed=0, cond={"label": 0}).x
    assert (x.mean(0) - mean).norm() < 0.05
    assert (x.std(0) - 0.5).norm() < 0.05
    still = ByEnergy(energy, weight=0.0)
    plain = flow.solve(N, solver=fl.solvers.Midpoint(60), guidance=still, seed=0, cond={"label": 0}).x
    assert (plain.mean(0) - torch.tensor([1.0, 0.0])).norm() < 0.05


@pytest.mark.parametrize("how", ["importance", pytest.param("hmc", marks=pytest.mark.slow)])
def test_a_tilted_source_ends_in_the_tilted_law(flow, tilt, how):
    energy, mean = tilt
    solver = SourceGuided(energy, fl.solvers.Euler(10), how, pool=64, iterations=15)
    solution = flow.solve(N, solver=solver, seed=0, cond={"label": 0})
    # Euler's map of ten steps is narrower than the law, by a factor that the untilted solve shows.
    plain = flow.solve(N, solver=fl.solvers.Euler(10), seed=0, cond={"label": 0}).x
    wanted = plain.mean(0) + plain.var(0) * torch.tensor([2.0, -1.0])
    assert (solution.x.mean(0) - wanted).norm() < 0.05
    assert (solution.x.std(0) - plain.std(0)).norm() < 0.06
    assert solution.nfe >= (640 if how == "importance" else 15 * 5 * 10)
    assert mean is not None


def test_energies_are_asked_of_decoded_data(flow):
    """Data in other units than states: an energy of data has the slope of their deviation in states."""
    codec = fl.codecs.Standardize(Spec((2,))).double()
    data = torch.randn(500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4 + 3
    codec.fit(fl.data.Tensors(data))
    energy = Linear([-0.5, 0.25])
    slope = codec.decode_state(torch.eye(2).double()) - codec.decode_state(torch.zeros(2, 2).double())
    of_states = Linear((slope @ energy.slope).tolist())
    x0 = torch.randn(200, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    given = {"x0": x0, "seed": 0, "cond": {"label": 0}}
    for at in ("data", "state"):
        decoded = flow.solve(**given, guidance=ByEnergy(energy, at=at, codec=codec)).x
        wanted = of_states if at == "data" else energy  # which knows the states on the way as they are
        assert torch.allclose(decoded, flow.solve(**given, guidance=ByEnergy(wanted, at=at)).x)
    for how in ("importance", "hmc"):
        few = {"how": how, "iterations": 2, "inner": fl.solvers.Euler(4)}
        decoded = flow.solve(**given, solver=SourceGuided(energy, codec=codec, **few)).x
        assert torch.allclose(decoded, flow.solve(**given, solver=SourceGuided(of_states, **few)).x)


def test_an_energy_of_other_data_is_told_before_training(flow):
    codec = fl.codecs.Standardize(Spec((2,)))
    for part in (ByEnergy(Linear([1.0])), SourceGuided(Linear([1.0]))):
        (clash,) = part.clashes({"spec": flow.spec})
        assert "energy Linear is of real values of shape (1,)" in clash.message
        (clash,) = part.clashes({"spec": flow.spec, "codec": codec})
        assert "give it the flow's codec" in clash.message
    for part in (ByEnergy(Linear([1.0, 0.0]), codec=codec), SourceGuided(Linear([1.0, 0.0]), codec=codec)):
        assert not list(part.clashes({"spec": Spec((7,)), "codec": codec}))


def test_an_energy_that_learned_is_saved_with_the_solver_that_asks_it(flow):
    class Learned(Linear, nn.Module):
        def __init__(self):
            nn.Module.__init__(self)
            Linear.__init__(self, [1.0, 0.0])
            self.weight = nn.Parameter(torch.ones(()))

    solved = fl.Flow(flow.model, objective=flow.objective, solver=SourceGuided(Learned()))
    assert "solver.energy.weight" in dict(solved.named_parameters())


def test_one_slope_is_of_every_entry():
    energy = Linear(0.5, Spec((3, 2)))
    assert energy.spec.shape == (3, 2)
    assert torch.equal(energy(torch.ones(4, 3, 2), {}), torch.full((4,), 3.0))
    for spec in (None, Spec((3,), vocab=5), Spec(parts={"a": Spec((2,))})):
        with pytest.raises(IncompatibleError, match="a slope for every entry"):
            Linear(0.5, spec)


class Tokens(Field):
    """Logits of three tokens that depend on the label."""

    kind = "posterior"
    table = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def __call__(self, x, t, cond, generator=None):
        null = cond.get("null", torch.zeros(len(x), dtype=torch.bool))
        return 2 * self.table[torch.where(null, 3, cond["label"])]


def test_logits_are_guided_as_log_probabilities():
    x, t, cond = torch.zeros(2, 5, dtype=torch.long), torch.full((2,), 0.5), {"label": torch.tensor([0, 1])}
    logs = (2 * Tokens.table).log_softmax(-1)
    told, null = logs[:2], logs[3]
    apart = told - null
    ratio = apart.flatten(1).norm(dim=1) / null.norm()
    weight = (1 + 4 * (-2 * ratio).exp())[:, None, None]
    mixed = null + 3 * apart
    factor = (told.flatten(1).std(1) / mixed.flatten(1).std(1))[:, None, None]
    wanted = {
        RAAG(5.0, alpha=2.0): null + weight * apart,
        Rescaled(3.0, share=1.0): mixed * factor,
        Composed([Term({"label": 0}, 2.0), Term({"label": 2}, -1.0)]): (2 * logs[0] - logs[2]).expand(
            2, 5, 3
        ),
    }
    for rule, answer in wanted.items():
        assert torch.allclose(rule(Tokens())(x, t, cond), answer), rule
    with pytest.raises(IncompatibleError, match="the sum 2"):
        Composed([Term({"label": 0}), Term({"label": 1})])(Tokens())
    with pytest.raises(IncompatibleError, match="adds to scores"):
        ByEnergy(Linear([1.0]))(Tokens())


def test_posteriors_on_an_affine_path_have_no_way_back_from_scores(flow):
    """They are read as data, and so as scores; but a score tells no posterior."""
    field = Tokens()
    field.path, field.source = flow.path, flow.source
    with pytest.raises(IncompatibleError, match="the sum 2"):
        Composed([Term({"label": 0}), Term({"label": 1})])(field)


def test_tilted_metric_resamples_the_data(tilt):
    energy, mean = tilt
    draws = torch.Generator().manual_seed(0)
    real = torch.tensor([1.0, 0.0]) + 0.5 * torch.randn(4000, 2, generator=draws)
    right = mean.float() + 0.5 * torch.randn(2000, 2, generator=draws)
    metric = Tilted(fl.metrics.EnergyDistance(), energy)
    assert metric.better == {"tilted_energy_distance": "lower"}
    found, wrong = (
        metric(Examples(x), Examples(real))["tilted_energy_distance"] for x in (right, real[:2000])
    )
    assert found < 0.05 * wrong


def test_tilted_metric_has_no_pairs(tilt):
    with pytest.raises(IncompatibleError, match="MSE compares samples with their own"):
        Tilted(fl.metrics.MSE(), tilt[0])


@pytest.mark.parametrize("make", [RAAG, Rescaled])
def test_a_weight_is_finite(make):
    with pytest.raises(ValueError, match="weight"):
        make(float("nan"))


class Excludes(Field):
    """Posteriors of three tokens, of which the first is never; told a class, the second neither."""

    kind, path, source = "posterior", None, None
    informs = ("label",)

    def __call__(self, x, t, cond):
        logits = torch.tensor([-torch.inf, 0.0, 1.0]).repeat(len(x), 2, 1)
        told = cond["label"] == 1
        logits[told, :, 1] = -torch.inf
        return logits


def test_what_either_branch_excludes_stays_excluded():
    x, t, never = torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2), -torch.inf
    weak = Excludes()
    rule = AutoGuidance.__new__(AutoGuidance)
    nn.Module.__init__(rule)
    rule.weak, rule.weight = SimpleNamespace(field=lambda: weak), 2.0
    guided = rule(Excludes())(x, t, {"label": torch.tensor([0, 1])})
    assert (guided[:, :, 0] == never).all()
    assert (guided[1, :, 1] == never).all()
    assert not guided.isnan().any()
    terms = Composed([Term({"label": 0}, 2.0), Term({"label": 1}, -1.0)])
    found = terms(Excludes())(x, t, {"label": torch.tensor([0, 0])})
    assert (found[:, :, :2] == never).all()
    assert not found.isnan().any()


def test_corners_of_the_product_have_unlike_weights():
    rows = CrossedBars(4000).split("test").all()
    assert int(rows.cond["label"].max()) == 2
    corner = (rows.x > 0).long() @ torch.tensor([2, 1])
    shares = torch.bincount(corner, minlength=4) / 4000
    assert torch.allclose(shares, torch.tensor([0.032, 0.148, 0.148, 0.672]), atol=0.03)
    alone = CrossedBars(4000, alone=True).all().x
    assert not bool(((alone[:, 0] < 0) & (alone[:, 1] > 0)).any())


@pytest.mark.slow
def test_what_guidance_by_an_energy_costs_is_counted(capsys):
    """It differentiates the network on the way, and counting by modules could not."""
    assert main(["plan", "energy-gaussians"]) == 0
    assert "FLOP" in capsys.readouterr().out
