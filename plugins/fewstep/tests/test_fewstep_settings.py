"""Settings that cannot be, noise that a method cannot have, and losses that cannot be compiled."""

from __future__ import annotations

import math

import pytest
import torch

import flowloom as fl
from flowloom.couplings import Independent, OptimalTransport
from flowloom.data import EightGaussians
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError
from flowloom.models import MLP, MLPCritic
from flowloom.objectives import Batch, Step
from flowloom.paths import AffinePath
from flowloom.schedules import CondOT
from flowloom.sources import Gaussian, Paired, Uniform
from flowloom.spec import Spec
from flowloom.trained import Trained
from flowloom.training import TrainConfig, Trainer
from flowloom_fewstep.adversarial_flow import AdversarialFlow
from flowloom_fewstep.align_your_flow import AlignYourFlow
from flowloom_fewstep.another_row import another_row
from flowloom_fewstep.blockwise_objectives import BlockwiseFlowMatching
from flowloom_fewstep.consistency_fm import ConsistencyFM
from flowloom_fewstep.free_flow import FreeFlow
from flowloom_fewstep.gmflow import GMFlow
from flowloom_fewstep.guided_target import GuidedTarget
from flowloom_fewstep.low_rank import LowRank
from flowloom_fewstep.meanflow import MeanFlow
from flowloom_fewstep.modular_meanflow import ModularMeanFlow
from flowloom_fewstep.proreflow import ProReflow
from flowloom_fewstep.ratios import SigmoidRatio
from flowloom_fewstep.scaled_linear_vp import ScaledLinearVP
from flowloom_fewstep.self_corrected import SelfCorrected
from flowloom_fewstep.soflow import SoFlow
from flowloom_fewstep.terminal_velocity_matching import TerminalVelocityMatching

SPEC = Spec((2,))


def mlp():
    return MLP(SPEC, width=8, depth=1)


def critic():
    return MLPCritic(SPEC, width=8, depth=1)


def teacher():
    return Trained(fl.Flow(mlp(), spec=SPEC))


ENDLESS = {
    "power": lambda v: MeanFlow(power=v),
    "floor": lambda v: SoFlow(floor=v),
    "guided": lambda v: GuidedTarget(scale=v),
    "steepness": lambda v: SigmoidRatio(steepness=v),
    "velocity_weight": lambda v: ConsistencyFM(velocity_weight=v),
    "cut": lambda v: AlignYourFlow(teacher(), cut=v),
    "autoguidance": lambda v: AlignYourFlow(teacher(), scale=v),
    "direction": lambda v: ProReflow(teacher(), direction=v),
    "correction": lambda v: FreeFlow(teacher(), correction=v),
    "huber": lambda v: SelfCorrected(teacher(), critic(), huber=v),
    "reflow": lambda v: SelfCorrected(teacher(), critic(), reflow=v),
    "transport": lambda v: AdversarialFlow(critic(), transport=v),
    "penalty_eps": lambda v: AdversarialFlow(critic(), penalty_eps=v),
    "align": lambda v: BlockwiseFlowMatching(align=v),
    "rank": lambda v: LowRank(SPEC, mlp(), scale=v),
    "beta_max": lambda v: ScaledLinearVP(beta_max=v),
    "latest": lambda v: ScaledLinearVP(latest=v),
}


@pytest.mark.parametrize("make", ENDLESS.values(), ids=ENDLESS)
def test_infinite_settings_are_refused(make):
    with pytest.raises(ValueError, match="inf"):
        make(math.inf)


@pytest.mark.parametrize("latest", [-1.0, 0.0, 1.0])
def test_the_latest_time_lies_before_the_data(latest):
    with pytest.raises(ValueError, match="latest lies in"):
        ScaledLinearVP(latest=latest)


def test_less_than_no_alignment_is_refused():
    with pytest.raises(ValueError, match="align is at least 0"):
        BlockwiseFlowMatching(align=-1.0)


def told(objective, **parts):
    return [clash.message for clash in objective.clashes(parts)]


def test_mixtures_need_standard_normal_noise_that_knows_nothing_of_the_data():
    assert not told(GMFlow(), source=Gaussian(), coupling=Independent())
    for source in (Gaussian(2.0), Uniform(fl.geometry.Box()), Paired(holds="states", otherwise=Gaussian())):
        assert any("N(0, I)" in message for message in told(GMFlow(), source=source))
    assert any("independent of the data" in m for m in told(GMFlow(), coupling=OptimalTransport()))
    with pytest.raises(IncompatibleError, match="sigma_min 0"):
        GMFlow(AffinePath(CondOT(sigma_min=0.1)))


@pytest.mark.parametrize("n", [2, 3, 8])
def test_noise_of_another_row_is_never_its_own(n, draws):
    for _ in range(50):
        order = another_row(n, Draw(draws), "this")
        assert sorted(order.tolist()) == list(range(n))
        assert not bool((order == torch.arange(n)).any())


def test_every_other_row_is_as_likely(draws):
    found = torch.stack([another_row(4, Draw(draws), "this") for _ in range(3000)])
    assert (found[:, 0].bincount(minlength=4) / 3000).tolist() == pytest.approx(
        [0, 1 / 3, 1 / 3, 1 / 3], abs=0.04
    )


def test_a_row_alone_has_no_other():
    one, step = Batch(torch.randn(1, 2), torch.randn(1, 2)), Step(generator=torch.Generator())
    with pytest.raises(IncompatibleError, match=r"train\.batch to 2"):
        AdversarialFlow(critic(), steps=2).loss(mlp(), one, step)
    assert AdversarialFlow(critic()).loss(mlp(), one, step).total.isfinite()


LOSSES = {
    "terminal": (TerminalVelocityMatching, False),
    "modular": (ModularMeanFlow, False),
    "modular, as MeanFlow": (lambda: ModularMeanFlow(through=0.0), True),
    "corrected": (lambda: SelfCorrected(teacher(), critic()), False),
    "uncorrected": (lambda: SelfCorrected(teacher(), critic(), adversarial=0.0), True),
    "meanflow": (MeanFlow, True),
}


@pytest.mark.parametrize(("make", "compiles"), LOSSES.values(), ids=LOSSES)
def test_losses_with_derivatives_inside_are_not_compiled(make, compiles):
    objective, data = make(), EightGaussians(32)
    model = MLP(data.spec.plus(objective.conditions()), width=8, depth=1)
    flow = fl.Flow(model, objective=objective, spec=data.spec)
    assert objective.compiles is compiles
    if not compiles:
        with pytest.raises(IncompatibleError, match="derivatives inside its loss"):
            Trainer(flow, data, TrainConfig(steps=1, batch=8, compile="loss"))
