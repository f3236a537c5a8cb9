"""CAR-Flow as the paper has it: ends that shift, gradients into the shifts, the shift undone after
sampling."""

import math

import pytest
import torch

import flowloom as fl
from flowloom.errors import IncompatibleError
from flowloom.models import MLP
from flowloom.objectives import Batch, FlowMatching, Step
from flowloom.paths import AffinePath
from flowloom.schedules import Cosine
from flowloom.solvers import Euler, Heun
from flowloom.spec import Condition, Spec
from flowloom.testing import check
from flowloom_foundations.car import ConditionAware, ConditionShift, PathLength, ShiftedGaussian

SPEC = Spec((5,), conditions={"label": Condition(3)})
LABEL = torch.tensor([0, 1, 2, 0, 1, 2, 2, 0])


def moved(module, seed=0, scale=0.5):
    """Every parameter off its start, zeros too."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(scale * torch.randn(p.shape, generator=draws))
    return module


def aware(shift="joint", **more):
    torch.manual_seed(1)
    return moved(ConditionAware(SPEC, MLP(SPEC, width=16, depth=2), shift, width=8, **more)).double()


def ends(draws, n=8):
    return torch.randn(n, 5, generator=draws).double(), torch.randn(n, 5, generator=draws).double()


def paper_loss(model, x0, x1, t, label, detach=False, path=None):
    """Section by section as the paper writes it: move the ends, interpolate, regress."""
    first, last = model.shifts({"label": label}, x0)
    z0, z1 = x0 + first, x1 + last
    point = (path or AffinePath()).sample(z0, z1, t)
    target = point.velocity.detach() if detach else point.velocity
    return (model.network(point.x_t, t, label=label) - target).square().mean()


def gradients(model, loss):
    return torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, retain_graph=True)


def gap(a, b):
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True) if x is not None)


@pytest.mark.parametrize("shift", ["source", "target", "joint"])
@pytest.mark.parametrize("schedule", [None, Cosine()])
def test_loss_and_gradients_are_those_of_the_shifted_ends(shift, schedule, draws):
    path = AffinePath(schedule)
    model = aware(shift, path=path)
    x0, x1 = ends(draws)
    objective = FlowMatching(path)
    ours = objective.loss(
        model, Batch(x0, x1, {"label": LABEL}), Step(generator=torch.Generator().manual_seed(4))
    )
    t = objective.times.sample(8, fl.draw.Draw.like(x0, torch.Generator().manual_seed(4)))
    theirs = paper_loss(model, x0, x1, t, LABEL, path=path)
    assert torch.allclose(ours.total, theirs, atol=1e-12)
    assert gap(gradients(model, ours.total), gradients(model, theirs)) < 1e-12
    # The paper's pitfall: a target that is detached gives the same loss and other gradients.
    stopped = paper_loss(model, x0, x1, t, LABEL, detach=True, path=path)
    assert gap(gradients(model, ours.total), gradients(model, stopped)) > 1e-2


@pytest.mark.parametrize("solver", [Euler(4), Heun(3)])
def test_samples_are_those_of_the_shifted_space_moved_back(solver, draws):
    model, noise = aware(), torch.randn(8, 5, generator=draws).double()
    flow = fl.Flow(model, solver=solver)
    found = flow.solve(x0=noise, cond={"label": LABEL}).x
    first, last = model.shifts({"label": LABEL}, noise)
    plain = fl.Flow(model.network, solver=solver).solve(x0=noise + first, cond={"label": LABEL}).x
    assert torch.allclose(found, plain - last, atol=1e-12)
    assert not torch.allclose(found, plain, atol=1e-2), "the shift of the target was not undone"


def test_guidance_mixes_both_branches_in_the_coordinates_of_the_data(draws):
    model, x = aware(), torch.randn(8, 5, generator=draws).double()
    t, null = torch.full((8,), 0.3).double(), torch.ones(8, dtype=torch.bool)

    def branch(**cond):
        first, last = model.shifts(cond, x)
        return model.network(x + 0.7 * first + 0.3 * last, t, **cond) + first - last

    shown, hidden = branch(label=LABEL), branch(label=LABEL, null=null)
    field = fl.guidance.ClassifierFree(2.5)(FlowMatching(AffinePath()).field(model))
    assert torch.allclose(field(x, t, {"label": LABEL}), hidden + 2.5 * (shown - hidden), atol=1e-12)
    # Withheld rows have a shift of their own.
    assert not torch.allclose(
        model.shifts({"label": LABEL, "null": null}, x)[0], model.shifts({"label": LABEL}, x)[0]
    )


def test_a_learned_source_is_the_source_half(draws):
    model = aware("source")
    source = ShiftedGaussian(SPEC, width=8).double()
    source.shift.load_state_dict(model.source_shift.state_dict())
    x0, x1 = ends(draws)
    step = lambda: Step(generator=torch.Generator().manual_seed(4))  # noqa: E731
    ours = FlowMatching(AffinePath()).loss(model, Batch(x0, x1, {"label": LABEL}), step()).total
    pushed = Batch(source.push(x0, {"label": LABEL}), x1, {"label": LABEL})
    theirs = FlowMatching(AffinePath()).loss(model.network, pushed, step()).total
    assert torch.allclose(ours, theirs, atol=1e-12)
    a = torch.autograd.grad(ours, list(model.source_shift.parameters()), allow_unused=True)
    b = torch.autograd.grad(theirs, list(source.shift.parameters()), allow_unused=True)
    assert gap(a, b) < 1e-12


@pytest.mark.parametrize("scale", [False, True])
def test_density_of_the_learned_source(scale, draws):
    source = moved(ShiftedGaussian(SPEC, scale, width=8)).double()
    x, cond = torch.randn(8, 5, generator=draws).double(), {"label": LABEL}
    mean = source.push(torch.zeros_like(x), cond)
    std = source.push(torch.ones_like(x), cond) - mean
    wanted = torch.distributions.Normal(mean, std).log_prob(x).sum(1)
    assert torch.allclose(source.log_prob(x, cond), wanted, atol=1e-12)
    assert torch.allclose(std, torch.ones_like(std)) != scale


@pytest.mark.parametrize("shape", [(5,), (3, 16, 16)])
def test_shifts_start_at_zero_and_know_their_conditions(shape):
    spec = Spec(shape, conditions={"label": Condition(3)})
    shift = ConditionShift(spec, width=8)
    assert not shift({"label": LABEL}, 8).any()
    out = moved(shift)({"label": LABEL}, 8)
    assert out.shape == (8, *shape)
    assert torch.equal(out[0], out[3])
    assert not torch.equal(out[0], out[1])


def test_given_entries_and_padding_are_not_shifted(draws):
    conditions = {"label": Condition(3), "real": Condition(shape=(5,), role="real")}
    spec = Spec((5,), conditions=conditions)
    model = moved(ConditionAware(spec, MLP(spec, width=8, depth=1), width=8))
    real = torch.arange(5).expand(8, 5) < 3
    first, last = model.shifts({"label": LABEL, "real": real}, torch.zeros(8, 5))
    assert not first[:, 3:].any()
    assert first[:, :3].all()
    assert not last[:, 3:].any()


def test_what_has_no_shift_is_refused():
    net = MLP(SPEC, width=4, depth=1)
    for spec, words in (
        (Spec((5,)), "none that informs"),
        (Spec((5,), vocab=3, conditions={"label": Condition(3)}), "one real tensor"),
    ):
        with pytest.raises(IncompatibleError, match=words):
            ConditionAware(spec, net)
    with pytest.raises(IncompatibleError, match="affine path"):
        ConditionAware(SPEC, net, path=fl.paths.GeodesicPath(fl.geometry.Sphere(4)))
    with pytest.raises(IncompatibleError, match="4 divides"):
        ConditionShift(SPEC, head="convolution")
    with pytest.raises(ValueError, match="width must be at least 1"):
        ConditionShift(SPEC, width=-1)


def test_laws():
    for make in (
        lambda: ConditionAware(SPEC, MLP(SPEC, width=8, depth=1), width=4),
        lambda: ShiftedGaussian(SPEC, width=4),
    ):
        results = check(make, spec=SPEC)
        assert all(r.ok for r in results), [r for r in results if not r.ok]


def test_path_length_is_the_mean_distance_of_the_ends():
    spec = Spec((4,), conditions={"label": Condition(2)})
    flow = fl.Flow(ConditionAware(spec, MLP(spec, width=4, depth=1), "target", width=4))
    label, far = torch.zeros(5000, dtype=torch.long), torch.full((5000, 4), 100.0)
    examples = fl.data.Examples(far, {"label": label})
    found = PathLength()(flow, examples)["path_length"]
    assert math.isclose(found, 200.0, abs_tol=0.1)  # |(100, ..., 100)|, noise adds 4/400
    with torch.no_grad():
        flow.model.target_shift.head[-1].bias.fill_(-100.0)
    short = PathLength()(flow, examples)["path_length"]
    assert math.isclose(short, math.sqrt(2) * math.gamma(2.5) / math.gamma(2), rel_tol=0.02)  # E|N(0, I_4)|


def test_a_killed_run_goes_on_bit_for_bit(survives_a_kill):
    tensors = survives_a_kill("car-flow", "train.ema=0.9", "objective.condition_dropout=0.2")
    assert any(name.startswith("model.target_shift") for name in tensors)


def test_a_killed_learned_source_goes_on_bit_for_bit(survives_a_kill):
    assert any(name.startswith("source.shift") for name in survives_a_kill("car-flow-source"))


def test_the_papers_size(at_paper_scale):
    model = at_paper_scale("car-flow-imagenet")["model"]
    total = sum(p.numel() for p in model.parameters())
    network = sum(p.numel() for p in model.network.parameters())
    assert network == 674_816_272  # SiT-XL/2: 675 M
    assert 0 < (total - network) / network < 0.006  # "less than 0.6 % additional parameters"
