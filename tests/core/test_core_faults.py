"""Faults that were found from outside, each told by what somebody would see."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.codecs import Standardize, StateCodec
from flowloom.conditions import withheld
from flowloom.couplings import StableMatching
from flowloom.data import Examples, Tensors
from flowloom.draw import Draw
from flowloom.errors import DataError, IncompatibleError, ShapeError
from flowloom.geometry import Discrete, Euclidean, Product, Sphere
from flowloom.layout import Layout
from flowloom.metrics import sliced_wasserstein
from flowloom.models import MLP
from flowloom.models.embeddings import TimeEmbedding
from flowloom.objectives import Batch, FlowMatching, Loss, PosteriorMatching, ProductObjective, Step
from flowloom.paths import AffinePath, MixturePath, ProductPath
from flowloom.seeds import derive
from flowloom.solvers import CTMCEuler, Euler, Mixed
from flowloom.sources import FromDataset, Gaussian, Mask, Paired
from flowloom.spec import Condition, Spec
from flowloom.training.checkpoint import load_checkpoint, save_checkpoint
from flowloom.training.config import TrainConfig

POINTS = Spec((2,))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def points(n=60, seed=0):
    return torch.randn(n, 2, generator=rng(seed))


def net(spec=POINTS, width=8):
    torch.manual_seed(0)
    return MLP(spec, width=width, depth=1)


def first_batch(flow, data, size=64):
    flow.fit_parts(data)
    trainer = flow.trainer(data, TrainConfig(steps=2, batch=size))
    try:
        return trainer.feed.batch(0, rng())
    finally:
        trainer.close()


# -- training -----------------------------------------------------------------------------------------


def test_time_derivatives_of_networks_are_of_order_one():
    """An embedding that multiplies time by 1000 has jvps that no few-step method can be trained on."""
    embed = TimeEmbedding(64).double()
    t = torch.linspace(0.05, 0.95, 50, dtype=torch.float64)
    value, slope = torch.func.jvp(embed, (t,), (torch.ones_like(t),))
    assert slope.norm(dim=1).max() < 12 * value.norm(dim=1).median()


class Learned(FlowMatching):
    """An objective that learns a shift of its own."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(2))

    def loss(self, model, batch, step):
        plain = super().loss(model, batch, step)
        return Loss(plain.total + (self.shift - 1).square().sum(), plain.parts)


def test_what_an_objective_learns_is_averaged_and_kept(tmp_path):
    def trainer():
        flow = fl.Flow(net(), objective=Learned())
        return flow.trainer(Tensors(points()), TrainConfig(steps=30, batch=16, lr=0.05, ema=0.9))

    trained, fresh = trainer(), trainer()
    list(trained.run())
    assert trained.flow.objective.shift.norm() > 0.1
    assert "objective.shift" in trained.ema.state_dict()
    load_checkpoint(fresh, save_checkpoint(trained, tmp_path))
    assert torch.equal(fresh.flow.objective.shift, trained.flow.objective.shift)
    for each in (trained, fresh):
        each.close()


class Drawing(StateCodec):
    """A codec that draws, as a posterior sample does; its noise comes from the generator that it is given."""

    def encode(self, examples, generator=None):
        noise = torch.randn(examples.x.shape, generator=generator)
        return Examples(examples.x + 0.1 * noise, examples.cond)

    def encode_state(self, x):
        raise AssertionError("encode is what is called")

    def decode_state(self, x):
        return x


@pytest.mark.parametrize("prefetch", ["on", "off"])
def test_a_codec_that_draws_resumes_with_the_same_bits(tmp_path, prefetch):
    def trainer():
        flow = fl.Flow(net(), codec=Drawing(POINTS))
        config = TrainConfig(steps=12, batch=16, prefetch=prefetch)
        return flow.trainer(Tensors(points()), config, seed=3)

    whole, cut, rest = trainer(), trainer(), trainer()
    before = torch.get_rng_state()
    list(whole.run())
    assert torch.equal(torch.get_rng_state(), before), "nothing was drawn from the global generator"
    list(cut.run(5))
    load_checkpoint(rest, save_checkpoint(cut, tmp_path))
    torch.manual_seed(99)
    list(rest.run())
    for a, b in zip(whole.flow.parameters(), rest.flow.parameters(), strict=True):
        assert torch.equal(a, b)
    for each in (whole, cut, rest):
        each.close()


def test_a_codec_moves_with_the_flow():
    codec = Standardize(POINTS)
    codec.fit(Tensors(points()))
    flow = fl.Flow(net(), codec=codec).to("meta")
    assert {t.device.type for t in (codec.mean, codec.std)} == {"meta"}
    assert flow.device.type == "meta"


def test_streams_of_plugins_are_streams():
    assert derive(0, "somebody/rollouts", 3) != derive(0, "somebody/rollouts", 4)
    assert derive(0, "somebody/rollouts") != derive(0, "somebody/else")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.bool])
def test_class_ids_may_be_any_whole_numbers(dtype):
    label = (torch.arange(60) % 2).to(dtype)
    spec = Spec((2,), conditions={"label": Condition(2)})
    data = Tensors(points(), {"label": label}, spec=spec)
    flow = fl.Flow(net(spec))
    batch = first_batch(flow, data)
    assert batch.cond["label"].dtype == torch.int64
    flow.fit(data, steps=2, batch=8)
    assert flow.sample(3, label=True, seed=0).shape == (3, 2)


@pytest.mark.parametrize(
    "settings", [{"lr": float("nan")}, {"clip": float("nan")}, {"rates": {"*": float("nan")}}]
)
def test_numbers_of_training_that_are_none(settings):
    with pytest.raises(ValueError, match="must be a number, and not negative; got nan"):
        TrainConfig(**settings)


@pytest.mark.parametrize("size", ["width", "depth", "token_dim"])
def test_networks_of_no_size_are_refused(size):
    with pytest.raises(ValueError, match=f"{size} must be at least 1, got 0"):
        MLP(POINTS, **{size: 0})


# -- both ends of a path ------------------------------------------------------------------------------


@pytest.mark.parametrize("law", ["dataset", "paired"])
def test_x0_that_is_data_is_encoded_as_data_are(law):
    x = 100 + points(500)
    before = 101 + points(500, seed=1)
    if law == "dataset":
        data, source = Tensors(x), FromDataset(Tensors(before))
    else:
        data, source = Tensors(x, {"x0": before}, roles={"x0": "start"}), Paired()
    batch = first_batch(fl.Flow(net(), source=source, codec=Standardize(POINTS)), data)
    assert batch.x1.mean().abs() < 0.5
    assert 0.5 < batch.x0.mean() < 1.5, "one standard deviation beside the data"


def test_states_that_are_paired_are_not_encoded_again():
    data = Tensors(100 + points(500), {"x0": points(500, seed=1)}, roles={"x0": "start"})
    flow = fl.Flow(net(), source=Paired(holds="states"), codec=Standardize(POINTS))
    assert first_batch(flow, data).x0.mean().abs() < 0.5


def test_a_flow_of_pairs_is_drawn_from_another_source_and_from_states():
    data = Tensors(points(), {"x0": points(seed=1)}, roles={"x0": "start"})
    flow = fl.Flow(net(data.spec), source=Paired())
    flow.fit(data, steps=2, batch=8)
    assert flow.solve(4, source=Gaussian(), seed=0).x.shape == (4, 2)
    assert flow.solve(x0=points(4)).x.shape == (4, 2)
    assert flow.sample(4, x0=points(4)).shape == (4, 2)


# -- given entries ------------------------------------------------------------------------------------

KNOWN = {"known": Condition(shape=(4,), role="given"), "what": Condition(shape=(4, 2), role="values")}


def test_what_x0_has_at_given_entries_changes_no_loss():
    spec = Spec((4, 2), conditions=KNOWN)
    objective, model = FlowMatching(), net(spec)
    x0, x1 = torch.randn(2, 16, 4, 2, generator=rng(1))
    known = torch.arange(4).expand(16, -1) < 2
    cond = {"known": known, "what": x1}
    layout = Layout.of(spec, cond)

    def loss(start):
        return objective.loss(model, Batch(start, x1, cond, layout), Step(generator=rng(2))).total

    assert torch.equal(loss(x0), loss(torch.where(known[..., None], 1e4, x0)))
    assert not torch.equal(loss(x0), loss(torch.where(known[..., None], x0, 1.5)))


def test_parts_of_a_mixed_product_are_held_apart():
    """The given tokens of one part stay, and its ids never reach the other."""
    space = {"pos": Euclidean(), "kind": Discrete(5, mask=True)}
    spec = Spec(
        parts={"pos": Spec((4, 2)), "kind": Spec((4,), vocab=5)},
        conditions={
            "known": Condition(shape=(4,), role="given", of="kind"),
            "what": Condition(shape=(4,), role="values", of="kind"),
        },
    )
    mask = Mask(space["kind"])
    parts = {
        "pos": FlowMatching(AffinePath()),
        "kind": PosteriorMatching(MixturePath(space["kind"], source=mask)),
    }
    path = ProductPath({k: v.path for k, v in parts.items()})
    flow = fl.Flow(
        net(spec),
        spec=spec,
        geometry=Product(space),
        source=fl.sources.Product({"pos": Gaussian(), "kind": mask}),
        path=path,
        objective=ProductObjective(parts),
        solver=Mixed({"pos": Euler(4), "kind": CTMCEuler(4)}),
    )
    known = torch.tensor([True, False, True, False]).expand(6, -1)
    what = torch.randint(5, (6, 4), generator=rng(3))
    x = flow.solve(6, seed=0, cond={"known": known, "what": what}).x
    assert torch.equal(x["kind"][known], what[known])
    assert (x["kind"] < 5).all()
    assert x["pos"].abs().gt(0).all(), "nothing of the other part is held"


# -- conditions ---------------------------------------------------------------------------------------


def labelled(dropout):
    data = fl.data.EightGaussians(200)
    flow = fl.Flow(net(data.spec), objective=FlowMatching(condition_dropout=dropout))
    flow.fit(data, steps=2, batch=8)
    return flow


def test_a_condition_that_was_never_withheld_is_missed():
    with pytest.warns(UserWarning, match="no label given, which training never withheld") as told:
        labelled(0.0).sample(2, seed=0)
    # And not a decorator of torch, so that commands tell it in a line.
    assert Path(told[0].filename).name == "flow.py"
    with pytest.warns(UserWarning, match="no label given"):
        labelled(0.0).log_prob(torch.zeros(2, 2), solver=Euler(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labelled(0.2).sample(2, seed=0)
        labelled(0.0).sample(2, seed=0, label=1)
        labelled(0.0).sample(2, seed=0, null=torch.ones(2, dtype=torch.bool))


def test_guidance_of_a_condition_that_is_not_there_is_refused():
    flow = labelled(0.2)
    rule = fl.guidance.ClassifierFree(3.0, conditions=["labell"])
    with pytest.raises(IncompatibleError, match=r"'labell', and no such condition .* there are: label"):
        flow.sample(2, label=1, guidance=rule)
    flow.guidance = rule
    with pytest.raises(IncompatibleError, match="labell"):
        flow.trainer(fl.data.EightGaussians(50), TrainConfig(steps=1))
    kept = fl.guidance.ClassifierFree(3.0, conditions=["label"])
    assert flow.sample(2, label=1, guidance=kept).shape == (2, 2)
    assert withheld({"null_label": torch.ones(1)}, "label") is not None


class Stepped(FlowMatching):
    """An objective whose network reads a number beside the time."""

    def conditions(self):
        return {"size": Condition(role="setting")}


def test_what_the_objective_asks_may_be_given_when_sampling():
    seen = {}

    class Watching(nn.Module):
        def forward(self, x, t, **cond):
            seen.update(cond)
            return x

    flow = fl.Flow(Watching(), spec=POINTS, objective=Stepped(), solver=Euler(1))
    flow.sample(3, size=0.25, seed=0)
    assert seen["size"].tolist() == [0.25] * 3
    flow.objective.tells = ("size",)
    with pytest.raises(ShapeError, match="unknown condition 'size'; this flow knows: none"):
        flow.sample(3, size=0.25, seed=0)


# -- numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("law", [fl.times.Uniform(), fl.times.LogitNormal(), fl.times.Beta()])
def test_times_in_half_precision_are_those_of_the_law(law, dtype):
    half = law.sample(500, Draw(rng(), dtype=dtype))
    whole = law.sample(500, Draw(rng(), dtype=torch.float32))
    assert half.dtype == dtype
    assert torch.allclose(half.float(), whole, atol=0.004)


def test_stable_matching_takes_half_precision():
    x = points(16).bfloat16()
    found = StableMatching().rows(x, x.flip(0), {})
    assert found.sort().values.tolist() == list(range(16))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_network_of_another_precision_samples(dtype):
    """Cast to half for serving, a network answers in half; the states keep their digits."""
    flow = fl.Flow(net(width=32), solver=Euler(8))
    flow.fit(points(), steps=3, batch=16)
    want = flow.sample(16, seed=0)
    flow.model.to(dtype)
    got = flow.sample(16, seed=0)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    if dtype == torch.bfloat16:
        assert torch.allclose(got, want, atol=0.1)
        assert not torch.equal(got, got.bfloat16().float()), "states are finer than the network's answers"


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_very_short_and_very_long_vectors_are_projected(scale):
    x = torch.randn(20, 3, generator=rng())
    torch.testing.assert_close(Sphere(2).project(scale * x), Sphere(2).project(x))
    jacobian = torch.func.jacrev(Sphere(2).project)(scale * x[0]) * scale
    torch.testing.assert_close(jacobian, torch.func.jacrev(Sphere(2).project)(x[0]))
    assert torch.equal(Sphere(2).project(torch.zeros(1, 3)), torch.zeros(1, 3))


@pytest.mark.parametrize(("n", "times"), [(2, 50), (20, 5), (7, 3)])
def test_the_same_law_twice_is_at_sliced_distance_zero(n, times):
    x = torch.randn(n, 2, generator=rng())
    assert sliced_wasserstein(x, x.repeat(times, 1)) < 1e-3


def test_sliced_distance_of_unequal_sizes_by_hand():
    # Quantile functions step at 1/2, and at 1/3 and 2/3: they differ by 1 on a sixth and on a third.
    a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0], [2.0]])
    assert sliced_wasserstein(a, b) == pytest.approx((1 / 6 + 1 / 3) ** 0.5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: fl.times.Beta(float("nan")),
        lambda: fl.times.LogitNormal(std=float("nan")),
        lambda: fl.times.Uniform(latest=float("nan")),
        lambda: fl.couplings.Sinkhorn(epsilon=float("nan")),
        lambda: fl.geometry.FlatTorus([float("nan")]),
        lambda: FlowMatching(condition_dropout=float("nan")),
    ],
)
def test_numbers_that_are_none_are_refused(make):
    with pytest.raises(ValueError, match=r"got .*nan"):
        make()


def test_correctors_within_a_product_are_refused():
    """They would correct with answers of before the step."""
    with pytest.raises(IncompatibleError, match="without corrector steps"):
        Mixed({"a": Euler(4), "b": CTMCEuler(4, corrector_steps=2)})
    assert CTMCEuler(4, corrector_steps=2).evaluations_per_step > 1


# -- data that break their own spec -------------------------------------------------------------------

LABELLED = Spec((2,), conditions={"label": Condition(3)})


@pytest.mark.parametrize(
    ("x", "cond", "spec", "told"),
    [
        (
            torch.randn(40, 3),
            {},
            POINTS,
            r"examples have the shape \(3,\), and the spec .* says \(2,\)",
        ),
        (torch.zeros(40, 2).long(), {}, POINTS, "torch.int64, and the spec of the data says real values"),
        (
            torch.randn(40, 2),
            {},
            Spec((2,), vocab=5),
            r"torch.float32, and the spec .* says token ids",
        ),
        (torch.randn(40, 2), {}, LABELLED, "a condition 'label', and there is none"),
        (torch.randn(40, 2), {"label": torch.zeros(40, 1).long()}, LABELLED, r"'label' has the shape \(1,\)"),
        (torch.randn(40, 2), {"label": torch.full((40,), 9)}, LABELLED, "'label' = 9 is out of range"),
        (
            torch.randn(40, 2),
            {"label": torch.zeros(40).long().index_fill(0, torch.tensor(31), -1)},
            LABELLED,
            "row 31: condition 'label' = -1 is out of range",
        ),
    ],
)
def test_examples_that_break_their_spec_are_told_before_training(x, cond, spec, told):
    flow = fl.Flow(net(spec), spec=spec)
    with pytest.raises(DataError, match=told):
        flow.fit(Tensors(x, cond, spec=spec), steps=1, batch=8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize("weights", [torch.float32, torch.float64])
def test_data_of_another_precision_are_taken_in_that_of_the_network(dtype, weights):
    past = points(seed=1).to(dtype)
    flow = fl.Flow(net(Spec((2,), conditions={"past": Condition(shape=(2,))})).to(weights))
    data = Tensors(points().to(dtype), {"past": past})
    assert first_batch(flow, data).x1.dtype == weights
    flow.fit(data, steps=2, batch=8)
