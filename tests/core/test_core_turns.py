"""A step has turns, a flow is one module: who moves, who is kept, who is left alone."""

from __future__ import annotations

import tracemalloc

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.codecs import StateCodec
from flowloom.data import EightGaussians
from flowloom.errors import IncompatibleError, TrainingError
from flowloom.models import MLP
from flowloom.objectives import FlowMatching, Loss, Turn
from flowloom.parts import load_tensors, tensors
from flowloom.sources import Gaussian
from flowloom.training import (
    SGD,
    Adam,
    ConFIG,
    Cosine,
    Feed,
    PriorOnly,
    Rows,
    Sum,
    TrainConfig,
    TurnConfig,
    load_checkpoint,
    save_checkpoint,
)
from flowloom.training.combiners import conflict_free
from flowloom.training.order import EpochOrder, permuted

DATA = EightGaussians(200)


class Shifted(Gaussian, nn.Module):
    """x0 = noise + a learned shift (the source of CAR-Flow, without its condition)."""

    gaussian = False

    def __init__(self):
        nn.Module.__init__(self)
        Gaussian.__init__(self)
        self.shift = nn.Parameter(torch.zeros(2))

    def push(self, noise, cond=None):
        return noise + self.shift


class Critic(FlowMatching):
    """Two players: a critic that regresses on x1 twice a step, and the flow, which also pays the critic."""

    def __init__(self, start=0):
        super().__init__()
        self.critic = nn.Linear(2, 1)
        nn.init.constant_(self.critic.weight, 0.1)
        nn.init.zeros_(self.critic.bias)
        self.start = start

    def turns(self, flow):
        def judge(batch, step):
            return Loss(
                (self.critic(batch.x1) - 1).square().mean() + (self.critic(batch.x0) + 1).square().mean()
            )

        def move(batch, step):
            loss = self.loss(flow.model, batch, step)
            return Loss(loss.total - 0.1 * self.critic(batch.x0).mean(), {"matching": loss.total.detach()})

        return (
            Turn("critic", judge, flow.trainable("objective.critic.*"), repeat=2, after=self.start),
            Turn("flow", move, flow.trainable("model.*") | flow.trainable("source.*")),
        )


def flow_of(objective=None, source=None, seed=5, **parts):
    torch.manual_seed(seed)
    return fl.Flow(MLP(DATA.spec, width=16, depth=1), source=source, objective=objective, **parts)


def trainer(flow, steps=24, seed=0, **settings):
    config = TrainConfig(**{"steps": steps, "batch": 16, "lr": 1e-2, "log_every": 4, "ema": 0.9, **settings})
    return flow.trainer(DATA, config, seed=seed)


def run(t, until=None):
    try:
        return list(t.run(until))
    finally:
        t.close()


def kept(flow):
    return {k: v.detach().clone() for k, v in tensors(flow).items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# -- learned parts ------------------------------------------------------------------------------------


def test_a_learned_source_is_trained_averaged_kept_and_sampled(tmp_path):
    flow = flow_of(source=Shifted())
    t = trainer(flow, steps=60)
    run(t)
    assert flow.source.shift.abs().max() > 1e-3, "the loss reaches the source"
    assert "source.shift" in t.ema.state_dict()
    folder = save_checkpoint(t, tmp_path)
    other = flow_of(source=Shifted(), seed=6)
    load_checkpoint(trainer(other, steps=60), folder)
    assert same(kept(flow), kept(other))
    t.ema.copy_to_live()
    assert torch.equal(flow.source.shift, t.ema.state_dict()["source.shift"])
    with torch.no_grad():
        flow.source.shift.fill_(100.0)
    still = fl.solvers.Euler(1)
    flow.objective.field = lambda model, std: _Still()
    assert flow.solve(8, solver=still, seed=0).x.mean() > 90, "sampling starts from the pushed noise"


class _Still(fl.fields.Field):
    kind = "velocity"

    def __call__(self, x, t, cond):
        return torch.zeros_like(x)


def test_rates_by_name_slow_a_part_down():
    def shift(**settings):
        flow = flow_of(source=Shifted())
        run(trainer(flow, optimizer=SGD(0.0), clip=0.0, steps=1, **settings))
        return flow.source.shift.detach()

    full, tenth, none = shift(), shift(rates={"source.*": 0.1}), shift(rates={"source.*": 0.0})
    assert torch.allclose(tenth, 0.1 * full, rtol=1e-4)
    assert not none.any()
    with pytest.raises(IncompatibleError, match=r"no parameter's name fits 'sorce\.\*'"):
        shift(rates={"sorce.*": 0.1})


def test_a_shared_part_is_saved_once():
    inner = MLP(DATA.spec, width=8, depth=1)

    class Holds(FlowMatching):
        def __init__(self):
            super().__init__()
            self.network = inner

    flow = fl.Flow(inner, objective=Holds())
    names = [name for name in tensors(flow) if "out.weight" in name]
    assert names == ["model.out.weight"]
    assert set(flow.trainable()) == {n for n in tensors(flow) if n in dict(flow.named_parameters())}
    other = fl.Flow(MLP(DATA.spec, width=8, depth=1))
    load_tensors(other, tensors(flow), "a test")
    assert torch.equal(other.model.out.weight, inner.out.weight)


def test_a_network_that_no_module_holds_is_refused():
    class Guide(fl.guidance.Unguided):
        def __init__(self):
            self.judge = nn.Linear(2, 1)

    with pytest.raises(IncompatibleError, match="guidance Guide holds a network in 'judge'"):
        flow_of(guidance=Guide())


# -- turns --------------------------------------------------------------------------------------------


def test_nobodys_gradient_reaches_anothers_parameters():
    flow = flow_of(Critic())
    t = trainer(flow, optimizer=SGD(0.0), clip=0.0, turns={"critic": TurnConfig(lr=0.0)})
    critic = kept(flow.objective.critic)
    run(t)
    assert same(critic, kept(flow.objective.critic)), (
        "the flow's loss speaks of the critic and must not move it"
    )

    flow = flow_of(Critic())
    t = trainer(flow, optimizer=SGD(0.0), clip=0.0, turns={"flow": TurnConfig(lr=0.0)})
    model = kept(flow.model)
    run(t)
    assert same(model, kept(flow.model))
    assert not same(critic, kept(flow.objective.critic))


def test_two_optimisers_in_a_two_to_one_rhythm_resume_with_the_same_bits(tmp_path):
    settings = {
        "optimizer": Adam((0.5, 0.9)),
        "turns": {"critic": TurnConfig(lr=3e-3, optimizer=SGD(), decay=Cosine(3))},
        "accumulate": 2,
        "prefetch": "on",
    }
    whole = trainer(flow_of(Critic(5), Shifted()), **settings)
    run(whole)
    for cut in (1, 5, 6, 17, 23):
        first = trainer(flow_of(Critic(5), Shifted()), **settings)
        run(first, cut)
        folder = save_checkpoint(first, tmp_path / str(cut))
        torch.manual_seed(99)
        second = trainer(flow_of(Critic(5), Shifted(), seed=7), **settings)
        load_checkpoint(second, folder)
        run(second)
        assert same(kept(whole.flow), kept(second.flow)), cut
        assert same(whole.ema.state_dict(), second.ema.state_dict()), cut


def test_a_turn_begins_when_it_is_due_and_logs_under_its_name():
    flow = flow_of(Critic(start=8))
    t = trainer(flow, log_every=8)
    before = kept(flow.objective.critic)
    run(t, 8)
    assert same(before, kept(flow.objective.critic))
    (line,) = run(t, 16)
    assert not same(before, kept(flow.objective.critic))
    assert {"loss", "critic/loss", "flow/loss", "flow/matching", "critic/grad_norm", "flow/lr"} <= line.keys()
    assert line["loss"] == pytest.approx(line["critic/loss"] + line["flow/loss"], rel=1e-4)


def test_accumulated_gradients_are_those_of_one_large_batch():
    class Squares(FlowMatching):
        def loss(self, model, batch, step):
            return Loss(model(batch.x1, torch.zeros(len(batch.x1))).square().mean())

    def moved(**settings):
        flow = flow_of(Squares())
        run(trainer(flow, steps=1, optimizer=SGD(0.0), clip=0.0, **settings))
        return torch.cat([p.detach().flatten() for p in flow.model.parameters()])

    assert torch.allclose(moved(batch=32), moved(batch=8, accumulate=4), atol=1e-6)


@pytest.mark.parametrize(
    ("turn", "told"),
    [
        (lambda flow: Turn("a", None, {}), "no parameters to train"),
        (
            lambda flow: Turn("a", None, {"x": nn.Parameter(torch.zeros(1))}),
            "moves x, which is frozen or not",
        ),
    ],
)
def test_turns_that_cannot_be_are_told(turn, told):
    class Odd(FlowMatching):
        def turns(self, flow):
            return (turn(flow),)

    with pytest.raises(IncompatibleError, match=told):
        trainer(flow_of(Odd()))
    with pytest.raises(
        IncompatibleError, match=r"train\.turns names 'crtic'; the objective's turns are: main"
    ):
        trainer(flow_of(), turns={"crtic": TurnConfig()})


# -- no training, no parameters -----------------------------------------------------------------------


class Constant(nn.Module):
    def forward(self, x, t, **cond):
        return torch.ones_like(x)


def test_a_model_without_parameters_samples_without_training():
    flow = fl.Flow(Constant(), DATA.spec)
    assert flow.fit(DATA, steps=0) == []
    assert flow.sample(3, seed=0).shape == (3, 2)
    with pytest.raises(IncompatibleError, match=r"train\.steps: 0"):
        flow.fit(DATA, steps=1)


def test_fit_is_called_once_with_its_own_generator():
    class Law(Gaussian, nn.Module):
        def __init__(self):
            nn.Module.__init__(self)
            Gaussian.__init__(self)
            self.register_buffer("centre", torch.zeros(()))
            self.calls = 0

        def fit(self, data, flow, generator):
            self.calls += 1
            self.centre = data.all().x.mean(0) + torch.rand(2, generator=generator)

    flow = flow_of(source=Law())
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    flow.fit(DATA, steps=2, batch=8)
    assert torch.equal(torch.rand(1), expected), "the caller's generator is left alone"
    assert flow.source.calls == 1
    other = flow_of(source=Law())
    load_tensors(other, tensors(flow), "a test")
    assert torch.equal(other.source.centre, flow.source.centre)


# -- frozen parts -------------------------------------------------------------------------------------


class Learned(StateCodec):
    def __init__(self, spec):
        super().__init__(spec)
        self.map = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))

    def encode_state(self, x):
        return self.map(x)

    def decode_state(self, x):
        return x


def test_a_codec_is_frozen_and_asleep_even_where_an_objective_holds_it():
    codec = Learned(DATA.spec)

    class Holds(FlowMatching):
        def __init__(self):
            super().__init__()
            self.codec = codec

        def loss(self, model, batch, step):
            loss = super().loss(model, batch, step)
            return Loss(loss.total + self.codec.map[0].weight.square().sum())

    flow = flow_of(Holds(), codec=codec)
    before = kept(codec)
    flow.fit(DATA, steps=20, batch=16)
    assert same(before, kept(codec)), "neither its weights nor its running statistics move"


def test_an_objective_that_encodes_trains_the_codec_on_data():
    codec = Learned(DATA.spec)
    seen = []

    class Encodes(FlowMatching):
        encodes = True

        def __init__(self):
            super().__init__()
            self.codec = codec

        def loss(self, model, batch, step):
            seen.append(batch.x1)
            return Loss((self.codec.encode_state(batch.x1) - batch.x0).square().mean())

        def turns(self, flow):
            return (Turn("main", lambda b, s: self.loss(flow.model, b, s), flow.trainable("codec.*")),)

    flow = flow_of(Encodes(), codec=codec)
    before = kept(codec)
    flow.fit(DATA, steps=5, batch=16)
    assert not same(before, kept(codec))
    rows = {tuple(row) for row in DATA.all().x.tolist()}
    assert {tuple(row) for row in seen[0].tolist()} <= rows


def test_what_is_frozen_is_not_woken_and_modes_come_back():
    flow = flow_of()
    flow.model.add_module("teacher", nn.Sequential(nn.Linear(2, 2), nn.Dropout()).requires_grad_(False))
    flow.train()
    assert flow.model.training
    assert not any(m.training for m in flow.model.teacher.modules())
    flow.model.inner.eval()
    with flow.evaluating():
        assert not any(m.training for m in flow.modules())
    assert flow.model.training
    assert not flow.model.inner.training


# -- averages as teachers -----------------------------------------------------------------------------


def test_the_averaged_flow_is_there_for_the_objective():
    class Mean(FlowMatching):
        def loss(self, model, batch, step):
            loss = super().loss(model, batch, step)
            teacher = step.averaged
            assert teacher.model is not model
            assert not any(p.requires_grad for p in teacher.parameters())
            assert not any(m.training for m in teacher.modules())
            with torch.no_grad():
                target = teacher.model(batch.x1, torch.ones(len(batch.x1)), **batch.cond)
            off = model(batch.x1, torch.ones(len(batch.x1)), **batch.cond) - target
            return Loss(loss.total + off.square().mean(), {"off": off.square().mean().detach()})

    (line, *_) = run(trainer(flow_of(Mean())))
    assert line["off"] > 0
    with pytest.raises(TrainingError, match=r"set train\.ema"):
        run(trainer(flow_of(Mean()), ema=0.0))


# -- combiners ----------------------------------------------------------------------------------------


class Two(FlowMatching):
    """Two losses whose gradients disagree."""

    def loss(self, model, batch, step):
        value = model.weight
        return Loss({"up": (value[0] - 3).square() * 10, "side": (value[0] + value[1] + 1).square()})


class Plane(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, -0.2]))

    def forward(self, x, t, **cond):
        return x


def stepped(combine):
    flow = fl.Flow(Plane(), DATA.spec, objective=Two())
    run(trainer(flow, steps=1, optimizer=SGD(0.0), clip=0.0, lr=1.0, combine=combine))
    return torch.tensor([0.5, -0.2]) - flow.model.weight.detach()


def gradients():
    w = torch.tensor([0.5, -0.2], requires_grad=True)
    losses = {"up": (w[0] - 3).square() * 10, "side": (w[0] + w[1] + 1).square()}
    return torch.stack([torch.autograd.grad(v, w, retain_graph=True)[0] for v in losses.values()])


def test_the_sum_is_the_default_and_takes_weights():
    up, side = gradients()
    assert torch.allclose(stepped(None), up + side)
    assert torch.allclose(stepped(Sum({"up": 0.5})), 0.5 * up + side)
    with pytest.raises(TrainingError, match="weighs 'upp'; the losses are up, side"):
        stepped(Sum({"upp": 1.0}))


def test_config_has_equal_positive_cosines_and_its_length():
    rows = gradients()
    assert rows[0] @ rows[1] < 0, "they conflict, or nothing is tested"
    found = stepped(ConFIG())
    cosines = (rows @ found) / (rows.norm(dim=1) * found.norm())
    assert cosines[0] == pytest.approx(float(cosines[1]), abs=1e-4)
    assert cosines[0] > 0
    unit = found / found.norm()
    assert float(found.norm()) == pytest.approx(float((rows @ unit).sum()), rel=1e-4)
    parallel = torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    assert torch.allclose(conflict_free(parallel, torch.ones(2)), parallel.sum(0), atol=1e-5)
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert torch.equal(conflict_free(opposite, torch.ones(2)), torch.zeros(2))
    weighted = conflict_free(rows, torch.tensor([2.0, 1.0]))
    ratio = (rows @ weighted) / rows.norm(dim=1)
    assert float(ratio[0] / ratio[1]) == pytest.approx(2.0, rel=1e-4)


# -- feeds --------------------------------------------------------------------------------------------


def test_a_training_without_data():
    flow = flow_of()
    lines = flow.fit(PriorOnly((2,)), steps=4, batch=8)
    assert lines[-1]["step"] == 4


class Replay(Rows):
    """Grows by what the flow draws; its state has another size after every look."""

    refresh_every = 3

    def __init__(self, data):
        super().__init__(data)
        self.drawn = torch.zeros(0, 2)

    def refresh(self, flow, step, generator):
        assert not flow.model.training
        x = flow.solve(4, solver=fl.solvers.Euler(2), seed=step, cond={"label": 0}).x
        self.drawn = torch.cat([self.drawn, x])
        return {"stored": float(len(self.drawn))}

    def batch(self, number, generator):
        batch = super().batch(number, generator)
        batch.x1[: len(self.drawn[:4])] = self.drawn[-4:]
        return batch

    def tensors(self):
        return {"drawn": self.drawn}

    def restore(self, tensors):
        self.drawn = tensors["drawn"]


def test_a_feed_that_looks_at_the_model_resumes_with_the_same_bits(tmp_path):
    def make(seed=5):
        config = TrainConfig(steps=11, batch=8, lr=1e-2, log_every=1, ema=0.9, prefetch="on")
        return flow_of(seed=seed).trainer(Replay(DATA), config)

    whole = make()
    lines = run(whole)
    assert lines[0]["stored"] == 4
    for cut in (2, 3, 7):
        first = make()
        run(first, cut)
        folder = save_checkpoint(first, tmp_path / str(cut))
        second = make(8)
        load_checkpoint(second, folder)
        run(second)
        assert same(kept(whole.flow), kept(second.flow)), cut
        assert torch.equal(whole.feed.drawn, second.feed.drawn)


def test_a_feed_is_a_kind_of_its_own():
    assert issubclass(Rows, Feed)


# -- order --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17, 100, 1000, 4097])
def test_positions_are_permuted(n):
    for key in (0, 1, 12345678901234567):
        rows = permuted(torch.arange(n), n, key)
        assert sorted(rows.tolist()) == list(range(n))


def test_the_permutation_looks_random():
    n, draws = 1000, 400
    rows = torch.stack([permuted(torch.arange(n), n, key) for key in range(draws)]).double()
    # Where a position lands is uniform, neighbours are unrelated, and so are successive keys.
    assert abs(float(rows.mean() - (n - 1) / 2)) < 5 * 289 / (n * draws) ** 0.5 + 1e-9
    assert rows[:, 0].std() == pytest.approx(289, rel=0.15)
    near = torch.corrcoef(torch.stack([rows[:, :-1].flatten(), rows[:, 1:].flatten()]))[0, 1]
    assert abs(float(near)) < 0.01
    after = torch.corrcoef(torch.stack([rows[:-1].flatten(), rows[1:].flatten()]))[0, 1]
    assert abs(float(after)) < 0.01


def test_shuffling_a_hundred_million_rows_takes_no_memory():
    tracemalloc.start()
    order = EpochOrder(10**8, 256, 0)
    first, later = order.rows(0), order.rows(390_624)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
    assert len(first.unique()) == 256
    assert int(later.max()) < 10**8
    assert first.double().std() > 2e7


class Naive(fl.objectives.FlowMatching):
    """What anybody would write first: a critic, and torch's own Adam beside it."""

    def __init__(self):
        super().__init__()
        self.critic = nn.Linear(2, 1)
        self.optimizer = torch.optim.Adam(self.critic.parameters())


def test_an_optimiser_within_an_objective_is_refused():
    """The generator's loss would move the critic, and no checkpoint would hold the optimiser's state."""
    with pytest.raises(fl.errors.IncompatibleError, match=r"holds an optimiser .* in 'optimizer'.*turns\(\)"):
        trainer(flow_of(objective=Naive()))
