"""Mixtures of velocities against data that are a mixture: every law is closed then."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.models import MLP
from flowloom.objectives import Batch, Step
from flowloom.paths import AffinePath
from flowloom.schedules import VP
from flowloom.solvers import Euler
from flowloom.spec import Spec
from flowloom.testing.oracles import GaussianMixture, MixtureField
from flowloom_fewstep.gmflow import GMFlow
from flowloom_fewstep.mixture_mlp import MixtureMLP, MixtureModel
from flowloom_fewstep.mixture_pixels import MixturePixels
from flowloom_fewstep.mixture_velocity import GMOde, GMSde, MixtureVelocity
from flowloom_fewstep.mixtures import Mixture, transition

STD = 0.3
DATA = GaussianMixture(stds=torch.full((3,), STD))


class Exact(MixtureModel):
    """The law of x1 - x0 where the data are a mixture of one standard deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.log_std = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.sharp = nn.Parameter(torch.ones((), dtype=torch.float64))

    def mixture(self, x, t, cond):
        s = 1 - t
        log, variance, offset = DATA.marginal(x, t, s, 1.0)
        means = DATA.means + (t[:, None] * STD**2 / variance)[..., None] * offset
        spread = STD**2 * s.square() / variance[:, 0]
        velocity = (means - x[:, None]) / s[:, None, None]
        wide = (2 * self.log_std).exp() * spread / s.square()
        return Mixture((self.sharp * log).log_softmax(1), self.slope * velocity, wide)


@pytest.fixture
def exact():
    return Exact()


@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.1])
def test_the_exact_posterior_is_where_the_gradient_vanishes(exact, draws, ratio):
    n = 60_000
    x1, _ = DATA.sample(n, draws)
    x0 = torch.randn(n, 2, generator=draws, dtype=torch.float64)

    def gradient() -> torch.Tensor:
        step = Step(generator=torch.Generator().manual_seed(1))
        loss = GMFlow(ratio=ratio).loss(exact, Batch(x0, x1), step)
        return torch.stack(torch.autograd.grad(loss.total, list(exact.parameters())))

    still = gradient().abs()
    with torch.no_grad():
        exact.slope.fill_(1.2)
        exact.log_std.fill_(0.3)
        exact.sharp.fill_(0.5)
    moved = gradient().abs()
    assert float(still.max()) < 0.03
    assert float(moved.max()) > 5 * float(still.max())


def test_one_evaluation_and_many_sub_steps_follow_the_whole_ode(exact, draws):
    """The mixture at the start tells that everywhere: GM-ODE is Euler of the exact field."""
    exact.requires_grad_(False)
    x0 = torch.randn(64, 2, generator=draws, dtype=torch.float64)
    field = MixtureVelocity(exact, AffinePath())
    one = GMOde(1, substeps=40).solve(field, x0)
    fine = Euler(40).solve(MixtureField(DATA), x0)
    assert one.nfe == 1
    assert torch.allclose(one.x, fine.x, atol=1e-8)
    coarse = Euler(1).solve(MixtureField(DATA), x0)
    assert float((coarse.x - fine.x).abs().max()) > 0.1


@pytest.mark.parametrize("steps", [1, 3])
def test_drawn_transitions_have_the_data_s_law_in_any_number_of_steps(exact, draws, steps):
    exact.requires_grad_(False)
    x0 = torch.randn(40_000, 2, generator=draws, dtype=torch.float64)
    found = GMSde(steps).solve(MixtureVelocity(exact, AffinePath()), x0, generator=draws).x
    real, _ = DATA.sample(40_000, draws)
    assert torch.allclose(found.mean(0), real.mean(0), atol=0.03)
    assert torch.allclose(found.T.cov(), real.T.cov(), atol=0.04)
    near = [(torch.cdist(x, DATA.means).min(1).values < 2 * STD).double().mean() for x in (found, real)]
    assert float(near[0]) == pytest.approx(float(near[1]), abs=0.02)


def test_transitions_agree_with_the_path(draws):
    """x_b drawn from x_a and x1 has the path's law at b, and its covariance with x1."""
    n = 200_000
    x1 = torch.randn(n, 1, generator=draws, dtype=torch.float64) + 2
    a, b = torch.full((n,), 0.3, dtype=torch.float64), torch.full((n,), 0.7, dtype=torch.float64)
    x_a = 0.3 * x1 + 0.7 * torch.randn(n, 1, generator=draws, dtype=torch.float64)
    point = Mixture(torch.zeros(n, 1, dtype=torch.float64), x1[:, None], torch.zeros(n, dtype=torch.float64))
    x_b = transition(a, b).law(x_a, point).sample(Draw(draws, dtype=torch.float64))
    noise = x_b - 0.7 * x1
    assert float(noise.mean()) == pytest.approx(0, abs=0.005)
    assert float(noise.std()) == pytest.approx(0.3, rel=0.01)
    # The same noise in part: the path to a is Markov from b.
    left = (x_a - (0.3 / 0.7) * x_b).flatten()
    assert float((left * noise.flatten()).mean()) == pytest.approx(0, abs=0.005)


def test_one_component_is_flow_matching(draws):
    """At lambda 1 the gradient by the means, times their variance, is that of a regression on x1 - x0."""
    torch.manual_seed(0)
    inner = MixtureMLP(Spec((2,)), width=8, depth=1, components=1).double()
    seen = {}

    class Spy(MixtureModel):
        def mixture(self, x, t, cond):
            seen.update(x=x, t=t, found=inner.mixture(x, t, cond))
            return seen["found"]

    x0, x1 = torch.randn(2, 500, 2, generator=draws, dtype=torch.float64)
    total = GMFlow(ratio=1.0).loss(Spy(), Batch(x0, x1), Step(generator=draws)).total
    (grad,) = torch.autograd.grad(total, seen["found"].means)
    velocity = (x1 - seen["x"]) / (1 - seen["t"])[:, None]
    by_hand = (seen["found"].means[:, 0] - velocity) / seen["found"].variance[:, None] / (2 * 500)
    assert torch.allclose(grad[:, 0], by_hand, atol=1e-9)


def test_what_has_no_closed_law_is_refused():
    with pytest.raises(IncompatibleError, match="cond-ot"):
        GMFlow(AffinePath(VP()))
    with pytest.raises(IncompatibleError, match="mixture-mlp"):
        GMFlow().loss(MLP(Spec((2,)), width=8, depth=1), Batch(torch.zeros(2, 2), torch.ones(2, 2)), Step())


def test_a_mixture_a_pixel_is_as_many_mixtures_of_their_own(draws):
    """Density, mean, and what it becomes at another time: each pixel by itself, as a row of its own."""
    k, c, h, w = 3, 2, 2, 4
    logits, means, x_a, x_b = (
        torch.randn(5, *shape, generator=draws, dtype=torch.float64)
        for shape in ((k, 1, h, w), (k, c, h, w), (c, h, w), (c, h, w))
    )
    variance = torch.rand(5, generator=draws, dtype=torch.float64) + 0.1
    whole = Mixture(logits.log_softmax(1), means, variance)

    def apart(x: torch.Tensor) -> torch.Tensor:
        """``(5, ..., c, h, w)`` with pixels as rows."""
        return x.movedim((-2, -1), (1, 2)).flatten(0, 2)

    each = Mixture(apart(whole.log_weights)[..., 0], apart(means), variance.repeat_interleave(h * w))
    assert torch.allclose(apart(whole.mean), each.mean)
    assert torch.allclose(whole.log_prob(x_a), each.log_prob(apart(x_a)).reshape(5, -1).mean(1))
    a, b = torch.full((5,), 0.3, dtype=torch.float64), torch.full((5,), 0.6, dtype=torch.float64)
    moved = whole.moved(x_a, a, x_b, b)
    wide_a, wide_b = a.repeat_interleave(h * w), b.repeat_interleave(h * w)
    by_pixel = each.moved(apart(x_a), wide_a, apart(x_b), wide_b)
    assert torch.allclose(apart(moved.mean), by_pixel.mean)
    # The wrong twin: one mixture over the image has the same components, and another law.
    twin = Mixture(logits.mean((2, 3, 4)).log_softmax(1), means, variance)
    assert not torch.allclose(twin.log_prob(x_a), whole.log_prob(x_a), rtol=0.05)


def test_components_are_drawn_at_every_pixel_by_itself(draws):
    means = torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1, 1).expand(4000, 2, 1, 1, 2)
    flat = torch.full((4000, 2, 1, 1, 2), 0.5).log()
    found = Mixture(flat, means, torch.full((4000,), 1e-6)).sample(Draw(draws))[:, 0, 0]
    assert float((found[:, 0] * found[:, 1]).mean()) == pytest.approx(0, abs=0.05)
    together = Mixture(flat[:, :, 0, 0, 0], means, torch.full((4000,), 1e-6)).sample(Draw(draws))[:, 0, 0]
    assert float((together[:, 0] * together[:, 1]).mean()) == pytest.approx(1, abs=0.05)


class Images(nn.Module):
    """What mixture-pixels asks of a network of images, in the smallest form."""

    class Context(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.condition, self.linear = nn.Module(), nn.Linear(1, 4)
            self.condition.dim = 4

        def forward(self, t, cond):
            return self.linear(t[:, None])

    def __init__(self, out: int) -> None:
        super().__init__()
        self.context, self.layer = Images.Context(), nn.Conv2d(2, out, 1)

    def forward(self, x, t, /, **cond):
        return self.layer(x) + self.context(t, cond).sum(1)[:, None, None, None]


def test_a_network_of_images_is_read_as_a_mixture_a_pixel(draws):
    torch.manual_seed(0)
    spec, x = Spec((2, 3, 3)), torch.randn(4, 2, 3, 3, generator=draws)
    model = MixturePixels(spec, Images(3 * (2 + 1)), components=3, width=8)
    found = model.mixture(x, torch.rand(4, generator=draws), {})
    assert found.means.shape == (4, 3, 2, 3, 3)
    assert torch.allclose(found.log_weights.exp().sum(1), torch.ones(4, 1, 3, 3))
    assert torch.equal(found.variance, torch.ones(4))  # at the start
    assert model(x, torch.rand(4)).shape == x.shape
    # The deviation learns, and leaves the network's embedding alone.
    found.variance.sum().backward()
    assert model.network.context.linear.weight.grad is None
    assert model.log_std[-1].bias.grad is not None
    loss = GMFlow().loss(model, Batch(*torch.randn(2, 4, 2, 3, 3, generator=draws)), Step(generator=draws))
    loss.total.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    with pytest.raises(IncompatibleError, match="out_channels: 9"):
        MixturePixels(spec, Images(8), components=3).mixture(x, torch.rand(4), {})
    with pytest.raises(IncompatibleError, match="use a dit or a unet"):
        MixturePixels(spec, nn.Conv2d(2, 9, 1))
