"""Guidance that terminal velocity matching trains in, as its authors' code has it."""

from __future__ import annotations

import types

import pytest
import torch
from torch import nn

from flowloom.objectives import Batch, Step
from flowloom_fewstep.guided_target import GuidedTarget
from flowloom_fewstep.terminal_velocity_matching import TerminalVelocityMatching

N, W = 400, 2.0


class Constant(nn.Module):
    """One velocity for rows that are told, another for the others."""

    jvp_safe = True

    def __init__(self, told: float, untold: float) -> None:
        super().__init__()
        self.told = nn.Parameter(torch.tensor(told, dtype=torch.float64))
        self.untold = nn.Parameter(torch.tensor(untold, dtype=torch.float64))

    def forward(self, x, s, /, span, label, null=None):
        null = torch.zeros(len(x), dtype=torch.bool) if null is None else null
        return torch.where(null, self.untold, self.told)[:, None].expand_as(x) + 0 * span[:, None]


def loss_of(model, average, dropout):
    x0, x1 = torch.zeros(N, 1, dtype=torch.float64), torch.ones(N, 1, dtype=torch.float64)
    flow = types.SimpleNamespace(model=average)
    step = Step(0, 1, torch.Generator().manual_seed(0), average=lambda: flow)
    objective = TerminalVelocityMatching(guided=GuidedTarget(scale=W), condition_dropout=dropout)
    return objective.loss(model, Batch(x0, x1, {"label": torch.zeros(N, dtype=torch.long)}), step)


def test_the_averaged_network_guides():
    average = Constant(told=3.0, untold=-1.0)
    # v = w (x1 - x0) + (1 - w) v_ema(x | nothing), whatever the network itself says of nothing.
    for untold in (0.0, 5.0):
        loss = loss_of(Constant(told=3.0, untold=untold), average, dropout=0.0)
        assert float(loss.parts["matching"]) == pytest.approx((3.0 - (W * 1 + (1 - W) * -1.0)) ** 2, abs=1e-9)
    loss = loss_of(Constant(told=2.0, untold=0.0), average, dropout=0.0)
    expected = (2.0 - 3.0) ** 2 / W**2 + (2.0 - 3.0) ** 2 / W**2
    assert float(loss.total) == pytest.approx(expected)


def test_rows_without_conditions_count_whole_and_guided_ones_by_the_scale():
    dropout = 0.25
    average = Constant(told=3.0, untold=1.0)
    # Told rows are at rest where they say w - (w - 1) 1 = 1 and the average 1; only the others are wrong.
    average.told.data.fill_(1.0)
    loss = loss_of(Constant(told=1.0, untold=2.0), average, dropout)
    assert float(loss.parts["matching"]) == pytest.approx(float(loss.total) / 2, rel=0.3)
    assert float(loss.total) == pytest.approx(2 * dropout, rel=0.2)
