"""EBFlow: energies without determinants, score matching against closed forms, and normalised densities."""

import math
import time

import pytest
import torch

import flowloom as fl
from flowloom.draw import Draw
from flowloom.errors import ShapeError
from flowloom.kinds import Kind
from flowloom.objectives import Batch, Step
from flowloom.spec import Spec
from flowloom.testing import check
from flowloom_likelihood.bijections.full_conv import FullConv
from flowloom_likelihood.bijections.full_linear import FullLinear
from flowloom_likelihood.bijections.smooth_leaky import SmoothLeaky
from flowloom_likelihood.data import RandomFlow
from flowloom_likelihood.energy_matching import (
    DenoisingScoreMatching,
    FiniteDifferenceScoreMatching,
    SampledLikelihood,
    SlicedScoreMatching,
)
from flowloom_likelihood.field import BijectionField
from flowloom_likelihood.models import Glow, Jet, LinearFlow
from flowloom_likelihood.objective import ExactLikelihood

BIJECTION = Kind("bijection", "flowloom_likelihood.bijections:Bijection", "", "flowloom_likelihood.laws")
PATH = fl.paths.AffinePath()


@pytest.mark.parametrize(
    "make",
    [
        lambda: FullLinear(4),
        lambda: FullLinear(4, bias=False, start=-1.0, noise=0.1),
        lambda: FullConv(4, 3),
        lambda: SmoothLeaky(0.3),
        lambda: SmoothLeaky(0.6, residual=True),
        lambda: LinearFlow(Spec(shape=(5,)), layers=3),
        lambda: LinearFlow(Spec(shape=(1, 4, 4)), layers=4, kernel=3, scales=2, residual=True),
    ],
)
def test_layers_and_flows_keep_the_laws_of_bijections(make):
    results = check(make, BIJECTION)
    assert all(r.status == "passed" for r in results), [r.message for r in results]


class _ForgetsItsBend(SmoothLeaky):
    """Leaves the log-determinant of a nonlinear layer out of the energy."""

    def unnormalised(self, x, cond):
        return self._value(x), x.new_zeros(len(x))


def test_a_nonlinear_layer_cannot_be_left_out_of_the_energy():
    results = {r.name: r.status for r in check(_ForgetsItsBend, BIJECTION)}
    assert results["check_unnormalised"] == "failed"


def moved(model, scale=0.3):
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(scale * torch.randn_like(p))
    return model


@pytest.fixture
def no_determinants(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a determinant was computed")

    for name in ("slogdet", "det"):
        monkeypatch.setattr(torch.linalg, name, refuse)


MODELS = {
    "matrices": lambda: LinearFlow(Spec(shape=(6,)), layers=3),
    "convolutions": lambda: LinearFlow(Spec(shape=(1, 4, 4)), layers=2, kernel=3),
    "glow": lambda: Glow(Spec(shape=(1, 4, 4)), levels=1, steps=2, width=4),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_energy_has_the_gradient_of_the_density(name):
    model = moved(MODELS[name]().double())
    field, x = BijectionField(model), torch.randn(5, *model.spec.shape, dtype=torch.float64).requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.linalg, "slogdet", None)
        (slope,) = torch.autograd.grad(field.energy(x, {}).sum(), x)
    (wanted,) = torch.autograd.grad(field.log_prob(x, {}).sum(), x)
    torch.testing.assert_close(-slope, wanted, atol=1e-9, rtol=1e-9)
    gap = field.log_prob(x, {}) + field.energy(x, {})
    torch.testing.assert_close(gap, -field.log_partition(x, {}))
    torch.testing.assert_close(gap, gap[:1].expand(5))


def test_energy_and_partition_integrate_to_one():
    field = BijectionField(moved(LinearFlow(Spec(shape=(2,)), layers=2).double(), 0.2))
    axis = torch.linspace(-30, 15, 601, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = (-field.energy(x, {}) - field.log_partition(x, {})).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(total) == pytest.approx(1, abs=0.01)


# -- losses -------------------------------------------------------------------------------------------

MATRIX = torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 1.5]], dtype=torch.float64)


def quadratic(x):
    return 0.5 * torch.einsum("ni,ij,nj->n", x, MATRIX, x)


def draw():
    return Draw(torch.Generator().manual_seed(3), dtype=torch.float64)


def test_slices_of_a_gaussian_are_the_closed_form():
    """|A x|^2 / 2 - v^T A v."""
    x = torch.randn(7, 3, dtype=torch.float64)
    v = (draw().uniform((7, 3)) < 0.5).double() * 2 - 1
    wanted = 0.5 * (x @ MATRIX).square().sum(1) - torch.einsum("ni,ij,nj->n", v, MATRIX, v)
    torch.testing.assert_close(SlicedScoreMatching(PATH).rows(quadratic, x, draw()).detach(), wanted)


@pytest.mark.parametrize("size", [0.1, 1.0])
def test_differences_of_a_gaussian_are_the_closed_form_for_every_length(size):
    """D ((v^T A x)^2 / 2 - v^T A v) of unit vectors v, whose mean is the loss of slices."""
    x, v = torch.randn(7, 3, dtype=torch.float64), draw().normal((7, 3))
    v = v / v.norm(dim=1, keepdim=True)
    along = torch.einsum("ni,ij,nj->n", v, MATRIX, x)
    wanted = 3 * (0.5 * along.square() - torch.einsum("ni,ij,nj->n", v, MATRIX, v))
    found = FiniteDifferenceScoreMatching(PATH, size).rows(quadratic, x, draw())
    torch.testing.assert_close(found, wanted, atol=1e-8, rtol=0)


def test_denoising_of_a_gaussian_ends_at_its_closed_form():
    """N(0, 1) with noise s is N(0, 1 + s^2); the exact score leaves 1 / (2 s^2 (1 + s^2))."""
    sigma, x = 0.5, torch.randn(200_000, 1, dtype=torch.float64)

    def rows(variance):
        loss = DenoisingScoreMatching(PATH, sigma)
        return float(loss.rows(lambda y: 0.5 * y.square().sum(1) / variance, x, draw()).mean())

    assert rows(1 + sigma**2) == pytest.approx(1 / (2 * sigma**2 * (1 + sigma**2)), rel=0.02)
    assert rows(1 + sigma**2) < min(rows(1.0), rows(1.6))


def test_samples_give_the_gradient_of_the_likelihood():
    def gradient(objective):
        model = moved(LinearFlow(Spec(shape=(2,))), 0.2)
        batch = Batch(torch.zeros(20_000, 2), 0.5 * torch.randn(20_000, 2, generator=seeded()) + 1)
        objective.loss(model, batch, Step(generator=seeded(1))).total.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    def seeded(seed=0):
        return torch.Generator().manual_seed(seed)

    exact = gradient(ExactLikelihood(PATH)) * math.log(2)  # from bits to nats
    torch.testing.assert_close(gradient(SampledLikelihood(PATH)), exact, atol=0.05, rtol=0.05)


def test_the_energy_has_its_weight_in_every_loss():
    model, x = moved(LinearFlow(Spec(shape=(3,)))), torch.randn(5, 3)
    extra = BijectionField(model).energy(x, {}).mean() / 3

    def loss(kind, weight):
        step = Step(generator=torch.Generator().manual_seed(0))
        return kind(PATH, energy_weight=weight).loss(model, Batch(x, x), step).total

    kinds = SampledLikelihood, DenoisingScoreMatching, SlicedScoreMatching, FiniteDifferenceScoreMatching
    for kind in kinds:
        torch.testing.assert_close(loss(kind, 0.5) - loss(kind, 0.0), 0.5 * extra, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "objective",
    [
        DenoisingScoreMatching(PATH),
        SlicedScoreMatching(PATH),
        FiniteDifferenceScoreMatching(PATH, 0.1, 0.001),
    ],
)
def test_training_computes_no_determinant(objective, no_determinants):
    model, x = moved(LinearFlow(Spec(shape=(6,)), layers=2)), torch.randn(4, 6)
    objective.loss(model, Batch(x, x), Step(generator=torch.Generator())).total.backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in model.parameters())
    with pytest.raises(AssertionError, match="determinant"):
        BijectionField(model).log_prob(x, {})


@pytest.mark.slow
def test_the_share_of_the_time_falls_with_the_dimension():
    """A step of score matching beside one of maximum likelihood, in time of the processor."""

    def seconds(objective, dim):
        model, x, best = LinearFlow(Spec(shape=(dim,))), torch.randn(64, dim), math.inf
        for _ in range(5):
            start = time.process_time()
            objective.loss(model, Batch(x, x), Step(generator=torch.Generator())).total.backward()
            best = min(best, time.process_time() - start)
        return best

    pairs = DenoisingScoreMatching(PATH), ExactLikelihood(PATH)
    small, middle, large = (seconds(pairs[0], dim) / seconds(pairs[1], dim) for dim in (256, 512, 1024))
    assert large <= 0.5
    assert large < middle < small


# -- data, sizes, mistakes ----------------------------------------------------------------------------


def test_random_flows_that_cannot_be_are_told():
    for settings in ({"dim": 0}, {"alpha": 1.0}, {"spread": 0.0}):
        with pytest.raises(ValueError, match="alpha lies in"):
            RandomFlow(**settings)


def test_data_of_a_random_flow_is_white_in_every_split_and_no_gaussian():
    data = RandomFlow(6, 8_000)
    for part in (data, data.split("test")):
        x = part.take(torch.arange(8_000)).x
        torch.testing.assert_close(x.T.cov(), torch.eye(6), atol=0.1, rtol=0)
        assert float((x.pow(3).mean(0)).abs().max()) > 0.2
    assert not torch.equal(x, data.take(torch.arange(8_000)).x)


@pytest.mark.parametrize(
    ("shape", "settings", "count"),
    [
        ((1, 28, 28), {"layers": 6, "kernel": 7, "scales": 3}, 26_796),
        ((3, 32, 32), {"layers": 6, "kernel": 7, "scales": 3}, 240_912),
    ],
)
def test_the_papers_sizes_of_convolutions(shape, settings, count):
    """0.027M and 0.241M, by the authors' code on MNIST and CIFAR-10."""
    with torch.device("meta"):
        model = LinearFlow(Spec(shape=shape), **settings)
        assert model.unnormalised(torch.zeros(2, *shape), {})[0].shape == (2, *shape)
    assert sum(p.numel() for p in model.parameters()) == count


def test_what_does_not_fit_is_told():
    with pytest.raises(ShapeError, match="divisible by 4"):
        LinearFlow(Spec(shape=(1, 6, 6)), layers=3, kernel=3, scales=3)
    with pytest.raises(ValueError, match="sigma must be positive"):
        DenoisingScoreMatching(PATH, 0)
    with pytest.raises(ValueError, match="odd"):
        FullConv(1, 4)


@pytest.mark.parametrize("loss", [DenoisingScoreMatching, SlicedScoreMatching])
def test_flows_of_transformers_match_scores(loss):
    """Fused attention has no second derivative."""
    torch.manual_seed(0)
    model = Jet(Spec((1, 4, 4)), patch=2, couplings=2, depth=1, width=8, heads=2, spatial_every=0)
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    x = torch.randn(3, 1, 4, 4)
    loss(PATH).loss(model, Batch(x, x), Step(generator=torch.Generator())).total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
