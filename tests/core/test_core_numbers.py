"""Numbers and memory of training: half precision, recomputation, memory formats, compiled networks."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.data import EightGaussians, Tensors
from flowloom.errors import RunError
from flowloom.models import MLP
from flowloom.objectives import FlowMatching
from flowloom.parts import tensors
from flowloom.training import TrainConfig, load_checkpoint, save_checkpoint
from flowloom.training.blocks import blocks_of

DATA = EightGaussians(200)
IMAGES = Tensors(torch.randn(64, 2, 8, 8, generator=torch.Generator().manual_seed(0)))


class Tower(nn.Module):
    """A network of blocks in a list, which counts how often they are called."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(3, 16), nn.Linear(16, 2)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Dropout(0.1)) for _ in range(3)
        )
        self.calls = 0
        for block in self.blocks:
            block[0].register_forward_hook(self._count)  # type: ignore[index]

    def _count(self, *_: object) -> None:
        self.calls += 1

    def forward(self, x: torch.Tensor, t: torch.Tensor, **cond: torch.Tensor) -> torch.Tensor:
        hidden = self.enter(torch.cat([x, t[:, None]], 1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.leave(hidden)


class Pictures(nn.Module):
    """Two convolutions, which remember the memory format of what came in between."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)
        self.last = False

    def forward(self, x: torch.Tensor, t: torch.Tensor, **cond: torch.Tensor) -> torch.Tensor:
        hidden = self.one(x).tanh()
        self.last = hidden.is_contiguous(memory_format=torch.channels_last)
        return self.two(hidden)


def trainer(model: nn.Module, data: fl.data.Dataset = DATA, **settings: object) -> fl.training.Trainer:
    settings = {"steps": 6, "batch": 32, "lr": 1e-2, "log_every": 1, **settings}
    spec = data.spec
    flow = fl.Flow(copy.deepcopy(model), spec, objective=FlowMatching())
    return flow.trainer(data, TrainConfig(**settings))  # type: ignore[arg-type]


def losses(one: fl.training.Trainer, until: int | None = None) -> list[float]:
    found = [line["loss"] for line in one.run(until)]
    one.close()
    return found


def test_recomputed_blocks_have_the_same_losses_and_are_called_twice() -> None:
    torch.manual_seed(0)
    plain, again = (trainer(Tower(), recompute=on) for on in (False, True))
    again.flow.model.load_state_dict(plain.flow.model.state_dict())
    assert losses(plain) == losses(again)
    assert again.flow.model.calls == 2 * plain.flow.model.calls
    names = [name for name, _ in again.flow.named_parameters()]
    assert names == [name for name, _ in plain.flow.named_parameters()]


def test_the_averaged_twin_of_a_recomputed_network_asks_its_own_blocks() -> None:
    one = trainer(Tower(), recompute=True, ema=0.9)
    losses(one)
    twin, x, t = one.averaged().model, torch.randn(4, 2), torch.rand(4)
    with torch.no_grad():
        for p in one.flow.model.blocks.parameters():
            p.zero_()
        before = twin(x, t)
        for p in twin.blocks.parameters():
            p.zero_()
        assert not before.equal(twin(x, t))


def test_recomputed_networks_are_differentiated_forward() -> None:
    one = trainer(Tower(), recompute=True)
    x, t = torch.randn(4, 2), torch.rand(4)
    model = one.flow.model.eval()
    _, found = torch.func.jvp(lambda s: model(x, s), (t,), (torch.ones_like(t),))
    step = 1e-3
    expected = (model(x, t + step) - model(x, t - step)) / (2 * step)
    assert found.detach().allclose(expected.detach(), atol=1e-3)
    one.close()


def test_blocks_are_the_outermost_modules_in_lists() -> None:
    tower = Tower()
    assert blocks_of(tower) == list(tower.blocks)
    nested = nn.Module()
    nested.lists = nn.ModuleList([nn.ModuleList([nn.Linear(1, 1), nn.Identity()]), nn.Linear(1, 1)])
    assert [type(one) for one in blocks_of(nested)] == [nn.Linear, nn.Linear]
    assert blocks_of(nn.Linear(1, 1)) == []


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_nearly_the_same(precision: str) -> None:
    torch.manual_seed(0)
    model = MLP(DATA.spec, width=32, depth=2)
    exact, half = (trainer(model, precision=p, steps=40, log_every=40) for p in ("float32", precision))
    one, other = losses(exact), losses(half)
    assert one != other
    assert other == pytest.approx(one, rel=0.02)
    assert all(p.dtype == torch.float32 for p in half.flow.parameters())


def test_the_scale_of_float16_is_continued(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MLP(DATA.spec, width=16, depth=2)
    whole, first, second = (trainer(model, precision="fp16", steps=8) for _ in range(3))
    for one in (whole, first, second):
        scaler = one.players[0].scaling.scaler
        assert scaler is not None
        scaler.set_growth_interval(3)
    losses(whole)
    losses(first, until=4)
    load_checkpoint(second, save_checkpoint(first, tmp_path))
    scales = [one.players[0].scaling.scaler.get_scale() for one in (first, second)]
    assert scales[0] == scales[1] == 2 * 65536
    losses(second)
    for name, value in tensors(whole.flow).items():
        assert value.equal(tensors(second.flow)[name])
    exact = trainer(model, steps=8)
    plain = trainer(model, steps=8, precision="fp16")
    with pytest.raises(RunError, match="no scale of the losses"):
        load_checkpoint(plain, save_checkpoint(exact, tmp_path / "exact"))


def test_a_step_that_overflows_in_float16_is_passed_over() -> None:
    one = trainer(MLP(DATA.spec, width=16, depth=2), precision="fp16", steps=2)
    scaler = one.players[0].scaling.scaler
    assert scaler is not None
    scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**120})
    before = [p.detach().clone() for p in one.flow.parameters()]
    line = next(iter(one.run(1)))
    assert line["passed_over"] == 1
    assert math.isfinite(line["loss"])
    assert all(p.equal(old) for p, old in zip(one.flow.parameters(), before, strict=True))
    assert scaler.get_scale() == 2.0**119
    one.close()


def test_channels_last_reaches_the_convolutions_and_is_continued(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Pictures()
    plain, last = (trainer(model, IMAGES, channels_last=on) for on in (False, True))
    assert losses(last) == pytest.approx(losses(plain), rel=1e-5)
    assert last.flow.model.last
    assert not plain.flow.model.last
    second = trainer(model, IMAGES, channels_last=True)
    load_checkpoint(second, save_checkpoint(last, tmp_path))
    assert second.flow.model.one.weight.is_contiguous(memory_format=torch.channels_last)
    assert second.flow.model.one.weight.equal(last.flow.model.one.weight)


@pytest.mark.slow
def test_compiled_networks_have_the_same_losses() -> None:
    torch.manual_seed(0)
    model = MLP(DATA.spec, width=32, depth=2)
    plain, compiled = (trainer(model, compile=on) for on in (False, True))
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-5)
