"""Every component of core against the laws of its kind."""

from __future__ import annotations

import pytest
import torch

from flowloom import (
    codecs,
    couplings,
    data,
    geometry,
    guidance,
    metrics,
    models,
    objectives,
    paths,
    renderers,
    schedules,
    solvers,
    sources,
    times,
    weights,
)
from flowloom.solvers.ctmc import TauLeaping
from flowloom.spec import Condition, Spec
from flowloom.testing import parametrize_with_checks

PLANE = Spec((3,), conditions={"label": Condition(4)})
TOKENS = Spec((5,), vocab=7, conditions={"style": Condition(None, (2,))})
SCALAR = Spec((), conditions={"label": Condition(2)})
CLOUD = Spec(
    parts={"pos": Spec((6, 3)), "type": Spec((6,), vocab=5)},
    conditions={
        "label": Condition(3),
        "mask": Condition(shape=(6,), role="real", of="pos, type"),
    },
)

MIXED = geometry.Product(
    {
        "pos": geometry.Euclidean(),
        "angle": geometry.FlatTorus(),
        "heading": geometry.Sphere(2),
        "type": geometry.Discrete(4),
    }
)
SMOOTH = geometry.Product(
    {"pos": geometry.Euclidean(), "angle": geometry.FlatTorus(), "heading": geometry.Sphere(2)}
)


@parametrize_with_checks(
    {
        "euclidean": geometry.Euclidean,
        "sphere1": lambda: geometry.Sphere(1),
        "sphere2": lambda: geometry.Sphere(2),
        "sphere3": lambda: geometry.Sphere(3),
        "sphere7": lambda: geometry.Sphere(7),
        "torus": geometry.FlatTorus,
        "torus-unequal": lambda: geometry.FlatTorus((1.0, 2.5)),
        "torus-small": lambda: geometry.FlatTorus(1e-2),
        "discrete": lambda: geometry.Discrete(5),
        "discrete-mask": lambda: geometry.Discrete(5, mask=True),
        "product": lambda: SMOOTH,
        "product-mixed": lambda: MIXED,
        "product-nested": lambda: geometry.Product({"a": SMOOTH, "b": geometry.Euclidean()}),
    }
)
def test_geometry(conforms):
    conforms()


@parametrize_with_checks(
    {
        "condot": schedules.CondOT,
        "condot-noise": lambda: schedules.CondOT(1e-3),
        "polynomial2": schedules.Polynomial,
        "polynomial3": lambda: schedules.Polynomial(3),
        "cosine": schedules.Cosine,
        "linear-vp": schedules.LinearVP,
        "vp": schedules.VP,
    }
)
def test_schedule(conforms):
    conforms()


@parametrize_with_checks(
    {
        "uniform": times.Uniform,
        "uniform-latest": lambda: times.Uniform(0.9),
        "stratified": lambda: times.Uniform(stratified=True),
        "logit-normal": times.LogitNormal,
        "logit-normal-stratified": lambda: times.LogitNormal(0.5, 0.7, 0.99, True),
        "beta": times.Beta,
        "beta-stratified": lambda: times.Beta(2, 3, stratified=True),
    }
)
def test_times(conforms):
    conforms()


@parametrize_with_checks(
    {"constant": weights.Constant, "min-snr": weights.MinSNR, "inverse-sigma": weights.InverseSigma}
)
def test_weight(conforms):
    conforms()


@parametrize_with_checks(
    {
        "gaussian": sources.Gaussian,
        "gaussian2": lambda: sources.Gaussian(2.5),
        "uniform-sphere": lambda: sources.Uniform(geometry.Sphere(2)),
        "uniform-torus": lambda: sources.Uniform(geometry.FlatTorus((1.0, 3.0))),
        "uniform-tokens": lambda: sources.Uniform(geometry.Discrete(5)),
        "mask": lambda: sources.Mask(geometry.Discrete(5, mask=True)),
        "dataset": lambda: sources.FromDataset(data.Moons(100)),
        "paired": sources.Paired,
        "product": lambda: sources.Product(
            {"a": sources.Gaussian(0.5), "b": sources.Uniform(geometry.Sphere(2)), "c": sources.Gaussian()}
        ),
        "product-gaussian": lambda: sources.Product({"a": sources.Gaussian(2.0), "b": sources.Gaussian(2.0)}),
    }
)
def test_source(conforms):
    conforms()


@parametrize_with_checks(
    {
        "independent": couplings.Independent,
        "ot": couplings.OptimalTransport,
        "ot-sphere-within": lambda: couplings.OptimalTransport(geometry.Sphere(2), "label"),
        "ot-product": lambda: couplings.OptimalTransport(MIXED),
        "sinkhorn": couplings.Sinkhorn,
        "sinkhorn-plan": lambda: couplings.Sinkhorn(draw="plan"),
        "sinkhorn-torus-within": lambda: couplings.Sinkhorn(geometry.FlatTorus(), within="kind"),
        "stable": couplings.StableMatching,
        "stable-within": lambda: couplings.StableMatching(within="label"),
    }
)
def test_coupling(conforms):
    conforms()


@parametrize_with_checks(
    {
        "affine": paths.AffinePath,
        "affine-noise": lambda: paths.AffinePath(schedules.CondOT(1e-3)),
        "affine-cosine": lambda: paths.AffinePath(schedules.Cosine()),
        "affine-vp": lambda: paths.AffinePath(schedules.VP()),
        "geodesic-sphere": lambda: paths.GeodesicPath(geometry.Sphere(2)),
        "geodesic-torus": lambda: paths.GeodesicPath(geometry.FlatTorus(), schedules.Polynomial()),
        "geodesic-product": lambda: paths.GeodesicPath(SMOOTH, schedules.Cosine()),
        "mixture": lambda: paths.MixturePath(geometry.Discrete(5)),
        "mixture-mask": lambda: paths.MixturePath(geometry.Discrete(5, mask=True), schedules.Polynomial()),
        "product": lambda: paths.ProductPath(
            {
                "pos": paths.AffinePath(schedules.Cosine()),
                "heading": paths.GeodesicPath(geometry.Sphere(2)),
                "type": paths.MixturePath(geometry.Discrete(4)),
            }
        ),
    }
)
def test_path(conforms):
    conforms()


def _product_objective():
    return objectives.ProductObjective(
        {
            "pos": objectives.FlowMatching(),
            "heading": objectives.FlowMatching(paths.GeodesicPath(geometry.Sphere(2))),
            "type": objectives.PosteriorMatching(paths.MixturePath(geometry.Discrete(4))),
        },
        weights={"type": 0.3},
        condition_dropout=0.3,
    )


@parametrize_with_checks(
    {
        "velocity": objectives.FlowMatching,
        "data": lambda: objectives.FlowMatching(predict="data", weight=weights.InverseSigma(cap=10.0)),
        "noise-as-velocity": lambda: objectives.FlowMatching(predict="noise", compare_as="velocity"),
        "vp-dropout": lambda: objectives.FlowMatching(
            paths.AffinePath(schedules.VP()), times.LogitNormal(), condition_dropout=0.2
        ),
        "sphere": lambda: objectives.FlowMatching(paths.GeodesicPath(geometry.Sphere(2))),
        "torus": lambda: objectives.FlowMatching(paths.GeodesicPath(geometry.FlatTorus())),
        "smooth-product": lambda: objectives.FlowMatching(paths.GeodesicPath(SMOOTH)),
        "posterior": lambda: objectives.PosteriorMatching(paths.MixturePath(geometry.Discrete(5))),
        "posterior-mask": lambda: objectives.PosteriorMatching(
            paths.MixturePath(geometry.Discrete(5, mask=True)), condition_dropout=0.1
        ),
        "product": _product_objective,
    }
)
def test_objective(conforms):
    conforms()


@parametrize_with_checks(
    {
        "unguided": guidance.Unguided,
        "cfg": lambda: guidance.ClassifierFree(2.0),
        "cfg-interval": lambda: guidance.ClassifierFree(2.0, (0.2, 0.6)),
        "cfg-label": lambda: guidance.ClassifierFree(2.0, conditions=("label",)),
    }
)
def test_guidance(conforms):
    conforms()


@parametrize_with_checks(
    {
        "euler": lambda: solvers.Euler(8),
        "euler-exp": lambda: solvers.Euler(8, retraction="exp"),
        "euler-grid": lambda: solvers.Euler(grid=(0.0, 0.1, 0.5, 1.0)),
        "midpoint": lambda: solvers.Midpoint(8),
        "midpoint-exp": lambda: solvers.Midpoint(8, retraction="exp"),
        "heun": lambda: solvers.Heun(8),
        "rk4": lambda: solvers.RK4(8),
        "rk4-exp": lambda: solvers.RK4(8, retraction="exp"),
        "dopri5": solvers.Dopri5,
        "euler-maruyama": lambda: solvers.EulerMaruyama(20),
        "euler-maruyama-constant": lambda: solvers.EulerMaruyama(20, diffusion=0.7, form="constant"),
        "ctmc-euler": lambda: solvers.CTMCEuler(16),
        "tau-leaping": lambda: TauLeaping(16),
        "flow-map": solvers.FlowMapSteps,
        "mixed": lambda: solvers.Mixed(
            {"a": solvers.Euler(), "b": solvers.CTMCEuler(), "c": solvers.EulerMaruyama()}
        ),
    }
)
def test_solver(conforms):
    conforms()


@parametrize_with_checks(
    {
        "mlp": lambda: models.MLP(PLANE, width=32, depth=2),
        "mlp-tokens": lambda: models.MLP(TOKENS, width=32, depth=2),
        "mlp-scalar": lambda: models.MLP(SCALAR, width=16, depth=1),
        "mlp-cloud": lambda: models.MLP(CLOUD, width=32, depth=2),
        "mlp-two-times": lambda: models.MLP(PLANE.plus({"s": Condition(role="setting")}), width=32, depth=2),
    }
)
def test_model(conforms):
    conforms()


@parametrize_with_checks(
    {
        "identity": lambda: codecs.Identity(CLOUD),
        "standardize": lambda: codecs.Standardize(PLANE),
        "standardize-one": lambda: codecs.Standardize(Spec((4, 3)), per_entry=False),
    }
)
def test_codec(conforms):
    conforms()


@parametrize_with_checks({"energy": metrics.EnergyDistance, "sliced": metrics.SlicedWasserstein})
def test_metric(conforms):
    conforms()


@parametrize_with_checks(
    {
        "eight-gaussians": lambda: data.EightGaussians(1000),
        "moons": lambda: data.Moons(1000),
        "checkerboard": lambda: data.Checkerboard(1000),
        "tensors": lambda: data.Tensors(
            torch.linspace(0, 1, 100).reshape(50, 2), {"label": torch.arange(50) % 3}
        ),
        "tensors-product": lambda: data.Tensors(
            {"a": torch.linspace(0, 1, 90).reshape(30, 3), "b": torch.arange(60).reshape(30, 2) % 5}
        ),
    }
)
def test_dataset(conforms):
    conforms()


@parametrize_with_checks({"scatter": renderers.Scatter})
def test_renderer(conforms):
    conforms()


def test_a_geometry_from_elsewhere_is_checked_in_one_line():
    from flowloom.testing import check

    class Circle(geometry.Sphere):
        def __init__(self):
            super().__init__(1)

    results = check(Circle)
    assert {r.status for r in results} <= {"passed", "skipped"}
    assert len(results) > 20


def test_expected_failures_are_strict():
    from flowloom.testing import check

    excuse = {"check_ends": "it is right, in truth"}
    failed = [r for r in check(schedules.Cosine(), expected_failures=excuse) if not r.ok]
    assert [r.name for r in failed] == ["check_ends"]
    assert "passes" in failed[0].message
    with pytest.raises(ValueError, match="check_nothing"):
        check(schedules.Cosine(), expected_failures={"check_nothing": "there is no such check"})


def test_checks_leave_the_global_generator_alone():
    from flowloom.testing import check

    torch.manual_seed(3)
    before = torch.get_rng_state()
    check(sources.Gaussian())
    assert torch.equal(before, torch.get_rng_state())


def test_what_is_no_component_is_refused():
    from flowloom.testing import check

    with pytest.raises(TypeError, match="component"):
        check("euler")
    with pytest.raises(TypeError, match="component"):
        check(dict)
