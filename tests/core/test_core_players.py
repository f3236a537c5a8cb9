"""Players: what their optimisers remember is saved alike, wherever parameters lie."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowloom.objectives import Loss, Turn
from flowloom.training import TrainConfig
from flowloom.training import players as module
from flowloom.training.optimizers import AdamW, Muon, Optimizer

NAMES = ("model.a", "source.b", "model.c", "source.d", "critic.e")


def player(optimizer: Optimizer) -> module.Player:
    parameters = {name: nn.Parameter(torch.full((2, 3), float(i))) for i, name in enumerate(NAMES)}
    turn = Turn("main", lambda batch, step: Loss(torch.zeros(())), parameters)
    config = TrainConfig(optimizer=optimizer, rates={"*.c": 0.5, "*.d": 0.5})
    return module.Player(turn, config, torch.device("cpu"))


@pytest.mark.parametrize(
    "optimizer",
    [
        AdamW(),
        pytest.param(
            "muon", marks=pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="came with torch 2.9")
        ),
    ],
)
def test_moments_are_saved_as_if_no_parameter_lay_in_shares(
    optimizer: Optimizer | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optimisers hold parameters in shares apart from others, and go on where there are no shares."""
    made = Muon() if isinstance(optimizer, str) else optimizer
    whole = player(made)
    # Sharded are those of the networks, which stand between others.
    monkeypatch.setattr(module, "in_shares", lambda p: float(p.detach()[0, 0]) in (0.0, 2.0, 4.0))
    shares = player(made)
    monkeypatch.undo()
    for one in (whole, shares):
        for i, p in enumerate(one.parameters):
            p.grad = torch.full_like(p, 1.0 + i)
        one.move(1e-3)
    assert whole.state().keys() == shares.state().keys()
    assert all(value.equal(shares.state()[name]) for name, value in whole.state().items())
    other = player(made)
    other.restore(shares.state(), "there")
    assert all(value.equal(other.state()[name]) for name, value in whole.state().items())
    for name, p in shares.owners().items():
        assert p.equal(whole.owners()[name]), "it says whose moments they are"
