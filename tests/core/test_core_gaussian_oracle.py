"""The affine flow of a planar Gaussian mixture, where every quantity has a closed form (fm-guide a to c)."""

from __future__ import annotations

import math

import pytest
import torch

from flowloom import likelihood
from flowloom.fields import Rescheduled, read_as
from flowloom.guidance import ClassifierFree
from flowloom.metrics import sliced_wasserstein
from flowloom.paths.conversions import affine
from flowloom.schedules import VP, CondOT, Cosine, LinearVP, Polynomial
from flowloom.solvers import RK4, Dopri5, Euler, EulerMaruyama, Midpoint
from flowloom.sources import Gaussian
from flowloom.testing.oracles import GaussianMixture, MixtureField

SCHEDULES = [CondOT(), CondOT(1e-2), Polynomial(2), Polynomial(3), Cosine(), LinearVP(), VP()]
KINDS = ("velocity", "data", "noise", "score")


def points(n, seed=0):
    return 1.5 * torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("std", [1.0, 1.7])
def test_all_conversions_agree_with_the_closed_forms(schedule, std):
    mixture, x = GaussianMixture(), points(64)
    fields = {kind: MixtureField(mixture, schedule, kind, std) for kind in KINDS}
    for time in (0.05, 0.3, 0.6, 0.95):
        t = torch.full((64,), time, dtype=torch.float64)
        truth = {kind: field(x, t, {}) for kind, field in fields.items()}
        for given in KINDS:
            for wanted in KINDS:
                found = affine(truth[given], x, t, schedule, given, wanted, std)
                # Conversions divide by alpha, sigma and their determinant; relative to what they start from.
                size = 1 + truth[wanted].abs().max() + x.abs().max()
                assert float((found - truth[wanted]).abs().max()) <= 1e-5 * float(size), (given, wanted, time)


def test_the_oracle_itself_is_consistent():
    """Score = gradient of the log density, and the continuity equation holds along the velocity."""
    mixture, x = GaussianMixture(), points(32).requires_grad_()
    for schedule in SCHEDULES:
        field = MixtureField(mixture, schedule, "score")
        for t in (0.2, 0.7):
            (slope,) = torch.autograd.grad(field.log_density(x, t).sum(), x)
            assert torch.allclose(field(x, torch.full((32,), t, dtype=torch.float64), {}), slope, atol=1e-9)
            velocity = MixtureField(mixture, schedule)
            v = velocity(x, torch.full((32,), t, dtype=torch.float64), {})
            divergence = sum(
                torch.autograd.grad(v[:, i].sum(), x, retain_graph=True)[0][:, i] for i in (0, 1)
            )
            h = 1e-5
            rate = (velocity.log_density(x, t + h) - velocity.log_density(x, t - h)) / (2 * h)
            residual = rate + divergence + (v * slope).sum(1)
            assert float(residual.detach().abs().max()) < 1e-4 * float(1 + rate.detach().abs().max())


@pytest.mark.parametrize("schedule", [CondOT(), Cosine(), VP(), Polynomial(2)], ids=repr)
def test_likelihood_of_the_exact_flow_is_the_true_one(schedule):
    mixture = GaussianMixture()
    x1, _ = mixture.sample(64, torch.Generator().manual_seed(1))
    field = MixtureField(mixture, schedule)
    solution = likelihood.log_prob(field, Gaussian(), x1, solver=Dopri5(1e-7, 1e-7))
    error = (solution.log_prob - mixture.log_prob(x1)).abs()
    # VP keeps 0.7 % of signal at t=0, where the source stands in for the marginal.
    assert float(error.max()) < (0.05 if isinstance(schedule, VP) else 1e-4)


def test_noise_and_data_invert_each_other():
    field = MixtureField()
    x1, _ = field.mixture.sample(64, torch.Generator().manual_seed(2))
    solver = Dopri5(1e-9, 1e-9)
    x0 = solver.solve(field, x1, span=(1.0, 0.0)).x
    assert float((solver.solve(field, x0).x - x1).abs().max()) < 1e-6
    assert abs(float(x0.mean())) < 0.4
    assert abs(float(x0.std()) - 1) < 0.25


def test_one_step_of_data_prediction_is_the_conditional_mean():
    """x0 independent of x1: E[x1|x0] is the mean of the mixture, where one Euler step must land."""
    field = MixtureField()
    x0 = points(16)
    mean = field.mixture.weights @ field.mixture.means
    assert torch.allclose(Euler(1).solve(field, x0).x, mean.expand(16, 2), atol=1e-9)


@pytest.mark.parametrize("new", [Cosine(), VP(), Polynomial(2), LinearVP()], ids=repr)
def test_changing_the_schedule_keeps_the_endpoint_map(new):
    field = MixtureField(schedule=CondOT())
    x0 = points(256, 3) / 1.5
    straight = RK4(200).solve(field, x0).x
    moved = Rescheduled(field, new)
    bent = RK4(400).solve(moved, x0 * moved.source_scale()).x
    assert float((straight - bent).square().mean().sqrt()) <= 1e-2


def test_rescheduled_velocity_is_that_of_the_new_schedule():
    # From VP, which starts with 0.7 % of signal, no schedule with less can be had; so not too early.
    x, t = points(64), torch.linspace(0.3, 0.95, 64, dtype=torch.float64)
    for old in (CondOT(), VP(), Cosine()):
        for new in (CondOT(), Cosine(), LinearVP(), Polynomial(3)):
            found = Rescheduled(MixtureField(schedule=old), new)(x, t, {})
            wanted = MixtureField(schedule=new)(x, t, {})
            assert float((found - wanted).abs().max()) < 1e-6 * float(1 + wanted.abs().max()), (old, new)


@pytest.mark.parametrize(
    ("schedule", "kind"),
    [*((CondOT(), kind) for kind in KINDS), (Cosine(), "velocity"), (Polynomial(2), "velocity")],
    ids=repr,
)
def test_stochastic_marginals_equal_deterministic_ones(schedule, kind):
    """A single Gaussian: mean and covariance at t = 0.3, 0.6 and 1 for several diffusions."""
    centre = torch.tensor([[1.0, -0.5]], dtype=torch.float64)
    field = MixtureField(GaussianMixture(centre, torch.tensor([0.5])), schedule, kind)
    n = 4000
    x0 = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for diffusion, form in ((0.0, "sigma"), (1.0, "sigma"), (0.7, "constant")):
        for end in (0.3, 0.6, 1.0):
            draws = torch.Generator().manual_seed(1)
            solver = EulerMaruyama(60, diffusion=diffusion, form=form)
            x = solver.solve(field, x0, span=(0.0, end), generator=draws).x
            time = torch.tensor(end, dtype=torch.float64)
            alpha, sigma = float(schedule.alpha(time)), float(schedule.sigma(time))
            variance = (0.5 * alpha) ** 2 + sigma**2
            tolerance = 5 * math.sqrt(variance / n) + 0.02
            assert float((x.mean(0) - alpha * centre[0]).abs().max()) < tolerance, (diffusion, form, end)
            covariance = torch.cov(x.T) / variance
            assert float((covariance - torch.eye(2)).abs().max()) < 0.12, (diffusion, form, end)


def test_diffusion_does_not_move_the_samples_from_the_data():
    """fm-guide (c): sliced Wasserstein distance to data within 1.3 of the ODE's."""
    field = MixtureField()
    n = 2000
    x0 = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data, _ = field.mixture.sample(n, torch.Generator().manual_seed(1))
    distance = {}
    for g in (0.0, 0.5, 1.0):
        draws = torch.Generator().manual_seed(2)
        x = EulerMaruyama(200, diffusion=g, form="sigma").solve(field, x0, generator=draws).x
        distance[g] = sliced_wasserstein(x, data)
    floor = sliced_wasserstein(field.mixture.sample(n, torch.Generator().manual_seed(3))[0], data)
    for g in (0.5, 1.0):
        assert distance[g] <= 1.3 * max(distance[0.0], floor)


def test_guidance_is_the_velocity_of_the_tempered_density():
    r"""Two Gaussians: CFG mixes to the velocity of :math:`p_t^{1-w} p_t(\cdot|c)^w`, in closed form.

    With p and p(.|c) Gaussian at t, the tempered density is the Gaussian of precision
    (1-w)/c + w/c' and score (1-w) s + w s'; its velocity on the affine path is that score, converted.
    """
    both = GaussianMixture(torch.tensor([[0.0, 0.0], [1.0, 0.5]]), torch.tensor([1.2, 0.6]), torch.ones(2))
    schedule, x, w = CondOT(), points(64), 1.8

    class Pair(MixtureField):
        """Conditional: component 1; unconditional: component 0 alone."""

        def _confined(self, log, cond):
            null = cond.get("null", torch.zeros(len(log), dtype=torch.bool))
            shown = torch.stack([null, ~null], 1)
            return log.masked_fill(~shown, -math.inf)

    guided = ClassifierFree(w)(Pair(both, schedule))
    label = torch.ones(64, dtype=torch.long)
    for time in (0.1, 0.5, 0.9):
        t = torch.full((64,), time, dtype=torch.float64)
        found = guided(x, t, {"label": label})
        variances = (time * both.stds) ** 2 + (1 - time) ** 2
        scores = [-(x - time * both.means[k]) / variances[k] for k in (0, 1)]
        tempered = (1 - w) * scores[0] + w * scores[1]
        wanted = affine(tempered, x, t, schedule, "score", "velocity")
        assert float((found - wanted).abs().max()) < 1e-6 * float(1 + wanted.abs().max())
        score = read_as(guided, "score")(x, t, {"label": label})
        assert float((score - tempered).abs().max()) < 1e-6 * float(1 + tempered.abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_field_gives_the_same_samples(kind):
    x0 = points(64, 4) / 1.5
    wanted = Midpoint(400).solve(MixtureField(), x0).x
    found = Midpoint(400).solve(MixtureField(kind=kind), x0).x
    assert float((found - wanted).abs().max()) < 1e-3


def test_conversions_are_finite_at_both_ends():
    """What peers get wrong: -inf for VP at t=1, NaN for data to velocity at t=1."""
    x = points(8).float()
    for schedule in SCHEDULES:
        for time in (0.0, 1.0):
            t = torch.full((8,), time)
            for given in KINDS:
                for wanted in KINDS:
                    value = affine(torch.ones_like(x), x, t, schedule, given, wanted)
                    assert bool(value.isfinite().all()), (schedule, given, wanted, time)
