"""A reference that would be misread is refused before training."""

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.models import MLPCritic
from flowloom.spec import Spec
from flowloom.trained import Trained
from flowloom_alignment.ac_flow import ACFlow
from flowloom_alignment.energies import Along
from flowloom_alignment.flow_grpo import FlowGRPO
from flowloom_alignment.nada.directional import Directional
from flowloom_alignment.reward_weighted import RewardWeighted

SPEC, REWARD = Spec((2,)), Along([1.0, 0.0])


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.spec, self.unit = SPEC, nn.Parameter(torch.ones(()))

    def images(self, x):
        return x

    def texts(self, texts):
        return torch.ones(len(texts), 2)

    def forward(self, x, t, /, **cond):
        return x


MAKE = {
    "reward-weighted": lambda old: RewardWeighted(REWARD, old, pull=1.0),
    "ac-flow": lambda old: ACFlow(MLPCritic(SPEC, width=8), REWARD, old, pull=1.0),
    "flow-grpo": lambda old: FlowGRPO(REWARD, old, kl=0.1),
    "directional": lambda old: Directional(Trained(fl.Flow(Both())), old, ["left"], ["right"]),
}


@pytest.mark.parametrize("name", MAKE)
def test_a_reference_is_read_as_it_was_trained(name):
    model = fl.models.MLP(SPEC, width=8, depth=1)

    def said(**settings):
        old = Trained(fl.Flow(model, objective=fl.objectives.FlowMatching(**settings)))
        return [clash.message for clash in MAKE[name](old).clashes({"spec": SPEC})]

    assert said() == []
    assert said(predict="data") == [
        "the reference answers with data, and would be read as velocity; train both with the same predict"
    ]
    assert said(path=fl.paths.AffinePath(fl.schedules.Cosine())) == [
        "the reference was trained on points of Cosine(), and this flow walks CondOT(sigma_min=0.0); train "
        "both on the same path"
    ]
