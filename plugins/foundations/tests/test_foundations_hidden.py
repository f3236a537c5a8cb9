"""Taps, the contrast and its anchors, the queue, and what probes say."""

import math

import pytest
import torch
from torch.nn import functional as F

import flowloom as fl
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.objectives import Batch, FlowMatching, Step
from flowloom.spec import Condition
from flowloom_foundations.data import ScatteredClasses
from flowloom_foundations.hidden import HiddenFeatures, LocalContrast, MemoryBank, tapped
from flowloom_foundations.hidden.probe import effective_rank, probe_error


def net(width=16):
    torch.manual_seed(0)
    return fl.models.MLP(fl.Spec((3,)), width=width, depth=2)


def batch(n=32, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(n, 3, generator=draws), torch.randn(n, 3, generator=draws))


def step(seed=0):
    return Step(generator=torch.Generator().manual_seed(seed))


def test_a_tap_hears_the_block_and_changes_nothing():
    model, data, t = net(), batch(), torch.full((32,), 0.4)
    answer, hidden = tapped(model, "inner.1", data.x1, t, {})
    assert torch.equal(answer, model(data.x1, t))
    assert hidden.shape == (32, 16)
    assert not model.get_submodule("inner.1")._forward_hooks
    with pytest.raises(IncompatibleError, match=r"no block 'blocks.1'; it has .*inner.0"):
        tapped(model, "blocks.1", data.x1, t, {})
    maps = torch.nn.Sequential(torch.nn.Conv2d(1, 5, 3))
    maps.forward = lambda x, t: maps[0](x)
    assert tapped(maps, "0", torch.zeros(2, 1, 8, 8), t[:2], {})[1].shape == (2, 5)


@pytest.mark.parametrize("maps", [False, True])
def test_features_of_padding_are_not_heard(maps):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.block = torch.nn.Identity()

        def forward(self, x, t):
            return self.block(x.movedim(-1, 1) if maps else x)

    x, real = torch.ones(2, 4, 3, 5), torch.ones(2, 4, 3, dtype=torch.bool)
    real[0, 1:] = False
    x[~real] = math.nan
    if not maps:
        x, real = x[:, :, 0], real[:, :, 0]
    hidden = tapped(Net(), "block", x, torch.zeros(2), {}, Layout(real))[1]
    assert torch.equal(hidden, torch.ones(2, 5))


@pytest.mark.parametrize(
    "make",
    [
        lambda: LocalContrast(temperature=math.nan),
        lambda: MemoryBank(temperature=math.nan),
        lambda: MemoryBank(temperature=0.0),
    ],
)
def test_a_temperature_is_positive(make):
    with pytest.raises(ValueError, match="temperature"):
        make()


class At(fl.times.TimeLaw):
    """A law that is one time, or several in turn."""

    def __init__(self, *t):
        super().__init__()
        self.t = torch.tensor(t)

    def quantile(self, u):
        return self.t[(u * len(self.t)).long()]


def test_above_the_threshold_it_is_flow_matching_and_below_it_there_is_no_velocity():
    model, data = net(), batch()
    far = LocalContrast(times=At(0.3), block="inner.0").loss(model, data, step())
    assert torch.equal(far.total, FlowMatching(times=At(0.3)).loss(model, data, step()).total)
    near = LocalContrast(times=At(0.97), block="inner.0").loss(model, data, step())
    assert near.parts["flow_matching"] == 0
    near.total.backward()
    assert model.out.weight.grad is None or not model.out.weight.grad.any()
    assert model.inner[0].weight.grad.abs().sum() > 0


def test_the_contrast_is_the_cross_entropy_of_finding_ones_anchor_among_others():
    model, data, s = net(), batch(), step(3)
    objective = LocalContrast(times=At(0.97), block="inner.0", temperature=0.3, least_noise=0.2)
    found = objective.loss(model, data, step(3)).parts["contrast"]
    t = objective.times.sample(32, fl.draw.Draw(s.generator))
    order = torch.randperm(32, generator=s.generator)
    assert (order != torch.arange(32)).any(), "other noise than its own"
    h = F.normalize(tapped(model, "inner.0", 0.03 * data.x0 + 0.97 * data.x1, t, {})[1], dim=1)
    at = torch.full((32,), 0.8)
    a = F.normalize(tapped(model, "inner.0", 0.2 * data.x0[order] + 0.8 * data.x1, at, {})[1], dim=1)
    logits = -torch.stack([(h[i] - a).square().sum(1) for i in range(32)]) / 0.3
    wanted = -logits.log_softmax(1).diagonal().mean()
    assert torch.allclose(found, wanted, atol=1e-4)


def test_anchors_carry_no_gradient():
    """With them the gradient of a shared bias of the features would differ: it moves both alike."""
    model, data = net(), batch()
    objective = LocalContrast(times=At(0.97), block="inner.0")
    seen = []
    keep = model.inner[0].register_forward_hook(lambda m, i, out: seen.append(out.requires_grad))
    objective.loss(model, data, step())
    keep.remove()
    assert seen == [True, False]


def seen_by(model, ask):
    """The states that a network is asked of meanwhile, one after another."""
    states = []
    keep = model.register_forward_pre_hook(lambda m, inputs: states.append(inputs[0]))
    ask()
    keep.remove()
    return states


def test_what_is_given_stands_in_the_anchors_and_in_what_is_probed():
    spec = fl.Spec((4, 2), conditions={"given": Condition(shape=(4,), role="given")})
    draws = torch.Generator().manual_seed(0)
    x0, x1 = (torch.randn(8, 4, 2, generator=draws) for _ in "ab")
    cond = {"given": torch.arange(4).expand(8, 4) < 2}
    torch.manual_seed(0)
    model = fl.models.MLP(spec, width=16, depth=2)
    objective = LocalContrast(times=At(0.97), block="inner.0", least_noise=0.5)
    data = Batch(x0, x1, cond, fl.layout.Layout.of(spec, cond))
    flow = fl.Flow(model, spec=spec, objective=objective)
    probe = HiddenFeatures("inner.0", None, noise=(0.5,))
    asked = seen_by(model, lambda: objective.loss(model, data, step()))
    asked += seen_by(model, lambda: probe(flow, fl.data.Examples(x1, cond)))
    assert len(asked) == 3
    for x in asked:
        assert torch.equal(x[:, :2], x1[:, :2])
        assert not torch.isclose(x[:, 2:], x1[:, 2:]).any(2).all()


def test_the_field_stands_still_below_the_threshold():
    model = net()
    field = LocalContrast(block="inner.0", least_noise=0.1).field(model)
    x, late = batch().x1, torch.full((32,), 0.98)
    assert torch.equal(field(x, late, {}), model(x, torch.full((32,), 0.9)))


def test_the_target_is_ill_conditioned_near_the_data():
    """2509.20952: with two points of data the velocity's slope grows as 1 / s."""

    def slope(s):
        # E[x1 | x] of data at -1 and 1 under noise s is tanh((1 - s) x / s^2); v = (E[x1|x] - x) / s.
        x = torch.linspace(-3 * s, 3 * s, 4001, dtype=torch.float64) + (1 - s)
        v = (torch.tanh((1 - s) * x / s**2) - x) / s
        return float((v.diff() / x.diff()).abs().max())

    levels = [0.02, 0.01, 0.005, 0.0025]
    logs = [math.log(slope(s)) for s in levels]
    rate = (logs[-1] - logs[0]) / (math.log(levels[-1]) - math.log(levels[0]))
    assert -1.2 < rate < -0.8


def bank(**more):
    torch.manual_seed(1)
    return MemoryBank(block="inner.0", width=16, dim=4, **more)


def test_the_queue_is_first_in_first_out_without_gradient_and_silent_until_full():
    model, objective = net(), bank(queue=48)
    first = objective.loss(model, batch(seed=1), step())
    assert first.parts["repulsion"] == 0
    assert torch.equal(first.total, FlowMatching().loss(model, batch(seed=1), step()).total)
    newest = objective.bank[-32:].clone()
    assert not objective.bank.requires_grad
    objective.loss(model, batch(seed=2), step())
    assert torch.equal(objective.bank[:16], newest[16:])
    before = objective.bank.clone()
    third = objective.loss(model, batch(seed=3), step())
    assert third.parts["repulsion"] != 0, "taken against the queue before the batch joined it"
    z = objective.bank[-32:]
    kernel = torch.exp(-torch.stack([(row - before).square().sum(1) for row in z]) / 0.5)
    assert torch.allclose(third.parts["repulsion"], kernel.mean(1).log().mean(), atol=1e-4)
    third.total.backward()
    assert model.inner[0].weight.grad.abs().sum() > 0
    objective.eval()
    kept = objective.bank.clone()
    objective.loss(model, batch(seed=4), step())
    assert torch.equal(objective.bank, kept), "only training fills it"


def test_without_a_queue_the_negatives_are_the_other_rows():
    objective = bank(queue=0)
    z = F.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    pairs = torch.stack([(row - z).square().sum(1) for row in z])
    others = pairs[~torch.eye(6, dtype=torch.bool)].reshape(6, 5)
    wanted = torch.exp(-others / 0.5).mean(1).log().mean()
    assert torch.allclose(objective.repulsion(z), wanted, atol=1e-5)


@pytest.mark.parametrize("queue", [0, 2])
def test_a_row_alone_is_repelled_by_nobody(queue):
    model, objective = net(), bank(queue=queue)
    loss = objective.loss(model, batch(1), step())
    assert loss.parts["repulsion"] == 0
    assert torch.equal(loss.total, FlowMatching().loss(model, batch(1), step()).total)
    loss.total.backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())


def test_repulsion_has_the_gradient_of_finite_differences():
    objective = bank(queue=8).double()
    objective.bank.copy_(F.normalize(torch.randn(8, 4, dtype=torch.float64), dim=1))
    objective.held.fill_(8)
    z = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(objective.repulsion, (z,))


def test_rank_and_probes():
    draws = torch.Generator().manual_seed(0)
    white = torch.randn(4000, 6, generator=draws).double()
    assert abs(effective_rank(white) - 6) < 0.05
    assert effective_rank(white[:, :1] * torch.ones(1, 6)) < 1.01
    label = torch.randint(3, (300,), generator=draws)
    assert probe_error(F.one_hot(label).double() + 0.01 * white[:300, :3], label, 1e-2) == 0
    assert abs(probe_error(white[:300], label, 1e-2) - 2 / 3) < 0.12
    data = ScatteredClasses(200)
    flow = fl.Flow(fl.models.MLP(data.spec, width=32, depth=2))
    found = HiddenFeatures("inner.1")(flow, data.all())
    assert found["probe_error"] < 0.2
    assert 1 < found["effective_rank"] < 32


def test_a_killed_run_goes_on_bit_for_bit(survives_a_kill):
    survives_a_kill("local-contrast", "train.batch=64")


@pytest.mark.slow
def test_a_killed_run_has_its_queue_again(survives_a_kill):
    tensors = survives_a_kill("repulsor", "objective.queue=64", "objective.averaged=true")
    assert int(tensors["objective.held"]) == 64


def test_the_papers_size(at_paper_scale):
    built = at_paper_scale("repulsor-imagenet")
    assert sum(p.numel() for p in built["model"].parameters()) == 674_816_272  # SiT-XL/2: 675 M
    assert built["objective"].bank.shape == (65536, 256)
    built = at_paper_scale("local-contrast-cifar10", (3, 32, 32), views=[], metrics=[])
    built["model"].get_submodule(built["objective"].block)
