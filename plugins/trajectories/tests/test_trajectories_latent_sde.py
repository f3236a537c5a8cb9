"""The drift of the posterior by simulation, its bound beside the exact likelihood, one number by two ways."""

import pytest
import torch

import flowloom as fl
from flowloom.errors import DataError
from flowloom.objectives import Batch, Step
from flowloom_trajectories.latent_sde import (
    LatentRollout,
    LatentSDE,
    NelboGap,
    OrnsteinUhlenbeck,
    SDEMatching,
    SimulatedSDE,
    StochasticLorenz,
)
from flowloom_trajectories.latent_sde.objective import gap


def made(data, seed=0, **more):
    torch.manual_seed(seed)
    model = LatentSDE(data.spec, **{"latent": 1, "width": 16, "until": data.until, "reach": 0.3, **more})
    with torch.no_grad():  # a diffusion that bends with z
        model.g_out.copy_(0.25 * model.g_in[0].sign())
    return model


def test_the_process_has_the_likelihood_of_its_kalman_filter():
    data = OrnsteinUhlenbeck(50, length=6)
    x, times = data.all().x[..., 0].double(), data.times.double()
    mean, var = torch.zeros(50).double(), torch.full((50,), data.sigma**2 / (2 * data.theta)).double()
    total, last = torch.zeros(50).double(), float(times[0])
    for i, t in enumerate(times.tolist()):
        decay = torch.exp(torch.tensor(-data.theta * (t - last))).double()
        mean = mean * decay
        var = var * decay**2 + data.sigma**2 / (2 * data.theta) * (1 - decay**2)
        seen = var + data.noise**2
        total += torch.distributions.Normal(mean, seen.sqrt()).log_prob(x[:, i])
        gain = var / seen
        mean, var, last = mean + gain * (x[:, i] - mean), var * (1 - gain), t
    assert torch.allclose(data.log_prob(data.all().x), total, atol=1e-3)


def test_the_posterior_drift_keeps_the_marginals():
    """Euler-Maruyama along f ends in m(t), s(t), also where g bends: without its derivative it would not."""
    data = OrnsteinUhlenbeck(1, length=5)
    model, n = made(data), 6000
    times, x = data.times.expand(n, -1), data.all().x.expand(n, -1, -1)
    with torch.no_grad():
        seen = model.read(x[:1], times[:1]).expand(n, -1, -1)
        draws = torch.Generator().manual_seed(0)
        mean, std = model.posterior(seen, times, torch.zeros(n))
        z, steps, until = mean + std * torch.randn(n, 1, generator=draws), 80, 1.0
        for k in range(steps):
            t, dt = torch.full((n,), k * until / steps), until / steps
            mean, std = model.posterior(seen, times, t)
            _, off = gap(model, seen, times, t, (z - mean) / std)
            g = model.diffusion(z)
            z = z + dt * (model.drift(z, t) + g * off) + g * dt**0.5 * torch.randn(n, 1, generator=draws)
        mean, std = model.posterior(seen, times, torch.full((n,), until))
    assert abs(float((z.mean() - mean[0]) / std[0])) < 0.05
    assert abs(float(z.std() / std[0]) - 1) < 0.03


def estimates(objective, model, data, draws):
    x, cond = data.all().x, data.all().cond
    values = []
    with torch.no_grad():
        for seed in range(draws):
            step = Step(generator=torch.Generator().manual_seed(seed))
            values.append(float(objective.loss(model, Batch(x, x, cond), step).total))
    values = torch.tensor(values)
    return float(values.mean()), float(values.std() / draws**0.5)


@pytest.mark.slow
def test_both_estimates_are_of_one_number_and_above_the_exact_one():
    data = OrnsteinUhlenbeck(200, length=8)
    model = made(data)
    ours, off = estimates(SDEMatching(), model, data, 150)
    theirs, off2 = estimates(SimulatedSDE(steps=100), model, data, 6)
    assert abs(ours - theirs) < 3 * (off**2 + off2**2) ** 0.5 + 0.03 * abs(theirs)
    assert ours > -float(data.log_prob(data.all().x).mean())


def test_the_bound_scales_with_time_and_observations():
    """Pitfalls: an integral over [0, T] is T times a mean, and a sum of n terms n times one."""
    data = OrnsteinUhlenbeck(64, length=8)
    model = made(data)
    x, cond = data.all().x, data.all().cond
    seen = model.read(x, cond["times"])
    terms = {"drift": 0.0, "observations": 0.0}
    with torch.no_grad():
        for i in range(8):
            mean, _ = model.posterior(seen, cond["times"], cond["times"][:, i])
            terms["observations"] -= float(model.log_likelihood(x[:, i], mean).mean())
        for t in torch.linspace(0.0, data.until, 101)[1:]:
            _, off = gap(model, seen, cond["times"], torch.full((64,), float(t)), torch.zeros(64, 1))
            terms["drift"] += float(0.5 * off.square().sum(1).mean()) * data.until / 100

        real = torch.randn
        parts = {"drift": 0.0, "observations": 0.0}
        try:
            torch.randn = lambda shape, **kwargs: torch.zeros(
                shape
            )  # only the means: both sums are then exact
            for seed in range(200):
                step = Step(generator=torch.Generator().manual_seed(seed))
                found = SDEMatching().loss(model, Batch(x, x, cond), step).parts
                for name in parts:
                    parts[name] += float(found[name]) / 200
        finally:
            torch.randn = real
    for name in parts:
        assert abs(parts[name] / terms[name] - 1) < 0.1, name


def test_each_diffusion_follows_its_own_coordinate():
    data = OrnsteinUhlenbeck(2, length=4)
    model = made(data, latent=3)
    z = torch.randn(1, 3)
    jacobian = torch.autograd.functional.jacobian(lambda z: model.diffusion(z)[0], z)[:, 0]
    assert (jacobian - torch.diag(jacobian.diagonal())).abs().max() == 0
    assert jacobian.diagonal().abs().min() > 0


class Known(LatentSDE):
    """The prior of the process itself, observed as it is."""

    def drift(self, z, t):
        return -z

    def diffusion(self, z):
        return torch.full_like(z, 0.7)


def test_the_rollout_has_the_law_of_the_process():
    data = OrnsteinUhlenbeck(4000, length=6)
    model = Known(data.spec, latent=1, width=8, until=data.until, noise=0.1)
    model.observe = torch.nn.Identity()
    with torch.no_grad():
        model.start[1] = torch.tensor(0.7**2 / 2).log() / 2
    flow = fl.Flow(model, objective=SDEMatching(), solver=LatentRollout(200))
    x = flow.sample(4000, seed=0, **data.all().cond)
    assert (torch.cov(x[..., 0].double().T) - data.covariance).abs().max() < 0.03


def test_lorenz_is_standardised_and_the_gap_is_a_difference():
    x = StochasticLorenz(400).all().x
    assert x.mean((0, 1)).abs().max() < 0.15
    assert (x.std((0, 1)) - 1).abs().max() < 0.15
    data = OrnsteinUhlenbeck(50, length=5)
    flow = fl.Flow(made(data), objective=SDEMatching(), solver=LatentRollout())
    found = NelboGap(data, 4)(flow, data.all())
    assert found["nelbo_gap"] == found["nelbo"] - found["exact_nll"] > 0
    with pytest.raises(ValueError, match="draws count from 1, got 0"):
        NelboGap(data, 0)


def test_the_size_of_the_papers_notebook():
    with torch.device("meta"):
        model = LatentSDE(StochasticLorenz().spec, latent=4, width=100)
    assert model.marginal[0].in_features == 201
    assert sum(p.numel() for p in model.gru.parameters()) == 2 * 3 * (100 * 4 + 100 * 100 + 200)


def test_observations_after_the_last_time_are_refused():
    """The drift costs up to T alone: what is seen later would be free, and the bound no bound."""
    data = OrnsteinUhlenbeck(8, length=5, until=4.0)
    flow = fl.Flow(made(data, until=1.0), objective=SDEMatching(), solver=LatentRollout(), spec=data.spec)
    with pytest.raises(DataError, match=r"0 to 1, and the data are seen .* set model.until"):
        flow.fit(data, steps=1, batch=4)
    flow = fl.Flow(made(data), objective=SDEMatching(), solver=LatentRollout(), spec=data.spec)
    flow.fit(data, steps=1, batch=4)
