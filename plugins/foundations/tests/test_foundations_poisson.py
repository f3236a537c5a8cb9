"""PFGM++: the kernel against its closed forms, its field, and EDM's settings in the time of sigma."""

import itertools
import math

import pytest
import torch
from scipy import stats
from torch import nn

import flowloom as fl
from flowloom.clashes import problems
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.fields import NetworkField, read_as
from flowloom.guidance import ClassifierFree
from flowloom.objectives import Batch, FlowMatching, Step
from flowloom.solvers import Dopri5, EulerMaruyama, Midpoint
from flowloom.sources import Gaussian
from flowloom.spec import Spec
from flowloom.times import Uniform
from flowloom_foundations.poisson import (
    EDMHeun,
    EDMWeight,
    LogNormalLevels,
    NoiseLevels,
    PoissonKernel,
    Preconditioned,
)
from flowloom_registry.cli import main

INF = math.inf


def draw(source, n, dims, seed=0, dtype=torch.float64):
    return source.sample((n, dims), Draw(torch.Generator().manual_seed(seed), dtype=dtype))


# The kernel.


def test_many_extra_dimensions_are_the_gaussian():
    """D = 1e6: radii follow the chi law of N = 64 degrees of freedom, times sigma."""
    radii = draw(PoissonKernel(1e6, 3.0), 4000, 64).norm(dim=1) / 3.0
    assert stats.kstest(radii.numpy(), stats.chi(64).cdf).pvalue > 0.01


def test_few_have_heavier_tails():
    heavy, light = (draw(PoissonKernel(d, 1.0), 40_000, 64).norm(dim=1) for d in (64, INF))
    assert heavy.quantile(0.999) / light.quantile(0.999) >= 1.1


@pytest.mark.parametrize("dims", [1, 8, 64, 3_072_000])
def test_the_radial_law_is_the_papers_beta(dims):
    """``B = R^2 / (R^2 + r^2) ~ Beta(N/2, D/2)`` with r = sigma sqrt(D); not with sigma in its place."""
    n, sigma = 64, 2.0
    squares = draw(PoissonKernel(dims, sigma), 3000, n).square().sum(1).numpy()
    law = stats.beta(n / 2, dims / 2).cdf
    assert stats.kstest(squares / (squares + sigma**2 * dims), law).pvalue > 0.01
    if dims > 1:
        assert stats.kstest(squares / (squares + sigma**2), law).pvalue < 1e-6


def test_directions_are_uniform():
    x = draw(PoissonKernel(2, 1.0), 20_000, 3)
    x = x / x.norm(dim=1, keepdim=True)
    assert (x.T @ x / len(x) - torch.eye(3, dtype=x.dtype) / 3).abs().max() < 0.01
    assert stats.kstest(x[:, 0].numpy(), stats.uniform(-1, 2).cdf).pvalue > 0.01


@pytest.mark.parametrize("dims", [1, 2048, 3_072_000, 1e12, INF])
def test_single_precision_holds_at_every_dimension(dims):
    x = draw(PoissonKernel(dims, 80.0), 512, 3072, dtype=torch.float32)
    assert x.dtype == torch.float32
    assert x.isfinite().all()
    if dims > 1:
        assert abs(float(x.std()) / 80 - 1) < 0.02


@pytest.mark.parametrize("dims", [1, 8, 20_000])
def test_the_density_is_a_t_law(dims):
    x = 2 * torch.randn(16, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = stats.multivariate_t(shape=4 * torch.eye(5).numpy(), df=dims).logpdf(x.numpy())
    assert torch.allclose(PoissonKernel(dims, 2.0).log_prob(x), torch.as_tensor(wanted), atol=1e-6)


def test_densities_go_over_into_the_gaussian():
    x = torch.randn(16, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    far, limit = (PoissonKernel(d, 1.0).log_prob(x) for d in (1e12, INF))
    assert torch.allclose(far, limit, atol=1e-6)
    assert torch.allclose(limit, Gaussian().log_prob(x))


def test_parts_of_a_product_share_the_radius():
    """Squares of two parts go together under one heavy-tailed radius, and are independent without."""

    def together(dims):
        shape, draws = {"a": (4000, 8), "b": (4000, 8)}, torch.Generator().manual_seed(0)
        x = PoissonKernel(dims, 1.0).sample(shape, Draw(draws, dtype=torch.float64))
        return float(torch.corrcoef(torch.stack([v.square().sum(1).log() for v in x.values()]))[0, 1])

    assert together(4) > 0.5
    assert abs(together(INF)) < 0.1


# The field.


def posterior(points, x, sigma, dims):
    """``E[y | x]`` over equally likely points under the kernel at sigma, in float64: ``(n, d)``."""
    squares = torch.cdist(x, points).square()
    power = points.shape[1] + dims
    logs = -squares / (2 * sigma**2) if math.isinf(dims) else -power / 2 * (squares + dims * sigma**2).log()
    return logs.softmax(1) @ points


class Exact(nn.Module):
    """The best denoiser of a few points."""

    def __init__(self, points, dims):
        super().__init__()
        self.points, self.dims = points, dims

    def forward(self, x, t, /, **cond):
        return posterior(self.points, x, float(t[0]), self.dims)


def test_the_velocity_is_the_direction_of_the_poisson_field():
    """``E = sum (x - y, r) / (|x - y|^2 + r^2)^{(N+D)/2}`` in the augmented space: ``dx/dr = E_x / E_r``."""
    draws, dims, n = torch.Generator().manual_seed(0), 64, 64
    points, sigma = torch.randn(200, n, generator=draws, dtype=torch.float64), 0.7
    x = points[:20] + sigma * torch.randn(20, n, generator=draws, dtype=torch.float64)
    r = sigma * math.sqrt(dims)
    logs = -(n + dims) / 2 * (torch.cdist(x, points).square() + r**2).log()
    charges = (logs - logs.max(1, keepdim=True).values).exp()[..., None]
    along, up = (charges * (x[:, None] - points)).sum(1), (charges * r).sum(1)
    t = torch.full((20,), sigma, dtype=torch.float64)
    found = NoiseLevels().convert(posterior(points, x, sigma, dims), x, t, "data", "velocity")
    assert torch.allclose(found, along / up * math.sqrt(dims), rtol=1e-9)


def test_the_denoiser_that_training_finds_is_that_of_the_kernel():
    """Errors of ``E[y|x]`` are orthogonal to functions of x, on draws of source and path; those of twins are
    not."""
    draws, dims, sigma, n = torch.Generator().manual_seed(0), 2, 0.8, 200_000
    points = torch.tensor([[1.0, 0.0], [-0.5, 1.0], [0.2, -1.5]], dtype=torch.float64)
    path, source = NoiseLevels(), PoissonKernel(dims)
    y = points[torch.randint(3, (n,), generator=draws)]
    x0 = draw(source, n, 2)
    x = path.sample(x0, y, torch.full((n,), sigma, dtype=torch.float64)).x_t
    probes = torch.stack([torch.ones(n), x.norm(dim=1) < 1, x.norm(dim=1) > 4, x[:, 0] > 1]).double()

    def slant(of, level=sigma):
        errors = (y - posterior(points, x, level, of))[None] * probes[..., None]
        return float((errors.mean(1) / (errors.std(1) / math.sqrt(n))).abs().max())

    assert slant(dims) < 4.5
    assert slant(INF) > 8
    assert slant(dims, sigma / math.sqrt(dims)) > 8


def test_the_ode_carries_the_kernel_of_one_level_to_that_of_another():
    """From sigma 4 to 1 by the exact field; with a Gaussian prior, a pitfall, the tails are lost."""
    dims, n = 3, 4000
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=torch.float64)
    path = NoiseLevels(4.0, 1.0)
    field = NetworkField(Exact(points, dims), "data", path)
    which = torch.randint(2, (n,), generator=torch.Generator().manual_seed(0))
    wanted = points[which] + draw(PoissonKernel(dims, 1.0), n, 2, seed=3)

    def reached(source):
        return Midpoint(40).solve(field, points[which] + draw(source, n, 2, seed=4)).x

    def same(x):
        return stats.ks_2samp(x.norm(dim=1).numpy(), wanted.norm(dim=1).numpy()).pvalue

    assert same(reached(PoissonKernel(dims, 4.0))) > 0.01
    assert same(reached(Gaussian(4.0))) < 1e-6


# Levels as time.


def test_levels_are_log_normal():
    t = LogNormalLevels(NoiseLevels()).sample(20_000, Draw(torch.Generator().manual_seed(0)))
    assert stats.kstest(t.log().numpy(), stats.norm(-1.2, 1.2).cdf).pvalue > 0.01


def test_scores_exist_for_the_gaussian_alone():
    path, gaussian = NoiseLevels(), PoissonKernel(INF)
    x0, x1 = draw(gaussian, 8, 3), draw(PoissonKernel(INF, 1.0), 8, 3, seed=1)
    t = torch.full((8,), 2.0, dtype=torch.float64)
    point = path.sample(x0, x1, t)
    found = path.convert(x1, point.x_t, t, "data", "score", gaussian)
    assert torch.allclose(found, -(point.x_t - x1) / 4)
    assert torch.allclose(path.convert(found, point.x_t, t, "score", "noise", gaussian), x0)
    with pytest.raises(IncompatibleError, match="score"):
        path.convert(x1, point.x_t, t, "data", "score", PoissonKernel(64))
    with pytest.raises(IncompatibleError, match="score"):
        EulerMaruyama().prepare(NetworkField(nn.Identity(), "velocity", path, PoissonKernel(64)))


def parts(**changes):
    path = changes.pop("path", NoiseLevels())
    standard = {
        "geometry": path.geometry,
        "path": path,
        "source": PoissonKernel(128),
        "model": Preconditioned(Spec((2,)), fl.models.MLP(Spec((2,)), width=8, depth=1), path=path),
        "objective": FlowMatching(path, LogNormalLevels(path), EDMWeight(path=path), predict="data"),
        "solver": EDMHeun(),
        "spec": Spec((2,)),
    }
    return {**standard, **changes}


def test_parts_that_fit_have_nothing_to_say():
    assert problems(parts()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": PoissonKernel(128, 1.0)}, "set source.sigma: 80"),
        ({"source": Gaussian()}, "set source.std: 80"),
        ({"objective": FlowMatching(NoiseLevels(), Uniform(), predict="data")}, "give times:"),
        (
            {"objective": FlowMatching(NoiseLevels(), LogNormalLevels(NoiseLevels()))},
            "set objective.predict: data",
        ),
        (
            {
                "objective": FlowMatching(
                    NoiseLevels(), LogNormalLevels(NoiseLevels()), EDMWeight(1.0), predict="data"
                )
            },
            "the same data_std",
        ),
        ({"geometry": fl.geometry.Sphere()}, "only of R^n"),
    ],
)
def test_parts_that_do_not_fit_say_so(changes, said):
    found = problems(parts(**changes))
    assert any(said in clash.message for clash in found)


def test_log_normal_times_on_an_ordinary_path_are_refused():
    with pytest.raises(IncompatibleError, match="noise-levels"):
        LogNormalLevels(fl.paths.AffinePath())


def test_a_recipe_without_the_times_of_its_path_ends_in_one_line(capsys):
    assert main(["run", "pfgmpp", "--set", "times=uniform"]) == 2
    assert "draws times in [0, 1], and those of NoiseLevels lie in [0.002, 80]" in capsys.readouterr().err


# EDM's settings.


class Fake(nn.Module):
    """Remembers what it was asked and says ``answer``."""

    def __init__(self, answer=0.0):
        super().__init__()
        self.answer = answer

    def forward(self, x, t, /, **cond):
        self.seen = (x, t)
        return torch.full_like(x, self.answer)


@pytest.mark.parametrize("sigma", [0.01, 0.5, 20.0])
def test_the_network_sees_and_answers_with_unit_variance(sigma):
    std, n = 0.7, 20_000
    draws = torch.Generator().manual_seed(0)
    y = std * torch.randn(n, 2, generator=draws, dtype=torch.float64)
    x = y + sigma * torch.randn(n, 2, generator=draws, dtype=torch.float64)
    t, network = torch.full((n,), sigma, dtype=torch.float64), Fake()
    model = Preconditioned(Spec((2,)), network, std, NoiseLevels())
    skipped = model(x, t)
    seen, time = network.seen
    assert abs(float(seen.std()) - 1) < 0.02
    assert torch.allclose(time, torch.log(t) / 4)
    network.answer = 1.0
    wanted = (y - skipped) / (model(x, t) - skipped)
    assert abs(float(wanted.std()) - 1) < 0.02
    # c_skip is the value that makes what is left for the network smallest.
    assert abs(float((wanted * seen).mean())) < 0.02
    loss = EDMWeight(std)(t) * (skipped - y).square().mean(1)
    assert abs(float(loss.mean()) - 1) < 0.02


def test_the_loss_is_the_weighted_error_of_the_denoiser():
    path = NoiseLevels()
    objective = FlowMatching(path, LogNormalLevels(path), EDMWeight(0.5, path), predict="data")
    x0, x1 = draw(PoissonKernel(8), 64, 2), draw(PoissonKernel(8, 1.0), 64, 2, seed=1)
    model = Fake(0.3)
    generator = torch.Generator().manual_seed(2)
    found = objective.loss(model, Batch(x0, x1), Step(generator=generator)).total
    x, t = model.seen
    assert torch.allclose(x, x1 + t[:, None] * x0 / 80)
    weight = (t**2 + 0.25) / (0.5 * t) ** 2
    assert torch.allclose(found, (weight[:, None] * (x1 - 0.3).square()).mean())


def edm(denoise, x, n=18, rho=7, high=80.0, low=0.002):
    """Algorithm 1 of 2206.00364 as it stands there, without churn."""
    steps = torch.arange(n, dtype=torch.float64) / (n - 1)
    t = (high ** (1 / rho) + steps * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    t = torch.cat([t, torch.zeros(1, dtype=torch.float64)])
    for now, then in itertools.pairwise(t):
        slope = (x - denoise(x, now)) / now
        ahead = x + (then - now) * slope
        x = ahead if then == 0 else x + (then - now) * (slope / 2 + (ahead - denoise(ahead, then)) / then / 2)
    return x


def test_the_sampler_is_edms():
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.5], [0.0, -1.0]], dtype=torch.float64)
    field = NetworkField(Exact(points, 16), "data", NoiseLevels())
    x0 = draw(PoissonKernel(16), 32, 2)
    found = EDMHeun(18).solve(field, x0, keep=19)
    assert torch.allclose(found.x, edm(lambda x, s: posterior(points, x, float(s), 16), x0), atol=1e-9)
    assert found.nfe == 35
    assert found.times[0] == 80
    assert found.times[-1] == 0
    assert found.times[-2] == pytest.approx(0.002)
    assert torch.cdist(found.x, points).min(1).values.max() < 1e-6


def test_a_walk_elsewhere_is_not_denoised():
    field = NetworkField(Fake(), "data", NoiseLevels())
    x0 = draw(PoissonKernel(16), 4, 2)
    for span in ((80.0, 1.0), (0.002, 80.0)):
        found = EDMHeun(18).solve(field, x0, span=span, keep=19)
        assert (found.times[0], found.times[-1]) == span
        assert len(found.times) == 19
    with pytest.raises(ValueError, match="not negative"):
        EDMHeun().times((1.0, -1.0))


def test_likelihoods_integrate_over_levels():
    """Normal data of deviation s under the exact denoiser: ``N(0, s^2 + sigma_min^2)``."""

    class Shrinks(nn.Module):
        def forward(self, x, t, /, **cond):
            return x * (0.25 / (0.25 + t.square()))[:, None]

    path = NoiseLevels()
    objective = FlowMatching(path, LogNormalLevels(path), predict="data")
    solver = Dopri5(rtol=1e-5, atol=1e-5)
    flow = fl.Flow(Shrinks(), Spec((2,)), source=PoissonKernel(INF), objective=objective, solver=solver)
    x = 0.5 * torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = stats.norm(0, math.sqrt(0.25 + 0.002**2)).logpdf(x.numpy()).sum(1)
    assert torch.allclose(flow.log_prob(x), torch.as_tensor(wanted), atol=2e-3)


def test_guidance_is_on_at_every_level():
    field = ClassifierFree(2.0)(NetworkField(Fake(), "data", NoiseLevels()))
    x0 = draw(PoissonKernel(16), 4, 2)
    cond = {"label": torch.zeros(4, dtype=torch.long)}
    assert EDMHeun(18).solve(read_as(field, "velocity"), x0, cond=cond).nfe == 70


# Runs.


def test_bits_survive_a_kill(survives_a_kill):
    weights = survives_a_kill("pfgmpp", "model.network.width=16", "model.network.depth=1", "train.batch=16")
    assert any("network" in name for name in weights)


@pytest.mark.parametrize(
    ("recipe", "size", "parameters", "dims"),
    [("pfgmpp-cifar10", 32, 55_733_891, 2048), ("pfgmpp-ffhq64", 64, 61_805_571, 128)],
)
def test_the_papers_sizes(at_paper_scale, recipe, size, parameters, dims):
    """Of EDM's unconditional DDPM++, which has 9 x 128 more for labels of augmentation."""
    built = at_paper_scale(recipe, (3, size, size))
    assert sum(p.numel() for p in built["model"].parameters()) == parameters - 9 * 128
    assert built["source"].extra_dims == dims
    assert built["path"].span == (80.0, 0.002)
