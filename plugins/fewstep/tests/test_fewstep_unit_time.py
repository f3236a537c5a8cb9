"""Objectives that live on [0, 1] refuse other paths and laws, and guidance that is never learned."""

from __future__ import annotations

import pytest

import flowloom as fl
from flowloom.errors import IncompatibleError
from flowloom.models import MLP, MLPCritic
from flowloom.paths import AffinePath
from flowloom.spec import Condition, Spec
from flowloom.times import TimeLaw
from flowloom.trained import Trained
from flowloom_fewstep.adversarial_flow import AdversarialFlow
from flowloom_fewstep.align_your_flow import AlignYourFlow
from flowloom_fewstep.blockwise_objectives import BlockwiseFlowMatching, FeatureResidual
from flowloom_fewstep.consistency_fm import ConsistencyFM
from flowloom_fewstep.gmflow import GMFlow
from flowloom_fewstep.guided_target import GuidedTarget
from flowloom_fewstep.meanflow import MeanFlow
from flowloom_fewstep.proreflow import ProReflow
from flowloom_fewstep.self_corrected import SelfCorrected
from flowloom_fewstep.soflow import SoFlow
from flowloom_fewstep.splitmeanflow import SplitMeanFlow
from flowloom_fewstep.terminal_velocity_matching import TerminalVelocityMatching
from flowloom_fewstep.velocity_law import VelocityLaw
from flowloom_fewstep.velocity_refiner import VelocityRefiner

SPEC = Spec((2,))


class Levels(AffinePath):
    """In noise levels, from 80 down."""

    span = (80.0, 0.002)


class Anew(AffinePath):
    """x_t drawn anew at every t."""

    pathwise = False


class Beyond(TimeLaw):
    support = (1.0, 8.0)

    def quantile(self, u):
        return 1 + 7 * u


def teacher():
    return Trained(fl.Flow(MLP(SPEC, width=8, depth=1)))


MAKERS = {
    "meanflow": lambda path: MeanFlow(path),
    "soflow": lambda path: SoFlow(path),
    "splitmeanflow": lambda path: SplitMeanFlow(path),
    "terminal": lambda path: TerminalVelocityMatching(path),
    "aligned": lambda path: AlignYourFlow(teacher(), path),
    "consistency": lambda path: ConsistencyFM(path),
    "velocity-law": lambda path: VelocityLaw(path),
    "gmflow": lambda path: GMFlow(path),
    "adversarial": lambda path: AdversarialFlow(MLPCritic(SPEC, width=8, depth=1), path),
    "self-corrected": lambda path: SelfCorrected(teacher(), MLPCritic(SPEC, width=8, depth=1), path),
    "proreflow": lambda path: ProReflow(teacher(), path),
    "refiner": lambda path: VelocityRefiner(SPEC, teacher(), path),
    "blockwise": lambda path: BlockwiseFlowMatching(path=path),
    "feature-residual": lambda path: FeatureResidual(path),
}


@pytest.mark.parametrize("name", MAKERS)
def test_paths_of_another_time_are_refused(name):
    MAKERS[name](AffinePath())
    with pytest.raises(IncompatibleError, match="from time 0 to 1"):
        MAKERS[name](Levels())


@pytest.mark.parametrize("name", ["consistency", "feature-residual"])
def test_two_states_of_one_pair_need_a_path_that_keeps_it(name):
    with pytest.raises(IncompatibleError, match="anew"):
        MAKERS[name](Anew())


@pytest.mark.parametrize(
    "make",
    [
        lambda: MeanFlow(times=Beyond()),
        lambda: SoFlow(target_times=Beyond()),
        lambda: TerminalVelocityMatching(gap=Beyond()),
        lambda: ConsistencyFM(times=Beyond()),
        lambda: VelocityLaw(times=Beyond()),
        lambda: GMFlow(times=Beyond()),
        lambda: BlockwiseFlowMatching(times=Beyond()),
    ],
)
def test_laws_beyond_the_ends_are_refused(make):
    with pytest.raises(IncompatibleError, match="Beyond draws in"):
        make()


def told(objective, **parts):
    return [clash.message for clash in objective.clashes(parts)]


def test_guidance_needs_rows_without_conditions():
    guided = GuidedTarget(scale=2.0)
    assert any("never learns" in message for message in told(MeanFlow(guided=guided)))
    assert not told(MeanFlow(guided=guided, condition_dropout=0.1))
    assert not told(MeanFlow(guided=GuidedTarget()))


@pytest.mark.parametrize("make", [MeanFlow, ConsistencyFM, VelocityLaw, GMFlow])
def test_conditions_are_withheld_of_data_that_have_some(make):
    objective = make(condition_dropout=0.1)
    assert any("no conditions" in message for message in told(objective, spec=SPEC))
    labelled = Spec((2,), conditions={"label": Condition(classes=3)})
    assert not told(objective, spec=labelled)


def test_jumps_between_the_ends_need_noise_that_is_any_row_s():
    several, one = (AdversarialFlow(MLPCritic(SPEC, width=8, depth=1), steps=k) for k in (2, 1))
    paired = {"coupling": fl.couplings.OptimalTransport()}
    assert any("another row's noise" in message for message in told(several, **paired))
    assert not told(one, **paired)
    assert not told(several, coupling=fl.couplings.Independent(), source=fl.sources.Gaussian())
