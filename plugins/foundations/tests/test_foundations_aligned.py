"""The loss of a flow as a surrogate of its density, with gradients by both ways, and frozen priors."""

import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

import flowloom as fl
from flowloom.draw import Draw
from flowloom.fields import Field
from flowloom.objectives import Batch, Step
from flowloom.paths import AffinePath
from flowloom.sources import Gaussian
from flowloom.trained import Trained
from flowloom_foundations.aligned import FlowPrior, LatentLaw, ModesInSpace, VectorAutoencoder, misalignment
from flowloom_foundations.poisson import NoiseLevels


class ExactModes(Field):
    """The velocity of five planar Gaussians from standard noise, in closed form."""

    kind, path, geometry = "velocity", AffinePath(), AffinePath().geometry

    def __init__(self, std=0.35):
        angle = torch.arange(5) * (2 * math.pi / 5)
        self.means, self.std = 2 * torch.stack([angle.cos(), angle.sin()], 1), std

    def __call__(self, x, t, cond, generator=None):
        t = t[:, None, None]
        var = (t * self.std) ** 2 + (1 - t) ** 2
        away = x[:, None] - t * self.means
        share = (-(away**2).sum(2) / (2 * var[..., 0])).softmax(1)[..., None]
        slope = (t * self.std**2 - (1 - t)) / var
        return (share * (self.means + slope * away)).sum(1)

    def nll(self, x):
        squares = (x[:, None] - self.means).square().sum(2) / (2 * self.std**2)
        return -(-squares).logsumexp(1) + math.log(5 * 2 * math.pi * self.std**2)


def rank(v):
    return v.argsort().argsort().double()


def test_the_loss_follows_the_negative_log_density():
    field, draws = ExactModes(), torch.Generator().manual_seed(0)
    y = 8 * torch.rand(400, 2, generator=draws) - 4
    off = misalignment(field, y, Gaussian(), AffinePath(), Draw(draws), draws=256)
    nll = field.nll(y)
    spearman = torch.corrcoef(torch.stack([rank(off), rank(nll)]))[0, 1]
    assert spearman >= 0.9


def test_the_gradient_goes_by_the_target_and_through_the_field():
    field, y = ExactModes(), torch.tensor([[1.2, 0.9]], requires_grad=True)
    off = misalignment(field, y, Gaussian(), AffinePath(), Draw(torch.Generator().manual_seed(1)), 64)
    (found,) = torch.autograd.grad(off.sum(), y)
    for i in range(2):
        values = []
        for step in (1e-3, -1e-3):
            moved = y.detach().clone()
            moved[0, i] += step
            draw = Draw(torch.Generator().manual_seed(1))
            values.append(float(misalignment(field, moved, Gaussian(), AffinePath(), draw, 64).double()))
        assert abs((values[0] - values[1]) / 2e-3 - float(found[0, i])) < 0.02 * float(found.norm())


class Moved(Gaussian):
    """Noise that stands elsewhere once it is pushed."""

    def push(self, noise, cond=None):
        return noise + 5


class Still(Field):
    kind, path, geometry = "velocity", AffinePath(), AffinePath().geometry

    def __call__(self, x, t, cond, generator=None):
        self.t = t
        return torch.zeros_like(x)


def test_noise_is_the_sources_and_times_are_the_paths():
    y, field = torch.zeros(500, 2), Still()
    off = misalignment(field, y, Moved(), AffinePath(), Draw(torch.Generator().manual_seed(0)))
    assert abs(float(off.mean()) - 2 * (25 + 1)) < 3
    misalignment(field, y, Gaussian(80), NoiseLevels(), Draw(torch.Generator().manual_seed(0)))
    assert 0.002 <= float(field.t.min()) < 1
    assert 79 < float(field.t.max()) <= 80


def test_latents_descend_into_all_modes():
    field, draws = ExactModes(), torch.Generator().manual_seed(0)
    y = (3 * torch.randn(200, 2, generator=draws)).requires_grad_()
    before = field.nll(y.detach()).mean()
    optimizer = torch.optim.Adam([y], 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        misalignment(field, y, Gaussian(), AffinePath(), Draw(draws), 4).sum().backward()
        optimizer.step()
    entropy = math.log(5) + math.log(2 * math.pi * math.e * 0.35**2)
    after = field.nll(y.detach()).mean()
    assert after - entropy < 0.05 * (before - entropy)
    share = torch.cdist(y.detach(), field.means).argmin(1).bincount(minlength=5) / 200
    assert share.min() >= 0.1


def parts():
    torch.manual_seed(0)
    flow = fl.Flow(fl.models.MLP(fl.Spec((2,)), width=8, depth=1))
    return FlowPrior(Trained(flow), strength=0.5), VectorAutoencoder(fl.Spec((1, 4, 4)), latent=2, width=8)


def test_the_prior_stays_and_the_encoder_moves():
    objective, model = parts()
    x = torch.randn(16, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    loss = objective.loss(model, Batch(x, x), Step(generator=torch.Generator().manual_seed(0)))
    wanted = 16 * loss.parts["mse"] + 0.5 * loss.parts["alignment"]
    assert torch.allclose(loss.total, wanted)
    loss.total.backward()
    assert all(p.grad is None for p in objective.prior.parameters())
    assert model.encoder[0].weight.grad.abs().sum() > 0
    assert not objective.prior.flow.training
    wrong = VectorAutoencoder(fl.Spec((1, 4, 4)), latent=3)
    assert "latents are (3,)" in next(iter(objective.clashes({"model": wrong}))).message
    with pytest.raises(ValueError, match="width must be at least 1"):
        VectorAutoencoder(fl.Spec((2,)), width=-1)


def test_the_wanted_law():
    data = ModesInSpace(4000, dim=8)
    x, centres = data.all().x, data.centres
    assert torch.allclose(centres.norm(dim=1), torch.full((5,), 2.0))
    near = torch.cdist(x, centres).min(1)
    assert abs(float(near.values.square().mean()) / (8 * 0.35**2) - 1) < 0.05
    assert near.indices.bincount().min() > 700
    assert not ModesInSpace(modes=1).centres.any()


def test_latents_are_compared_with_all_of_a_sorted_target():
    """A target of two lumps, one after the other: latents at both are no distance away."""
    lump = (torch.arange(400) // 200).float()[:, None]
    target = torch.cat([20 * lump - 10, torch.zeros(400, 1)], 1)

    class Same(VectorAutoencoder):
        def __init__(self):
            torch.nn.Module.__init__(self)

        def encode(self, x):
            return x

        decode = encode

    flow = SimpleNamespace(model=Same(), evaluating=nullcontext)
    found = LatentLaw(fl.data.Tensors(target), rows=100)(flow, fl.data.Examples(target[::2]))
    assert found["latent_distance"] < 0.1
