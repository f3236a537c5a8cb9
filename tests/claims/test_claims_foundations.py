"""The demonstrations of the founding papers at laptop size: same network, same seeds, baseline beside.

Thresholds are for means over the seeds 0, 1 and 2. Figures are printed; run with ``-s`` to see them.
"""

from __future__ import annotations

import math

import pytest
import torch

import flowloom as fl
from flowloom.data import EightGaussians, Tensors
from flowloom.metrics import sliced_wasserstein, straightness
from flowloom.objectives import Batch, FlowMatching, Step
from flowloom.paths import AffinePath
from flowloom.solvers import Dopri5, Euler
from flowloom.spec import Spec

SEEDS = (0, 1, 2)
PLANE = Spec(shape=(2,))
DATA = Tensors(EightGaussians(20_000).all().x)
REAL = EightGaussians(20_000).split("test").all().x[:4000]


def trained(seed: int, *, schedule=None, coupling=None, steps: int = 3000, data=DATA) -> fl.Flow:
    torch.manual_seed(seed)
    flow = fl.Flow(
        fl.models.MLP(PLANE, width=96, depth=3),
        objective=FlowMatching(AffinePath(schedule or fl.schedules.CondOT())),
        coupling=coupling or fl.couplings.Independent(),
    )
    flow.fit(data, steps=steps, batch=256, lr=1e-3, ema=0.995, seed=seed)
    return flow


def distance(flow: fl.Flow, steps: int, seed: int) -> float:
    return sliced_wasserstein(flow.solve(4000, solver=Euler(steps), seed=seed).x, REAL)


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


@pytest.fixture(scope="module")
def straight() -> list[fl.Flow]:
    return [trained(seed) for seed in SEEDS]


@pytest.mark.slow
def test_flow_matching_needs_fewer_steps_on_the_straight_path(straight) -> None:
    """2210.02747: the OT path samples better than the VP diffusion path at few evaluations."""
    vp = [trained(seed, schedule=fl.schedules.VP()) for seed in SEEDS]
    for steps, limit in ((4, 0.85), (8, 0.85)):
        ours, theirs = (
            mean(distance(f, steps, s) for f, s in zip(fs, SEEDS, strict=True)) for fs in (straight, vp)
        )
        print(f"flow-matching: SW at {steps} Euler steps: OT {ours:.4f}, VP {theirs:.4f}")
        assert ours / theirs <= limit
    fine, vp_fine = (
        mean(distance(f, 100, s) for f, s in zip(fs, SEEDS, strict=True)) for fs in (straight, vp)
    )
    floor = sliced_wasserstein(EightGaussians(4000, seed=77).all().x, REAL)
    print(f"flow-matching: SW at 100 Euler steps: OT {fine:.4f}, VP {vp_fine:.4f}, floor {floor:.4f}")
    assert fine <= 2 * vp_fine


@pytest.mark.slow
def test_flow_matching_likelihood_and_inversion() -> None:
    """The density of a trained flow against a Gaussian mixture whose density is known."""
    generator = torch.Generator().manual_seed(5)
    centres = torch.tensor([[1.5, 0.0], [-1.0, 1.0], [0.0, -1.5]])

    def draw(n: int) -> torch.Tensor:
        which = torch.randint(3, (n,), generator=generator)
        return centres[which] + 0.4 * torch.randn(n, 2, generator=generator)

    data, held_out = Tensors(draw(20_000)), draw(1000)
    quadratic = -(held_out[:, None] - centres).square().sum(-1) / (2 * 0.16)
    truth = -(torch.logsumexp(quadratic, 1) - math.log(3 * 2 * math.pi * 0.16)).mean()
    for seed in SEEDS:
        flow = trained(seed, data=data)
        with torch.no_grad():
            nll = -flow.log_prob(held_out, solver=Dopri5()).mean()
            noise = Dopri5(1e-6, 1e-6).solve(flow.field(), held_out, span=(1.0, 0.0)).x
            back = Dopri5(1e-6, 1e-6).solve(flow.field(), noise).x
        error = (back - held_out).norm(dim=1).max()
        print(f"flow-matching: seed {seed}: NLL {nll:.3f}, true {truth:.3f}; inversion error {error:.1e}")
        assert abs(nll - truth) <= 0.15
        assert error <= 1e-3


@pytest.mark.slow
def test_multisample_couplings_straighten(straight) -> None:
    """2304.14772: couplings straighten the model's trajectories and help sampling in few steps."""
    x0 = torch.randn(2000, 2, generator=torch.Generator().manual_seed(9))
    base = mean(straightness(f.field(), x0) for f in straight)
    base_two = mean(distance(f, 2, s) for f, s in zip(straight, SEEDS, strict=True))
    base_fine = mean(distance(f, 100, s) for f, s in zip(straight, SEEDS, strict=True))
    print(
        f"multisample-fm: independent: straightness {base:.3f}, SW@2 {base_two:.3f}, SW@100 {base_fine:.3f}"
    )
    for name, coupling, straighter in (
        ("BatchOT", fl.couplings.OptimalTransport(), 0.15),
        ("stable", fl.couplings.StableMatching(), 0.5),
    ):
        flows = [trained(seed, coupling=coupling) for seed in SEEDS]
        bent = mean(straightness(f.field(), x0) for f in flows)
        two = mean(distance(f, 2, s) for f, s in zip(flows, SEEDS, strict=True))
        fine = mean(distance(f, 100, s) for f, s in zip(flows, SEEDS, strict=True))
        print(f"multisample-fm: {name}: straightness {bent:.3f}, SW@2 {two:.3f}, SW@100 {fine:.3f}")
        assert bent / base <= straighter
        if name == "BatchOT":
            assert two / base_two <= 0.5
            assert fine / base_fine <= 2.0


@pytest.mark.slow
def test_multisample_couplings_lower_gradient_variance(straight) -> None:
    """2304.14772: at a fixed network and time, coupled targets vary less."""

    def variance(coupling, seed: int) -> float:
        objective = FlowMatching(times=fl.times.Uniform())
        model = straight[0].model
        gradients = []
        for i in range(64):
            generator = torch.Generator().manual_seed(1000 * seed + i)
            x1 = DATA.take(torch.randint(len(DATA), (256,), generator=generator)).x
            x0 = torch.randn(256, 2, generator=generator)
            rows = coupling.rows(x0, x1, {}, generator=generator)
            batch = Batch(x0 if rows is None else x0[rows], x1)
            model.zero_grad()
            objective.loss(model, batch, Step(generator=generator)).total.backward()
            gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
        return float(torch.stack(gradients).var(0).sum())

    plain = mean(variance(fl.couplings.Independent(), s) for s in SEEDS)
    coupled = mean(variance(fl.couplings.OptimalTransport(), s) for s in SEEDS)
    print(f"multisample-fm: gradient variance: BatchOT {coupled:.4g}, independent {plain:.4g}")
    assert coupled / plain <= 0.7
