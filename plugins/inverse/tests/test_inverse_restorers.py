"""Restorers beside what is known exactly: posteriors of Gaussians, hand-written steps, straight lines."""

import pytest
import torch

import flowloom as fl
from flowloom.errors import IncompatibleError
from flowloom.spec import Spec
from flowloom_inverse.operators import AveragePool, Clipping, GaussianBlur, Masking, separable
from flowloom_inverse.problem import Problem
from flowloom_inverse.restorers import DPS, FLAIR, FlowChef, FlowDPS, PseudoInverse, Smoothest, Wiener
from flowloom_inverse.restorers.flair import calibrated

N, NOISE = 400, 0.3


@pytest.fixture
def posed(gaussian):
    """Pairs of neighbours averaged, with noise, beside the mean of the posterior."""
    flow, mean, covariance = gaussian
    draws = torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(covariance)
    x = mean + torch.randn(N, 6, generator=draws, dtype=torch.float64) @ root.T
    pool = AveragePool(2, dims=(0,))
    y = pool(x, {}) + NOISE * torch.randn(N, 3, generator=draws, dtype=torch.float64)
    a = pool(torch.eye(6, dtype=torch.float64), {}).T
    gain = covariance @ a.T @ torch.linalg.inv(a @ covariance @ a.T + NOISE**2 * torch.eye(3))
    return Problem(flow, pool, y, {}, NOISE), x, mean + (y - mean @ a.T) @ gain.T


def answer(problem, restorer, seed=1):
    return problem.flow.solve(len(problem.y), solver=restorer.of(problem), seed=seed).x


def test_wiener_is_the_mean_of_a_gaussian_posterior(posed):
    problem, x, best = posed
    off = (answer(problem, Wiener(samples=20000)) - best).square().mean()
    assert off < 0.02 * (x - best).square().mean()


def test_wiener_answers_for_one_number():
    flow = fl.Flow(fl.models.MLP(Spec((1,)), width=4, depth=1).double())
    y = torch.zeros(3, 1, dtype=torch.float64)
    problem = Problem(flow, Masking([]), y, {"seen": torch.ones(3, 1)}, 0.1)
    assert answer(problem, Wiener(samples=20)).shape == (3, 1)


def test_mean_of_flowdps_lies_near_that_of_the_posterior(posed):
    problem, x, best = posed
    draws = [answer(problem, FlowDPS(60, consistency="exact"), seed) for seed in range(8)]
    off = (torch.stack(draws).mean(0) - best).square().mean()
    pseudo = (answer(problem, PseudoInverse()) - best).square().mean()
    assert off < 0.4 * pseudo
    assert (
        torch.stack(draws).var(0).mean() > 0.1 * (x - best).square().mean()
    )  # it samples, and does not average


def test_a_step_of_flowdps_is_that_of_the_paper(posed):
    problem, _, _ = posed
    flow, steps, rate = problem.flow, 7, 0.2
    draws = torch.Generator().manual_seed(5)
    x = torch.randn(N, 6, generator=draws, dtype=torch.float64)
    solver = FlowDPS(steps, moves=3, rate=rate).of(problem)
    field = flow.field()
    with torch.no_grad():
        found = solver.solve(field, x, generator=torch.Generator().manual_seed(6)).x
    noise = torch.Generator().manual_seed(6)
    for i in range(steps):
        t, after = i / steps, (i + 1) / steps
        v = flow.model(x, torch.full((N,), t, dtype=torch.float64)).detach()
        data, start = x + (1 - t) * v, x - t * v
        u = data.clone()
        for _ in range(3):
            u.requires_grad_(True)
            left = (problem.y - u.unflatten(1, (3, 2)).mean(2)).repeat_interleave(2, 1)  # A^+ (y - A u)
            (slope,) = torch.autograd.grad(left.norm(dim=1).sum(), u)
            u = (u - rate * slope).detach()
        clean = t * data + (1 - t) * u
        fresh = torch.randn(N, 6, generator=noise, dtype=torch.float64)
        x = after * clean + (1 - after) * ((1 - after) ** 0.5 * start + after**0.5 * fresh)
    assert torch.allclose(found, x, atol=2e-3)  # predicted noise is read off t = 0 by 1e-6


def test_dps_differentiates_through_the_network_and_flowchef_does_not(posed):
    problem, _, _ = posed
    model, backs = problem.flow.model, []
    model.register_forward_hook(lambda _, inputs, out: backs.append(out.requires_grad))
    answer(problem, DPS(3))
    assert all(backs)
    backs.clear()
    answer(problem, FlowChef(3))
    answer(problem, FlowDPS(3))
    answer(problem, FLAIR(3))
    assert not any(backs)


def test_flair_fits_the_measurement_and_not_its_noise(posed):
    problem, _, _ = posed
    mode = answer(problem, FLAIR(50, rate=0.5))
    misfit = float(problem.squares(mode).mean()) / NOISE**2
    assert 0.2 < misfit <= 1.0


def test_flair_weight_is_the_inverse_error_of_the_network(gaussian):
    flow, mean, covariance = gaussian
    covariance = 0.05 * covariance
    flow.model.values.mul_(0.05)
    draws = torch.Generator().manual_seed(9)
    root = torch.linalg.cholesky(covariance)
    states = mean + torch.randn(4000, 6, generator=draws, dtype=torch.float64) @ root.T
    levels = [0.2, 0.5, 0.8]
    with torch.no_grad():
        found = calibrated(flow.field(), states, levels)
    values = torch.linalg.eigvalsh(covariance)

    def error(t):  # of the best velocity: the conditional variance of x1 - x0 at a point of the path
        cross = t * values - (1 - t)
        return float((values + 1 - cross.square() / ((1 - t) ** 2 + t**2 * values)).mean())

    raw = [1 / error(t) for t in (*levels, 1.0)]
    scale = sum(raw[:-1]) / 3
    wanted = [max(v / scale - raw[-1] / scale, 0.0) for v in raw[:-1]]
    assert found == pytest.approx(wanted, rel=0.1, abs=0.02)


def test_smoothest_fills_a_gap_by_a_straight_line(gaussian):
    flow, _, _ = gaussian
    seen = torch.tensor([[True, True, False, False, False, True]])
    y = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0, 5.0]], dtype=torch.float64) * seen
    problem = Problem(flow, Masking(), y, {"seen": seen}, 0.0)
    filled = answer(problem, Smoothest(1e-3))
    assert torch.allclose(filled, torch.arange(6.0, dtype=torch.float64)[None], atol=5e-3)


def test_clipping_is_settled_beyond_the_limit(gaussian):
    clip = Clipping(0.5)
    y, x = torch.tensor([0.5, 0.5, 0.2, -0.5]), torch.tensor([0.9, 0.1, 0.9, -3.0])
    assert torch.equal(clip.settle(x, y, {}), torch.tensor([0.9, 0.5, 0.2, -3.0]))
    with pytest.raises(IncompatibleError, match="not linear"):
        answer(Problem(gaussian[0], clip, torch.zeros(2, 6, dtype=torch.float64), {}, 0.0), Smoothest())


def test_blur_keeps_constants_and_erases_what_it_should():
    blur = GaussianBlur(1.0, dims=(-1,))
    flat = torch.ones(1, 1, 9, dtype=torch.float64)
    assert torch.allclose(blur(flat, {}), flat)
    kernel = blur.matrix(9)[4]
    assert float(kernel[5] / kernel[4]) == pytest.approx(2.718281828**-0.5)


@pytest.mark.parametrize("shape", [(3, 4, 6), (12,), (2, 6)])
@pytest.mark.parametrize("dims", [(-2, -1), (-1,), (-1, -2), (0,), (1, 0)])
def test_maps_written_out_are_those_of_the_factors(monkeypatch, shape, dims):
    """The laws look at events that are small enough for the first way alone."""
    x, draws = torch.zeros(5, *shape, dtype=torch.float64), torch.Generator().manual_seed(0)
    if len(dims) > len(shape):
        return
    x.normal_(generator=draws)
    for make in (lambda: AveragePool(2, dims), lambda: GaussianBlur(1.0, dims)):
        try:
            make().require(Spec(shape))
        except IncompatibleError:
            continue
        found = []
        for most in (256, 0):
            monkeypatch.setattr(separable, "_WRITTEN_OUT", most)
            a = make()
            y = a(x, {})
            found.append(
                [y, a.adjoint(y, {}), a.back(y, {}), a.settle(2 * x, y, {}), a.settle(x, 2 * y, {}, 0.3)]
            )
        for one, other in zip(*found, strict=True):
            assert torch.allclose(one, other, atol=1e-10)


def test_a_dimension_that_is_not_there_is_refused(gaussian):
    with pytest.raises(IncompatibleError, match="dims"):
        GaussianBlur(1.0).require(gaussian[0].spec)
    with pytest.raises(IncompatibleError, match="no multiple of factor 4"):
        AveragePool(4, dims=(0,)).require(gaussian[0].spec)
