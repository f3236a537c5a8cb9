"""Causality, the latent's law, teacher forcing against a hand-written sum, and the rollout."""

import pytest
import torch

import flowloom as fl
from flowloom.errors import IncompatibleError
from flowloom.objectives import Batch, Step
from flowloom.spec import Condition, Spec
from flowloom_foundations.causal import CausalTrajectory, NextState, Rollout


def made(steps=4, pieces=2, **more):
    torch.manual_seed(0)
    model = CausalTrajectory(Spec((4,), **more), steps, pieces, width=16, depth=2, heads=2, latent=3)
    for block in model.blocks:
        torch.nn.init.normal_(block.modulate.weight, std=0.3)
    return model


HISTORY = torch.randn(5, 4, 4, generator=torch.Generator().manual_seed(1))
TIMES = (torch.arange(4) / 4).expand(5, -1)


def test_the_past_is_seen_whole_and_the_future_not_at_all():
    model = made()
    mean, _ = model.posterior(HISTORY, TIMES, {})
    for k in range(4):
        changed = HISTORY.clone()
        changed[:, k] += 1
        other, _ = model.posterior(changed, TIMES, {})
        assert torch.allclose(other[:, :k], mean[:, :k], atol=1e-5)
        assert ((other[:, k:] - mean[:, k:]).abs().amax((0, 3)) > 1e-4).all(), (
            "both pieces of all later states"
        )
    shorter, _ = model.posterior(HISTORY[:, :2], TIMES[:, :2], {})
    assert torch.allclose(shorter, mean[:, :2], atol=1e-5)


def test_the_loss_is_the_sum_over_transitions():
    model, draws = made(), torch.Generator().manual_seed(2)
    x0, x1 = torch.randn(5, 4, generator=draws), torch.randn(5, 4, generator=draws)
    objective = NextState(noise=0.0, kl_weight=0.3)
    with torch.no_grad():
        model.to_latent.weight[3:] = 0
        model.to_latent.bias[3:] = -12  # next to no deviation
    loss = objective.loss(model, Batch(x0, x1), Step(generator=torch.Generator().manual_seed(0)))
    states = torch.stack([x0 + k / 4 * (x1 - x0) for k in range(5)], 1)
    mean, log_var = model.posterior(states[:, :-1], TIMES, {})
    square = (states[:, 1:] - model.decode(mean)).square().sum((1, 2)).mean()
    normal = torch.distributions.Normal
    kl = torch.distributions.kl_divergence(normal(mean, (log_var / 2).exp()), normal(0.0, 1.0))
    assert torch.allclose(loss.parts["square"], square, rtol=1e-2)
    assert torch.allclose(loss.parts["kl"], kl.sum((1, 2, 3)).mean(), rtol=1e-4)
    assert torch.allclose(loss.total, loss.parts["square"] + 0.3 * loss.parts["kl"])


class Shifts(CausalTrajectory):
    """The next state is the sum of all states so far: only a whole history says it."""

    def posterior(self, history, t, cond):
        z = history.cumsum(1)[:, :, None]
        return z, torch.full_like(z, -12.0)

    def decode(self, z):
        return z[:, :, 0]


def test_the_rollout_hands_on_the_whole_history():
    model = Shifts(Spec((4,)), 4, width=16, heads=2)
    field = NextState(temperature=0.0).field(model)
    x0 = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    solution = Rollout(4).solve(field, x0, generator=torch.Generator().manual_seed(0), keep=5)
    assert torch.allclose(solution.x, 8 * x0)  # 1, 1, 2, 4, 8
    assert solution.nfe == 4
    assert torch.allclose(solution.trajectory[2], 2 * x0)


def test_temperature_scales_the_deviation_of_the_latent():
    model = made()
    x0 = torch.randn(1, 4).expand(4000, 4)[:, None]
    t = torch.zeros(4000)
    mean, log_var = model.posterior(x0[:1], t[:1, None], {})
    model.decode = lambda z: z.flatten(2)
    for temperature in (0.0, 0.5, 1.0):
        field = NextState(temperature=temperature).field(model)
        z = field(x0, t, {}, generator=torch.Generator().manual_seed(0))
        wanted = temperature * (log_var / 2).exp().flatten()
        assert torch.allclose(z.std(0), wanted, rtol=0.05, atol=1e-6)
        assert torch.allclose(z.mean(0), mean.flatten(), atol=0.1)


def test_conditions_are_heard_and_refusals_are_clear():
    model = made(conditions={"label": Condition(3)})
    both = [model.posterior(HISTORY, TIMES, {"label": torch.full((5,), k)})[0] for k in (0, 1)]
    assert not torch.allclose(*both, atol=1e-4)
    with pytest.raises(IncompatibleError, match="do not divide"):
        CausalTrajectory(Spec((3,)), pieces=2)
    with pytest.raises(ValueError, match="not negative"):
        NextState(temperature=float("nan"))
    flow = fl.Flow(made(), objective=NextState(), solver=Rollout(4))
    with pytest.raises(IncompatibleError, match="whole trajectories"):
        flow.solver.solve(flow.objective.field(flow.model), torch.zeros(2, 4), span=(0.5, 1.0))


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(survives_a_kill):
    survives_a_kill("calmflow", "train.batch=32")


def test_the_papers_size():
    with torch.device("meta"):
        model = CausalTrajectory(Spec((1000,)), 16, 8, width=768, depth=12, heads=12, latent=256)
    per_block = sum(p.numel() for p in model.blocks.parameters()) / 12
    plain = per_block - sum(p.numel() for p in model.blocks[0].modulate.parameters())
    assert abs(plain / 7.087e6 - 1) < 0.01  # a block of GPT-2 (124 M parameters, 39 M of them its vocabulary)
