"""The fitted denoiser against brute force and theory, and the generated centre against its equations."""

import math

import pytest
import torch

import flowloom as fl
from flowloom.errors import DataError, IncompatibleError
from flowloom.solvers import Euler
from flowloom_foundations.limited import CentreError, TwoClusterDenoiser, TwoClusters, coefficients, generated
from flowloom_foundations.limited.theory import bayes
from flowloom_foundations.sliced import Fitted
from flowloom_registry import build, load_recipe


def fitted(n=8, dim=4000, steps=20, seed=0, **more):
    data = TwoClusters(n, dim=dim, seed=seed)
    model = TwoClusterDenoiser(data.spec, steps=steps, **more)
    model.fit(data, None, torch.Generator().manual_seed(seed))
    return data, model


def test_it_is_the_minimum_of_the_penalised_squares():
    data, model = fitted(n=5, dim=40, steps=4)
    x1 = data.all().x.double()
    x0 = torch.randn(x1.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for k in range(4):
        t, c, w = k / 4, model.skip[k].double(), model.weight[k].double()

        def loss(c, w, t=t):
            x = (1 - t) * x0 + t * x1
            f = c * x + w * (x @ w).sign()[:, None]
            return float((f - x1).square().sum() + 0.1 * w.square().sum())

        best = loss(c, w)
        for seed in range(20):
            draws = torch.Generator().manual_seed(seed)
            assert loss(c + 0.01 * torch.randn((), generator=draws), w) > best - 1e-4
            assert loss(c, w + 0.01 * torch.randn(40, generator=draws)) > best - 1e-4


def test_coefficients_and_the_generated_centre_are_those_of_the_theory():
    errors, skips = [], []
    for seed in range(3):
        data, model = fitted(n=8, seed=seed, steps=50)
        for k in (5, 25, 45):
            skip, w = coefficients(k / 50, 1 - k / 50, 8, 0.3, 0.1)
            skips.append(abs(float(model.skip[k]) - skip))
            assert abs(abs(float(model.weight[k].mean())) - w.mu) < 0.04
        flow = fl.Flow(model, objective=Fitted(), solver=Euler(50))
        errors.append(CentreError(8)(flow, data.all(), seed=seed)["over_theory"])
    assert max(skips) < 0.03
    assert abs(sum(errors) / 3 - 1) < 0.1


def test_the_theory_has_the_rate_of_bayes_and_its_limits():
    found = [generated(n, 0.3, 0.1, 2000).error(n, 0.3) for n in (8, 64)]
    slope = math.log(found[1] / found[0]) / math.log(8)
    assert -1.15 < slope < -0.85
    assert 1.5 < found[0] / bayes(8, 0.3) < 2.5
    # At t = 0 nothing is known of a point: the skip is 0, and w the shrunken mean of the samples.
    skip, w = coefficients(0.0, 1.0, 8, 0.3, 0.1)
    assert (skip, w.xi) == (0, 0)
    assert w.mu == pytest.approx(8 / 8.1)
    # Without noise on the path the samples are answered as they are.
    assert coefficients(1.0, 0.0, 8, 0.3, 0.1)[0] == pytest.approx(1)


def test_fresh_noise_removes_what_one_noise_leaves():
    torch.manual_seed(0)
    pairs = []
    for fresh in (False, True):
        data, model = fitted(n=8, fresh=fresh, steps=50)
        flow = fl.Flow(model, objective=Fitted(), solver=Euler(50))
        pairs.append(CentreError(8)(flow, data.all())["centre_error"])
    assert pairs[1] < pairs[0]


def test_refusals_and_the_papers_size():
    with pytest.raises(DataError, match="two rows"):
        TwoClusterDenoiser(TwoClusters().spec).fit(TwoClusters(1), None, torch.Generator())
    with pytest.raises(IncompatibleError, match="vectors"):
        TwoClusterDenoiser(fl.Spec((2, 3)))
    with pytest.raises(IncompatibleError, match="alone"):
        CentreError().require(fl.Flow(fl.models.MLP(fl.Spec((2,)), width=4)))
    for settings in ((0, 0.3, 1), (8, -1.0, 1), (8, float("nan"), 1), (8, 0.3, 0)):
        with pytest.raises(ValueError, match="count from 1 and sigma is positive"):
            CentreError(*settings)
    with torch.device("meta"):
        built = build(load_recipe("limited-samples-full"))
    assert built["model"].weight.shape == (100, 50_000)
