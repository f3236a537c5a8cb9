"""The training loop: order, resumption, averages, learning rates, failures, checkpoints."""

from __future__ import annotations

import json
import math
import os
from itertools import pairwise

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.couplings import OptimalTransport, Sinkhorn
from flowloom.data import EightGaussians, Tensors
from flowloom.errors import DataError, RunError, TrainingError
from flowloom.models import MLP
from flowloom.objectives import FlowMatching, Loss
from flowloom.parts import tensors
from flowloom.seeds import derive, generator
from flowloom.training import (
    EMA,
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    Feeding,
    Linear,
    Muon,
    Rows,
    TrainConfig,
    load_checkpoint,
    save_checkpoint,
)
from flowloom.training import checkpoint as checkpoint_module
from flowloom.training.ahead import Batches
from flowloom.training.checkpoint import checkpoints, prune
from flowloom.training.order import EpochOrder
from flowloom.training.parallel.world import World
from flowloom.training.scaling import Scaling

DATA = EightGaussians(100)


class Dropping(nn.Module):
    """A network that draws from the global generator, as dropout does."""

    def __init__(self):
        super().__init__()
        self.inner = MLP(DATA.spec, width=16, depth=1)
        self.drop = nn.Dropout(0.2)

    def forward(self, x, t, **cond):
        return self.drop(self.inner(x, t, **cond))


def trainer(seed=0, coupling=None, model=None, objective=None, data=DATA, **settings):
    torch.manual_seed(7)
    model = model() if callable(model) and not isinstance(model, nn.Module) else model
    config = TrainConfig(**{"steps": 20, "batch": 16, "lr": 1e-2, "log_every": 5, **settings})
    flow = fl.Flow(
        model or Dropping(),
        DATA.spec,
        objective=objective or FlowMatching(condition_dropout=0.1),
        coupling=coupling,
    )
    return flow.trainer(data, config, seed=seed)


def run(t, until=None):
    try:
        return list(t.run(until))
    finally:
        t.close()


def weights(t):
    return {k: v.detach().clone() for k, v in tensors(t.flow).items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# -- order ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "batch"), [(100, 16), (10, 7), (5, 16), (64, 64)])
def test_rows_come_in_epochs_of_permutations(n, batch):
    order = EpochOrder(n, batch, 3)
    steps = 3 * math.ceil(n / batch) + 3
    rows = torch.cat([order.rows(s) for s in range(steps)])
    assert all(len(order.rows(s)) == batch for s in range(steps))
    for epoch in range(len(rows) // n):
        assert sorted(rows[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))
    assert not torch.equal(rows[:n], rows[n : 2 * n]) or n == 1


def test_rows_of_a_step_depend_on_nothing_but_step_and_seed():
    order, other = EpochOrder(50, 8, 3), EpochOrder(50, 8, 3)
    forwards = [order.rows(s) for s in range(30)]
    backwards = [other.rows(s) for s in reversed(range(30))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not torch.equal(forwards[0], EpochOrder(50, 8, 4).rows(0))


def test_streams_of_randomness_are_apart():
    seeds = {derive(s, name, k) for s in (-1, 0, 1, 2) for name in ("source", "objective") for k in range(50)}
    assert len(seeds) == 4 * 2 * 50
    a, b = (torch.rand(1000, generator=generator(0, name, 5)) for name in ("source", "objective"))
    assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.12


@pytest.mark.parametrize("ahead", [True, False])
def test_a_batch_is_the_same_whenever_it_is_asked_for(ahead):
    def make():
        feed = Rows(DATA)
        feed.start(Feeding(fl.Flow(nn.Identity(), DATA.spec, coupling=Sinkhorn()), 8, 1))
        return Batches(feed, ahead=ahead)

    one, two = make(), make()
    first = [one[s] for s in range(6)]
    for s in (3, 0, 5, 4, 4):
        again = two[s]
        assert torch.equal(again.x0, first[s].x0)
        assert torch.equal(again.x1, first[s].x1)
    one.close()
    two.close()


# -- resumption ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [AdamW(weight_decay=0.01), Adam(), SGD(), Muon()], ids=repr)
@pytest.mark.parametrize("prefetch", ["on", "off"])
@pytest.mark.parametrize("coupling", [None, OptimalTransport, Sinkhorn])
def test_a_run_stopped_and_resumed_ends_with_the_same_bits(tmp_path, optimizer, prefetch, coupling):
    settings = {
        "optimizer": optimizer,
        "prefetch": prefetch,
        "decay": Cosine(3),
        "ema": 0.9,
    }

    def make():
        return trainer(coupling=coupling() if coupling else None, **settings)

    whole = make()
    run(whole)
    first = make()
    run(first, until=9)
    folder = save_checkpoint(first, tmp_path)
    torch.manual_seed(12345)
    second = make()
    for p in second.flow.parameters():
        nn.init.normal_(p)
    load_checkpoint(second, folder)
    assert second.step == 9
    run(second)
    assert same(weights(whole), weights(second))
    assert same(whole.ema.state_dict(), second.ema.state_dict())


def test_training_is_the_same_twice_and_other_with_another_seed():
    a, b, c = trainer(), trainer(), trainer(seed=1)
    for t in (a, b, c):
        run(t)
    assert same(weights(a), weights(b))
    assert not same(weights(a), weights(c))


def test_a_step_on_the_cpu_leaves_other_devices_alone(monkeypatch):
    t = trainer()
    monkeypatch.setattr(torch, "manual_seed", lambda seed: pytest.fail("seeds every kind of device"))
    run(t, 2)
    assert t.step == 2


def test_a_thread_changes_nothing():
    a, b = trainer(prefetch="on", coupling=Sinkhorn()), trainer(prefetch="off", coupling=Sinkhorn())
    assert [m["loss"] for m in run(a)] == [m["loss"] for m in run(b)]
    assert same(weights(a), weights(b))


# -- averages, learning rate, metrics ------------------------------------------------------------------


def test_average_follows_its_formula():
    module = nn.Linear(2, 2)
    flow = fl.Flow(module, DATA.spec)
    ema = EMA(flow, 0.9)
    expected = module.weight.detach().clone().double()
    for step in range(40):
        with torch.no_grad():
            module.weight.add_(torch.randn(2, 2, generator=torch.Generator().manual_seed(step)))
        ema.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * module.weight.detach().double()
    assert torch.allclose(ema.state_dict()["model.weight"].double(), expected, atol=1e-6)
    assert torch.equal(ema.averaged.model.weight, ema.state_dict()["model.weight"])
    assert not ema.averaged.model.weight.requires_grad
    ema.copy_to_live()
    assert torch.equal(module.weight, ema.state_dict()["model.weight"])


def test_learning_rate_laws():
    def rates(decay):
        return [decay(s, 100) for s in range(100)]

    assert rates(Constant()) == [1.0] * 100
    warm = rates(Constant(10))
    assert warm[0] == pytest.approx(0.1)
    assert warm[9:] == [1.0] * 91
    cosine = rates(Cosine(10))
    assert cosine[55] == pytest.approx(0.5 * (1 + math.cos(math.pi * 45 / 90)))
    linear = rates(Linear())
    assert linear[50] == pytest.approx(0.5)
    assert Cosine(0, floor=0.1)(1, 1) == pytest.approx(0.1)
    assert Linear(0, floor=0.1)(50, 100) == pytest.approx(0.55)
    for law in (cosine, linear):
        assert all(a >= b for a, b in pairwise(law[10:]))
        assert 0 < law[-1] < 0.05


def test_metrics_come_when_they_are_due_and_mean_what_they_say():
    t = trainer(steps=12, log_every=5)
    lines = run(t)
    assert [m["step"] for m in lines] == [5, 10, 12]
    assert all({"loss", "grad_norm", "lr", "examples_per_second"} <= m.keys() for m in lines)
    single = [m["loss"] for m in run(trainer(steps=12, log_every=1))]
    assert lines[0]["loss"] == pytest.approx(sum(single[:5]) / 5, rel=1e-5)
    assert lines[2]["loss"] == pytest.approx(sum(single[10:]) / 2, rel=1e-5)


def test_clipping_bounds_the_step():
    t = trainer(optimizer=SGD(), clip=1e-3, lr=1.0, steps=1, ema=0.0)
    before = weights(t)
    run(t)
    moved = sum(float((v - before[k]).square().sum()) for k, v in weights(t).items()) ** 0.5
    assert moved <= 1e-3 * 1.001


def test_training_lowers_the_loss():
    lines = run(trainer(steps=300, model=MLP(DATA.spec, width=32, depth=2), log_every=50, lr=3e-3))
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]


def test_bf16_trains_float32_weights():
    t = trainer(precision="bf16", model=MLP(DATA.spec, width=32, depth=1))
    before = weights(t)
    lines = run(t)
    after = weights(t)
    assert all(v.dtype == torch.float32 for v in after.values())
    assert all(math.isfinite(m["loss"]) for m in lines)
    assert not same(before, after)


def test_settings_out_of_range_are_refused():
    for settings in (
        {"steps": -1},
        {"accumulate": 0},
        {"lr": -1.0},
        {"ema": 1.0},
        {"batch": 0},
        {"clip": -1.0},
    ):
        with pytest.raises(ValueError, match=f"train.{next(iter(settings))}"):
            TrainConfig(**settings)


# -- failures ------------------------------------------------------------------------------------------


class Poisoned(FlowMatching):
    """NaN at one step, counted by its calls."""

    def __init__(self, bad, where="loss"):
        super().__init__()
        self.bad, self.where, self.calls = bad, where, 0

    def loss(self, model, batch, step):
        loss = super().loss(model, batch, step)
        self.calls += 1
        if self.calls <= self.bad:
            return loss
        if self.where == "loss":
            return Loss(loss.total * math.nan)
        # The value is finite and its gradient is not: the root at 0.
        zero = (loss.total - loss.total.detach()) * 0
        return Loss(loss.total + zero.clamp_min(0).sqrt())


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_before_it_harms(where):
    def network():
        return MLP(DATA.spec, width=16, depth=1)

    reference = trainer(model=network, objective=FlowMatching())
    run(reference, until=6)
    t = trainer(model=network, objective=Poisoned(6, where))
    with pytest.raises(TrainingError, match="step 6") as caught:
        run(t)
    assert "\n" not in str(caught.value)
    assert "train.lr" in str(caught.value)
    assert same(weights(t), weights(reference))
    assert same(t.ema.state_dict(), reference.ema.state_dict())


def test_empty_data_is_refused():
    class Empty(EightGaussians):
        def __len__(self):
            return 0

    with pytest.raises(DataError, match="empty"):
        trainer(data=Empty(1))
    with pytest.raises(DataError):
        Tensors(torch.zeros(0, 2))


# -- checkpoints ---------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    t = trainer()
    run(t, until=4)
    return save_checkpoint(t, tmp_path)


def test_a_failed_write_leaves_the_older_checkpoint_and_nothing_half_written(tmp_path, saved, monkeypatch):
    t = trainer()
    run(t, until=6)
    real = checkpoint_module._write

    def full(file, values):
        if file.name.startswith("optimizer"):
            raise OSError(28, "No space left on device")
        real(file, values)

    monkeypatch.setattr(checkpoint_module, "_write", full)
    with pytest.raises(RunError, match="No space left") as caught:
        save_checkpoint(t, tmp_path)
    assert "\n" not in str(caught.value)
    assert checkpoints(tmp_path) == [saved]
    assert sorted(os.listdir(tmp_path)) == [saved.name]
    load_checkpoint(trainer(), saved)


def test_a_crash_while_writing_is_never_taken_for_a_checkpoint(tmp_path, saved, monkeypatch):
    t = trainer()
    run(t, until=6)

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(t, tmp_path)
    assert checkpoints(tmp_path) == [saved]
    prune(tmp_path, 2)
    assert os.listdir(tmp_path) == [saved.name]


def test_only_the_latest_are_kept(tmp_path):
    t = trainer()
    for until in (2, 4, 6, 8):
        run(t, until=until)
        save_checkpoint(t, tmp_path)
    prune(tmp_path, 2)
    assert [p.name for p in checkpoints(tmp_path)] == ["step-00000006", "step-00000008"]


def damage_missing(folder):
    (folder / "flow.safetensors").unlink()


def damage_truncated(folder):
    file = folder / "flow.safetensors"
    file.write_bytes(file.read_bytes()[:100])


def damage_garbage(folder):
    (folder / "optimizers.safetensors").write_bytes(b"not a safetensors file at all")


def damage_json(folder):
    (folder / "state.json").write_text('{"format": 2, "st')


def damage_format(folder):
    (folder / "state.json").write_text('{"format": 99, "step": 4}')


def damage_list(folder):
    (folder / "state.json").write_text("[1, 2]")


def damage_step(folder):
    (folder / "state.json").write_text('{"format": 2, "seed": 0}')


def damage_word(folder):
    (folder / "state.json").write_text('{"format": 2, "seed": 0, "step": "many"}')


def damage_no_state(folder):
    (folder / "state.json").unlink()


def damage_average(folder):
    from safetensors.torch import save_file

    save_file({"wrong": torch.zeros(1)}, folder / "ema.safetensors")


def damage_optimizer(folder):
    from safetensors.torch import save_file

    save_file({"wrong": torch.zeros(1)}, folder / "optimizers.safetensors")


def damage_moments(folder):
    from safetensors.torch import load_file, save_file

    values = load_file(folder / "optimizers.safetensors")
    save_file({k: torch.zeros(3) for k in values}, folder / "optimizers.safetensors")


DAMAGES = [v for k, v in list(globals().items()) if k.startswith("damage_")]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_damage_is_one_clear_line(saved, damage):
    damage(saved)
    with pytest.raises(RunError) as caught:
        load_checkpoint(trainer(), saved)
    assert "\n" not in str(caught.value)
    assert saved.name in str(caught.value)


def test_weights_of_another_model_are_refused_by_name(saved):
    other = trainer(model=MLP(DATA.spec, width=8, depth=1))
    with pytest.raises(RunError, match="does not fit the Flow"):
        load_checkpoint(other, saved)

    class Wider(Dropping):
        def __init__(self):
            super().__init__()
            self.inner = MLP(DATA.spec, width=32, depth=1)

    with pytest.raises(RunError, match=r"inner\.\S+ has shape"):
        load_checkpoint(trainer(model=Wider()), saved)


def test_nothing_in_a_checkpoint_is_code(saved):
    names = {p.suffix for p in saved.iterdir()}
    assert names == {".safetensors", ".json"}
    assert json.loads((saved / "state.json").read_text())["step"] == 4


def test_fit_keeps_the_averaged_weights():
    torch.manual_seed(0)
    flow = fl.Flow(MLP(DATA.spec, width=16, depth=1))
    flow.fit(DATA, steps=10, batch=16, lr=1e-2, ema=0.9)
    torch.manual_seed(0)
    other = fl.Flow(MLP(DATA.spec, width=16, depth=1))
    t = other.trainer(DATA, TrainConfig(steps=10, batch=16, lr=1e-2, ema=0.9))
    run(t)
    assert all(torch.equal(p, t.ema.state_dict()[n]) for n, p in flow.named_parameters())


def test_a_kept_order_is_the_one_that_is_computed(monkeypatch):
    """Rows of a small data set, asked for in any order, with the epoch kept and without."""
    from flowloom.training import order

    kept = [order.EpochOrder(57, 10, seed=3).rows(step) for step in (0, 5, 6, 11, 4)]
    one = order.EpochOrder(57, 10, seed=3)
    assert all(torch.equal(one.rows(s), rows) for s, rows in zip((0, 5, 6, 11, 4), kept, strict=True))
    monkeypatch.setattr(order, "_KEPT", 0)
    computed = [order.EpochOrder(57, 10, seed=3).rows(step) for step in (0, 5, 6, 11, 4)]
    assert all(torch.equal(a, b) for a, b in zip(kept, computed, strict=True))


def test_a_signal_while_processes_agree_is_not_lost(monkeypatch):
    t = trainer(steps=20, log_every=1)
    asked = []

    def agree(self, flag):
        asked.append(flag)
        if len(asked) == 3:
            t.stop()  # as a signal handler does, after the flag was read
        return flag

    monkeypatch.setattr(World, "any", agree)
    assert [line["step"] for line in t.run()] == [1, 2, 3, 4]
    assert asked == [False, False, False, True]
    assert t.stopping


def test_a_signal_to_another_process_stops_this_one_and_its_own_waits_for_all(monkeypatch):
    t = trainer(steps=20, log_every=1)
    monkeypatch.setattr(World, "any", lambda self, flag: t.step == 5)
    t.stop()
    assert len(list(t.run())) == 5


def test_optimisers_of_one_player_are_passed_over_together():
    rule = Scaling(torch.device("cpu"), on=True)
    a, b = (nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizers = [torch.optim.SGD([p], lr=1.0) for p in (a, b)]
    for bad in (True, False):
        a.grad = b.grad = None
        rule.scaled(a.sum() * (math.nan if bad else 1.0) + b.sum()).backward()
        rule.unscale(optimizers)
        nn.utils.clip_grad_norm_([a, b], 1.0)
        assert rule.step(optimizers) is not bad
        assert bool((b == 1).all()) is bad
        assert bool((a == 1).all()) is bad
    assert bool(torch.isfinite(b).all())
