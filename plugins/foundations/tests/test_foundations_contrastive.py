"""The contrastive loss, its best answer in closed form, and the removal that gives flow matching back."""

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.errors import DataError, IncompatibleError
from flowloom.geometry import Sphere
from flowloom.objectives import Batch, FlowMatching, Step
from flowloom.paths import GeodesicPath
from flowloom.spec import Condition, Spec
from flowloom.testing import check
from flowloom_foundations.contrastive import ContrastiveFlowMatching, InterferenceRemoval
from flowloom_foundations.data import OverlappingClasses, ScatteredClasses
from flowloom_foundations.metrics import BayesAccuracy, WithinClasses

N, STRENGTH = 6, 0.3


class Fixed(nn.Module):
    """Answers with a table, one row an example: the loss as a function of the answers alone."""

    conditional = True

    def __init__(self, n=N):
        super().__init__()
        self.answers = nn.Parameter(torch.randn(n, 2, generator=torch.Generator().manual_seed(7)).double())

    def forward(self, x, t, /, **cond):
        return self.answers


def batch(draws, n=N):
    x0, x1 = (torch.randn(n, 2, generator=draws).double() for _ in "ab")
    return Batch(x0, x1, {"label": torch.arange(n) % 3})


def step(seed):
    return Step(generator=torch.Generator().manual_seed(seed))


def mean_loss(objective, model, data, draws=3000):
    with torch.no_grad():
        return sum(float(objective.loss(model, data, step(s)).total) for s in range(draws)) / draws


def squares(model, targets):
    """``|v_i - u_j|^2``, mean over entries: (i, j)."""
    return (model.answers.detach()[:, None] - targets).square().mean(-1)


def test_the_mean_over_draws_is_that_over_all_pairs_of_different_rows(draws):
    model, data = Fixed(3), batch(draws, 3)
    table = squares(model, data.x1 - data.x0)
    near, apart = table.diagonal().mean(), table[~torch.eye(3, dtype=torch.bool)].mean()
    found = mean_loss(ContrastiveFlowMatching(strength=STRENGTH), model, data)
    wanted, with_itself = near - STRENGTH * apart, near - STRENGTH * table.mean()
    assert abs(found - wanted) < 0.2 * abs(with_itself - wanted), "a row may be its own negative"


def test_negatives_of_another_class(draws):
    model, data = Fixed(), batch(draws)
    table, label = squares(model, data.x1 - data.x0), data.cond["label"]
    other = label[:, None] != label
    wanted = table.diagonal().mean() - STRENGTH * (table * other).sum(1).div(other.sum(1)).mean()
    found = mean_loss(ContrastiveFlowMatching(strength=STRENGTH, other_than="label"), model, data)
    assert abs(found - float(wanted)) < 0.02


def test_the_negative_has_the_noise_of_its_own_row(draws):
    """The paper's pitfall: a negative with the noise of the anchor is another loss."""
    model, data = Fixed(2), batch(draws, 2)
    found = float(ContrastiveFlowMatching(strength=STRENGTH).loss(model, data, step(0)).total)
    answers, u = model.answers.detach(), data.x1 - data.x0
    wrong = data.x1.flip(0) - data.x0

    def loss(negative):
        return float((answers - u).square().mean() - STRENGTH * (answers - negative).square().mean())

    assert abs(found - loss(u.flip(0))) < 1e-12
    assert abs(found - loss(wrong)) > 1e-2


def test_rows_without_a_condition_have_no_negative(draws):
    model, data = Fixed(), batch(draws)
    objective = ContrastiveFlowMatching(strength=STRENGTH, condition_dropout=0.5)
    asked = objective.ask(model, data, step(3))
    shown = ~asked.cond["null"]
    assert 0 < int(shown.sum()) < N
    plain = FlowMatching(condition_dropout=0.5).loss(model, data, step(3)).total
    (pull,) = torch.autograd.grad(objective.loss(model, data, step(3)).total - plain, model.answers)
    assert not pull[~shown].any()
    assert pull[shown].any(1).all()
    # As many rows as count share the weight of the whole batch.
    loss = objective.loss(model, data, step(3))
    assert torch.allclose(loss.total, loss.parts["flow_matching"] - STRENGTH * loss.parts["contrast"])
    pairs = squares(model, data.x1 - data.x0)[shown]
    assert pairs.min() <= loss.parts["contrast"] <= pairs.max()


def test_strength_zero_is_flow_matching(draws):
    model, data = Fixed(), batch(draws)
    ours = ContrastiveFlowMatching(strength=0.0).loss(model, data, step(1)).total
    assert torch.equal(ours, FlowMatching().loss(model, data, step(1)).total)


def test_padding_of_either_row_counts_nothing(draws):
    spec = Spec((2,), conditions={"real": Condition(shape=(2,), role="real")})
    real = torch.ones(2, 2, dtype=torch.bool)
    real[1, 1] = False
    layout = fl.layout.Layout.of(spec, {"real": real})
    model, objective = Fixed(2), ContrastiveFlowMatching(strength=STRENGTH)
    values = []
    for rubbish in (0.0, 1e3, float("nan")):
        data = batch(torch.Generator().manual_seed(0), 2)
        data.x1[1, 1] = rubbish
        values.append(objective.loss(model, Batch(data.x0, data.x1, {}, layout), step(0)).parts["contrast"])
    a, u = model.answers.detach(), (data.x1 - data.x0).nan_to_num()
    wanted = ((a[0, 0] - u[1, 0]).square() + (a[1, 0] - u[0, 0]).square()) / 2
    assert all(torch.allclose(value, wanted) for value in values)


def velocity_of_the_law(data, x, t, label):
    """``E[u | x_t, y]`` of normal classes: x_t is normal, and u is linear in it."""
    mean, std = data.means.to(x)[label], data.stds.to(x)[label]
    t = t[:, None]
    slope = (t * std**2 - (1 - t)) / (t**2 * std**2 + (1 - t) ** 2)
    return mean + slope * (x - t * mean)


class Exact(nn.Module):
    """The best answer of the contrastive loss; of flow matching where the condition is withheld."""

    conditional = True

    def __init__(self, data, strength, mean):
        super().__init__()
        self.data, self.strength, self.mean, self.spec = data, strength, mean, data.spec

    def forward(self, x, t, /, label, null=None):
        plain = velocity_of_the_law(self.data, x, t, label)
        pushed = (plain - self.strength * self.mean) / (1 - self.strength)
        return pushed if null is None else torch.where(null[:, None], plain, pushed)


def test_the_closed_form_is_where_the_loss_is_least(draws):
    """Any constant, scale or shift of the extrapolated velocity is worse, with common random numbers."""
    data = OverlappingClasses(4000)
    examples, T = data.all(), data.means.mean(0)
    x0, objective = torch.randn(4000, 2, generator=draws), ContrastiveFlowMatching(strength=STRENGTH)

    def loss(strength, mean):
        total = 0.0
        for s in range(4):
            batch = Batch(x0, examples.x, examples.cond)
            total += float(objective.loss(Exact(data, strength, mean), batch, step(s)).total)
        return total

    best = loss(STRENGTH, T)
    for strength, mean in ((0.0, T), (0.15, T), (0.42, T), (STRENGTH, T + 1.0), (STRENGTH, T - 1.0)):
        assert best < loss(strength, mean)


def test_rows_that_show_their_condition_are_pushed_for_those_that_do_not(draws):
    """Half of the rows have all of the contrast: what is best for them has twice the strength."""
    data = OverlappingClasses(4000)
    examples, T = data.all(), data.means.mean(0)
    x0 = torch.randn(4000, 2, generator=draws)
    objective = ContrastiveFlowMatching(strength=STRENGTH, condition_dropout=0.5)

    def loss(strength):
        batch, model = Batch(x0, examples.x, examples.cond), Exact(data, strength, T)
        return sum(float(objective.loss(model, batch, step(s)).total) for s in range(4))

    assert objective.pull == 2 * STRENGTH
    assert loss(objective.pull) < min(map(loss, (STRENGTH, 0.5, 0.68)))


def test_removal_gives_the_velocity_of_the_law_back(draws):
    data = ScatteredClasses(4000)
    flow = fl.Flow(
        Exact(data, STRENGTH / 0.9, None),
        objective=ContrastiveFlowMatching(strength=STRENGTH, condition_dropout=0.1),
        guidance=InterferenceRemoval(),
    )
    flow.guidance.fit(data, flow, draws)
    T = data.all().x.mean(0)
    assert torch.allclose(flow.guidance.mean, T, atol=1e-5)
    flow.model.mean = T
    x, label = torch.randn(8, 16, generator=draws), torch.arange(8)
    for t in (0.1, 0.6):
        time = torch.full((8,), t)
        plain = velocity_of_the_law(data, x, time, label)
        assert torch.allclose(flow.field()(x, time, {"label": label}), plain, atol=1e-4)
        # Guidance: both branches plain, so mixing them changes nothing here.
        guided = InterferenceRemoval(2.5)
        guided.mean, guided.strength = flow.guidance.mean, flow.guidance.strength
        assert torch.allclose(
            guided(flow.objective.field(flow.model))(x, time, {"label": label}), plain, atol=1e-3
        )
    late = InterferenceRemoval(interval=(0.35, 1.0))
    late.mean, late.strength = flow.guidance.mean, flow.guidance.strength
    field = late(flow.objective.field(flow.model))
    for t, removed in ((0.3, False), (0.4, True)):
        time = torch.full((8,), t)
        same = torch.allclose(
            field(x, time, {"label": label}), velocity_of_the_law(data, x, time, label), atol=1e-4
        )
        assert same == removed


def test_what_cannot_work_is_refused(draws):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        ContrastiveFlowMatching(strength=1.0)
    with pytest.raises(ValueError, match=r"\[0, 0.5\)"):
        ContrastiveFlowMatching(strength=0.5, condition_dropout=0.5)
    with pytest.raises(IncompatibleError, match="velocities of different points"):
        ContrastiveFlowMatching(GeodesicPath(Sphere(2)))
    data = OverlappingClasses(50)
    flow = fl.Flow(fl.models.MLP(data.spec, width=4), guidance=InterferenceRemoval())
    with pytest.raises(IncompatibleError, match="objective: contrastive"):
        flow.guidance.fit(data, flow, draws)
    for more, said in (
        ({"other_than": "label"}, "off the others alone"),
        ({"compare_as": "data"}, "compares data"),
        ({"predict": "noise"}, "predicts noise"),
    ):
        flow.objective = ContrastiveFlowMatching(**more)
        with pytest.raises(IncompatibleError, match=said):
            flow.guidance.fit(data, flow, draws)
        clashes = list(flow.guidance.clashes({"objective": flow.objective}))
        assert [said in clash.message for clash in clashes] == [True]
    ragged = fl.data.Tensors(
        torch.zeros(4, 3, 2), {"real": torch.ones(4, 3, dtype=torch.bool)}, roles={"real": "real"}
    )
    other = fl.Flow(fl.models.MLP(ragged.spec, width=4), objective=ContrastiveFlowMatching())
    with pytest.raises(IncompatibleError, match="all of them real and free"):
        InterferenceRemoval().fit(ragged, other, draws)
    flow.objective = ContrastiveFlowMatching()
    assert not list(flow.guidance.clashes({"objective": flow.objective}))
    with pytest.raises(DataError, match="has none"):
        flow.guidance.fit(None, flow, draws)
    with pytest.warns(UserWarning, match="not fitted"):
        flow.field()


@pytest.mark.filterwarnings("ignore:interference-removal is not fitted")
def test_laws():
    data = OverlappingClasses(100)
    for make, more in (
        (ContrastiveFlowMatching, {}),
        (InterferenceRemoval, {}),
        (lambda: BayesAccuracy(data), {"data": data}),
        (WithinClasses, {"data": data}),
    ):
        gained = {"check_exact_answers_have_no_loss": "what stands off other rows is gained, not lost"}
        results = check(make, **more, expected_failures=gained if make is ContrastiveFlowMatching else {})
        assert all(r.ok for r in results), [r for r in results if not r.ok]


def test_a_killed_run_goes_on_bit_for_bit(survives_a_kill):
    tensors = survives_a_kill(
        "contrastive", "guidance=interference-removal", "objective.condition_dropout=0.2"
    )
    assert tensors["guidance.mean"].shape == (2,)


def test_the_papers_size(at_paper_scale):
    built = at_paper_scale("contrastive-imagenet")
    assert sum(p.numel() for p in built["model"].parameters()) == 674_816_272  # SiT-XL/2: 675 M
    assert built["objective"].strength == 0.05
