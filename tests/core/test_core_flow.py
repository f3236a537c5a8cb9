"""The Flow object: defaults, sampling, conditions, and errors in one line."""

from __future__ import annotations

import pytest
import torch

import flowloom as fl
from flowloom.clashes import problems
from flowloom.conditioning import conditions_for
from flowloom.errors import FlowloomError, IncompatibleError, ShapeError
from flowloom.geometry import Discrete, Euclidean, FlatTorus, Product, Sphere
from flowloom.guidance import ClassifierFree
from flowloom.models import MLP
from flowloom.objectives import FlowMatching, PosteriorMatching
from flowloom.paths import AffinePath, GeodesicPath, MixturePath
from flowloom.solvers import CTMCEuler, Dopri5, Euler, EulerMaruyama, FlowMapSteps
from flowloom.sources import Gaussian, Mask, Uniform
from flowloom.spec import Condition, Spec

SPEC = Spec((2,), conditions={"label": Condition(3, names=("ant", "bee", "cat"))})


@pytest.fixture
def flow():
    torch.manual_seed(0)
    return fl.Flow(MLP(SPEC, width=16, depth=1))


def test_defaults_fit_the_geometry():
    plain = fl.Flow(MLP(SPEC, width=8))
    assert isinstance(plain.path, AffinePath)
    assert isinstance(plain.source, Gaussian)
    round_ = fl.Flow(MLP(Spec((3,)), width=8), geometry=Sphere(2))
    assert isinstance(round_.path, GeodesicPath)
    assert isinstance(round_.source, Uniform)
    assert round_.path.geometry is round_.geometry
    taken = fl.Flow(MLP(Spec((3,)), width=8), objective=FlowMatching(GeodesicPath(FlatTorus())))
    assert isinstance(taken.geometry, FlatTorus)


def test_samples_follow_the_seed(flow):
    a, b, c = flow.sample(5, seed=1), flow.sample(5, seed=1), flow.sample(5, seed=2)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert not torch.equal(flow.sample(5), flow.sample(5))
    assert not a.requires_grad


def test_samples_do_not_depend_on_the_batch(flow):
    whole = flow.sample(10, seed=1, label=2)
    assert torch.allclose(whole, flow.sample(10, seed=1, label=2, batch=3), atol=1e-6)


def test_networks_whose_rows_see_each_other_are_never_split(flow):
    sizes = []

    class Spy(MLP):
        batch_independent = False

        def forward(self, x, t, **cond):
            sizes.append(len(x))
            return super().forward(x, t, **cond)

    fl.Flow(Spy(SPEC, width=8, depth=1)).sample(10, batch=3)
    assert set(sizes) == {10}


def test_sampling_leaves_the_mode_of_the_model_alone(flow):
    flow.model.train()
    flow.sample(2)
    assert flow.model.training
    flow.model.eval()
    flow.sample(2)
    assert not flow.model.training


@pytest.mark.parametrize(
    "value", [2, "cat", [2] * 4, ["cat"] * 4, torch.tensor([2, 2, 2, 2]), torch.tensor(2)]
)
def test_a_class_may_be_given_in_many_ways(flow, value):
    assert torch.equal(flow.sample(4, seed=0, label=value), flow.sample(4, seed=0, label=2))


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"colour": 1}, ["colour", "label"]),
        ({"label": 3}, ["label", "3", "0 to 2"]),
        ({"label": -1}, ["label", "-1", "0 to 2"]),
        ({"label": "dog"}, ["dog", "ant, bee, cat"]),
        ({"label": [0, 1]}, ["label", "2 rows", "4"]),
        ({"label": torch.zeros(4)}, ["label", "whole numbers"]),
        ({"label": 1.5}, ["label", "whole numbers"]),
    ],
)
def test_wrong_conditions_are_one_clear_line(flow, condition, words):
    with pytest.raises(ShapeError) as caught:
        flow.sample(4, **condition)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_wrong_numbers_are_refused(flow):
    with pytest.raises(ShapeError, match="at least 1"):
        flow.sample(0)


def test_a_codec_is_fitted_undone_and_kept():
    x = 50 + 10 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    spec = Spec((2,))
    flow = fl.Flow(MLP(spec, width=32, depth=2), codec=fl.codecs.Standardize(spec))
    flow.fit(x, steps=150, batch=64, lr=3e-3)
    samples = flow.sample(200, seed=0)
    assert float((samples.mean(0) - 50).abs().max()) < 5
    assert 4 < float(samples.std()) < 16


def test_densities_need_a_source_that_has_one(flow):
    density = flow.log_prob(torch.zeros(3, 2), solver=Dopri5(), label=1)
    assert density.shape == (3,)
    flow.source = fl.sources.FromDataset(fl.data.Moons(10))
    with pytest.raises(IncompatibleError, match="density"):
        flow.log_prob(torch.zeros(3, 2), label=1)


def test_solvers_that_cannot_integrate_the_field_say_so(flow):
    for solver in (CTMCEuler(4), FlowMapSteps(1)):
        with pytest.raises(FlowloomError) as caught:
            flow.sample(2, solver=solver)
        assert "\n" not in str(caught.value)


def test_guidance_counts(flow):
    assert flow.solve(4, solver=Euler(10), cond={"label": 1}).nfe == 10
    guided = flow.solve(4, solver=Euler(10), guidance=ClassifierFree(2.0), cond={"label": 1})
    assert guided.nfe == 20
    windowed = flow.solve(4, solver=Euler(10), guidance=ClassifierFree(2.0, (0.25, 0.55)), cond={"label": 1})
    assert windowed.nfe == 13


# -- parts that do not fit -----------------------------------------------------------------------------


def clashes(**parts):
    found = problems(parts)
    assert all("\n" not in c.message for c in found)
    return {(c.first, c.second) for c in found}


TOKENS = Spec((4,), vocab=5)
POSTERIOR = PosteriorMatching(MixturePath(Discrete(5)))


def test_parts_that_fit_have_no_problems():
    assert (
        clashes(
            spec=SPEC,
            geometry=Euclidean(),
            source=Gaussian(),
            path=AffinePath(),
            objective=FlowMatching(condition_dropout=0.1),
            solver=Euler(),
            model=MLP(SPEC, width=8),
            guidance=ClassifierFree(2.0),
        )
        == set()
    )
    assert (
        clashes(
            spec=TOKENS,
            geometry=Discrete(5),
            source=Uniform(Discrete(5)),
            path=MixturePath(Discrete(5)),
            objective=POSTERIOR,
            solver=CTMCEuler(),
        )
        == set()
    )


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ({"spec": TOKENS, "geometry": Euclidean()}, ("geometry", "data")),
        ({"spec": SPEC, "geometry": Discrete(4)}, ("geometry", "data")),
        ({"spec": TOKENS, "geometry": Discrete(7)}, ("geometry", "data")),
        ({"spec": SPEC, "geometry": Product({"a": Euclidean()})}, ("geometry", "data")),
        ({"geometry": Sphere(2), "source": Gaussian()}, ("source", "geometry")),
        ({"geometry": Discrete(5), "source": Gaussian()}, ("source", "geometry")),
        ({"geometry": Euclidean(), "source": Mask(Discrete(5))}, ("source", "geometry")),
        ({"geometry": Sphere(2), "path": AffinePath()}, ("path", "geometry")),
        ({"geometry": Discrete(5), "path": AffinePath()}, ("path", "geometry")),
        ({"objective": FlowMatching(), "solver": CTMCEuler()}, ("solver", "objective")),
        ({"objective": POSTERIOR, "solver": Euler()}, ("solver", "objective")),
        ({"objective": FlowMatching(), "solver": FlowMapSteps()}, ("solver", "objective")),
        (
            {
                "objective": FlowMatching(GeodesicPath(Sphere(2))),
                "solver": EulerMaruyama(),
                "source": Uniform(Sphere(2)),
            },
            ("solver", "path"),
        ),
        (
            {"objective": FlowMatching(), "solver": EulerMaruyama(), "source": fl.sources.Paired()},
            ("solver", "source"),
        ),
        ({"objective": FlowMatching(condition_dropout=0.1), "spec": Spec((2,))}, ("objective", "data")),
        (
            {"objective": FlowMatching(condition_dropout=0.1), "model": torch.nn.Linear(2, 2)},
            ("objective", "model"),
        ),
        ({"objective": FlowMatching(), "guidance": ClassifierFree(2.0)}, ("guidance", "objective")),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, (dict, tuple)) else None,
)
def test_parts_that_clash_are_named(parts, wanted):
    assert wanted in clashes(**parts)


class NoConversions(GeodesicPath):
    """A path that knows its velocity alone."""

    def converts(self, given, wanted, source=None):
        return given == wanted


def test_constructors_refuse_what_cannot_be():
    for build in (
        lambda: Uniform(Euclidean()),
        lambda: Mask(Sphere(2)),
        lambda: MixturePath(Sphere(2)),
        lambda: FlowMatching(NoConversions(), predict="data"),
        lambda: FlowMatching(MixturePath(Discrete(3))),
        lambda: PosteriorMatching(GeodesicPath(Sphere(2))),
    ):
        with pytest.raises(IncompatibleError) as caught:
            build()
        assert "\n" not in str(caught.value)
    for build in (
        lambda: Sphere(0),
        lambda: FlatTorus(-1.0),
        lambda: Gaussian(0.0),
        lambda: Euler(0),
        lambda: Euler(grid=(0.0, 0.5, 0.5, 1.0)),
        lambda: Dopri5(rtol=0.0),
        lambda: ClassifierFree(2.0, (0.9, 0.1)),
        lambda: FlowMatching(condition_dropout=1.0),
    ):
        with pytest.raises(ValueError, match="got"):
            build()


@pytest.mark.parametrize("words", [{"batch": 0}, {"batch": -3}, {"seed": 2**70}])
def test_numbers_that_make_no_sense_are_refused_in_our_words(words):
    flow = fl.Flow(fl.models.MLP(fl.Spec(shape=(2,)), width=8))
    with pytest.raises(fl.errors.ShapeError, match=r"batch must be at least 1|too large"):
        flow.sample(3, **words)


def test_toy_data_may_come_without_labels() -> None:
    bare, told = (fl.data.EightGaussians(64, labelled=labelled) for labelled in (False, True))
    for part in (bare, bare.split("test")):
        assert not part.spec.conditions
        assert not part.take(torch.arange(4)).cond
    assert torch.equal(bare.all().x, told.all().x)
    assert "label" in told.split("val").take(torch.arange(4)).cond


def test_a_role_that_is_not_there_is_asked_for_in_one_line():
    network = fl.models.MLP(fl.Spec((2,)), width=8)
    flow = fl.Flow(network, roles={"teacher": fl.models.MLP(fl.Spec((2,)), width=8)})
    assert "teacher" in flow.roles
    assert flow.roles["teacher"].spec.shape == (2,)
    with pytest.raises(
        fl.errors.IncompatibleError, match=r"in the role 'critic'; roles .* has: teacher; add"
    ):
        flow.roles["critic"]
    with pytest.raises(fl.errors.IncompatibleError, match="has: none"):
        fl.Flow(network).roles["critic"]


def test_rows_of_a_condition_have_its_shape():
    spec = fl.Spec((2,), conditions={"past": fl.Condition(shape=(3,))})
    flow = fl.Flow(fl.models.MLP(spec, width=8))
    assert flow.sample(4, past=torch.zeros(4, 3)).shape == (4, 2)
    for wrong, got in (((4, 2), r"\(2,\)"), ((4,), r"\(\)"), ((4, 3, 1), r"\(3, 1\)")):
        line = rf"'past' takes numbers of shape \(3,\), or 4 of them, got 4 rows of shape {got}"
        with pytest.raises(fl.errors.ShapeError, match=line):
            flow.sample(4, past=torch.zeros(wrong))


def test_rows_of_a_condition_may_be_shorter_where_examples_differ_in_size():
    known = {"mask": fl.Condition(shape=(5,), role="real"), "at": fl.Condition(shape=(5,))}
    assert conditions_for(known, 2, {"at": torch.zeros(2, 4)})["at"].shape == (2, 4)
    with pytest.raises(fl.errors.ShapeError, match=r"'at' takes numbers of shape \(5,\)"):
        conditions_for(known, 2, {"at": torch.zeros(2)})
