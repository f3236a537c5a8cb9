"""Teachers, wrappers and blocks against what is known of them: exact flows, sums by hand, other solvers."""

from __future__ import annotations

import types

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.draw import Draw
from flowloom.errors import IncompatibleError, SolverError
from flowloom.fields import NetworkField
from flowloom.geometry import FlatTorus, Sphere
from flowloom.models import Critic, MLPCritic
from flowloom.models.encoder import EncoderBlock
from flowloom.objectives import Batch, Step
from flowloom.paths import AffinePath, GeodesicPath
from flowloom.schedules import VP, Cosine
from flowloom.spec import Condition, Spec
from flowloom.testing.oracles import LinearFlow, MixtureField
from flowloom.trained import Trained
from flowloom_fewstep.blockwise import BlockwiseMLP
from flowloom_fewstep.blockwise_dit import BlockwiseDiT
from flowloom_fewstep.blockwise_euler import BlockwiseEuler
from flowloom_fewstep.blockwise_field import BlockwiseField
from flowloom_fewstep.contractive import ContractiveResidual
from flowloom_fewstep.diff2flow import Diff2Flow
from flowloom_fewstep.endpoint import EndpointDistance
from flowloom_fewstep.flowturbo import FlowTurbo
from flowloom_fewstep.low_rank import LowRank
from flowloom_fewstep.proreflow import ProReflow
from flowloom_fewstep.reconstruction import Reconstruction
from flowloom_fewstep.scaled_linear_vp import ScaledLinearVP
from flowloom_fewstep.segments import Segments
from flowloom_fewstep.self_corrected import SelfCorrected
from flowloom_fewstep.velocity_refiner import RefinedVelocity, VelocityRefiner
from flowloom_fewstep.windows import Window, WindowField, follow

N = 32


class Told(Trained):
    """A teacher that is a velocity field known in closed form."""

    def __init__(self, velocity, path=None) -> None:
        nn.Module.__init__(self)
        self.flow, self.velocity, self.path = nn.Identity(), velocity, path or AffinePath()

    def field(self):
        return NetworkField(lambda x, t, **cond: self.velocity(x, t), "velocity", self.path)


def step_of(model, progress: float = 0.9) -> Step:
    flow = types.SimpleNamespace(model=model)
    return Step(int(1000 * progress), 1000, torch.Generator().manual_seed(0), average=lambda: flow)


# Diff2Flow: of data N(m, c^2), every prediction is known on any schedule.

M, C = 1.5, 0.4


class GaussianDiffusion(nn.Module):
    def __init__(self, schedule, predict: str) -> None:
        super().__init__()
        self.schedule, self.predict = schedule, predict

    def forward(self, x, t, /, **cond):
        a, b = (w(t)[:, None] for w in (self.schedule.alpha, self.schedule.sigma))
        data = M + a * C**2 / (a**2 * C**2 + b**2) * (x - a * M)
        noise = (x - a * data) / b
        return {"data": data, "noise": noise, "v": a * noise - b * data}[self.predict]


@pytest.mark.parametrize("predict", ["noise", "data", "v"])
@pytest.mark.parametrize("schedule", [ScaledLinearVP(), VP()], ids=["sd", "vp"])
def test_a_diffusion_read_as_a_flow_is_the_flow(draws, schedule, predict):
    flow = Diff2Flow(Spec((1,)), GaussianDiffusion(schedule, predict), schedule, predict)
    t = 0.07 + 0.92 * torch.rand(20, generator=draws, dtype=torch.float64)
    z = torch.randn(20, 1, generator=draws, dtype=torch.float64)
    s = (1 - t[:, None]) ** 2 + (C * t[:, None]) ** 2
    x = M * t[:, None] + s.sqrt() * z
    exact = M + ((C**2 * t - (1 - t))[:, None] / s) * (x - M * t[:, None])
    assert float((flow(x, t) - exact).abs().max()) < 1e-4


def test_rounding_the_table_or_another_scale_would_be_seen(draws):
    """The pitfalls: both move the answer by far more than the tolerance above."""
    schedule = VP()
    flow = Diff2Flow(Spec((1,)), GaussianDiffusion(schedule, "noise"), schedule)
    t = torch.full((1,), 0.43217, dtype=torch.float64)
    time, scale = flow.warp(t)
    a, b = schedule.alpha(time), schedule.sigma(time)
    assert float(a / (a + b)) == pytest.approx(0.43217, abs=1e-5)
    assert float(scale) == pytest.approx(float(a + b), abs=1e-5)
    assert abs(float(scale) - float((a**2 + b**2).sqrt())) > 0.1


def test_before_the_schedule_begins_the_noise_is_what_the_network_knows():
    schedule = ScaledLinearVP()
    flow = Diff2Flow(Spec((1,)), GaussianDiffusion(schedule, "noise"), schedule)
    early, first = (
        flow.warp(torch.tensor([0.0, 0.05], dtype=torch.float64)),
        float(schedule.sigma(torch.zeros(()))),
    )
    assert early[0].tolist() == [0, 0]
    assert float(early[1][0]) == pytest.approx(first, abs=1e-3)
    x, t = torch.randn(4, 1), torch.tensor([0.0, 0.03, 0.5, 0.999])
    assert bool(flow(x, t).isfinite().all())


def test_bent_paths_and_other_predictions_are_refused():
    flow = Diff2Flow(Spec((2,)), fl.models.MLP(Spec((2,)), width=8, depth=1), VP())
    said = [
        c.message
        for c in flow.clashes({"path": AffinePath(Cosine()), "objective": fl.objectives.FlowMatching()})
    ]
    assert len(said) == 1
    assert "straight" in said[0]
    noise = fl.objectives.FlowMatching(predict="noise")
    assert [c.first for c in flow.clashes({"path": AffinePath(), "objective": noise})] == ["model"]


def test_low_rank_begins_where_the_network_was_and_moves_little_of_it(draws):
    torch.manual_seed(0)
    network = fl.models.MLP(Spec((2,)), width=16, depth=2)
    x, t = torch.randn(5, 2, generator=draws), torch.rand(5, generator=draws)
    before = network(x, t).detach()
    total = sum(p.numel() for p in network.parameters())
    low = LowRank(Spec((2,)), network, rank=2, whole=["out"])
    assert torch.allclose(low(x, t), before)
    learned = {n: p for n, p in low.named_parameters() if p.requires_grad}
    assert 0 < sum(p.numel() for p in learned.values()) < total / 2
    assert any(n.startswith("network.out.weight") for n in learned)
    low(x, t).square().sum().backward()
    with torch.no_grad():
        for p in learned.values():
            p -= 0.1 * p.grad
    assert not torch.allclose(low(x, t), before)
    with pytest.raises(ValueError, match="fits no layer"):
        LowRank(Spec((2,)), fl.models.MLP(Spec((2,)), width=8, depth=1), whole=["inne.0"])


# Windows and ProReflow.


def test_windows_are_joined_by_the_teacher(draws):
    """Rows in windows of their own end where the solver would lead each of them."""
    field = LinearFlow()
    x = torch.randn(6, 2, generator=draws, dtype=torch.float64)
    start = torch.tensor([0, 0.25, 0.5, 0.75, 0.0, 0.5], dtype=torch.float64)
    found = follow(field, x, Window(start, torch.full_like(start, 0.25)), 5, {})
    for i, s in enumerate(start.tolist()):
        one = fl.solvers.Euler(5).solve(field, x[i : i + 1], span=(s, s + 0.25)).x
        assert torch.allclose(found[i : i + 1], one)


class Constant(nn.Module):
    def __init__(self, v) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.tensor(v, dtype=torch.float64))

    def forward(self, x, t, /, **cond):
        return self.v.expand_as(x)


def test_no_time_is_told_where_windows_meet():
    """Four windows: times of the first tenth of each are those at its end, all others as they are."""
    seen = []

    class Net(torch.nn.Module):
        def forward(self, x, t, /, **cond):
            seen.append(t)
            return x

    t = torch.tensor([0.0, 0.01, 0.025, 0.1, 0.2499999, 0.25, 0.26, 0.5, 0.75, 0.9, 1.0])
    wanted = torch.tensor([0.025, 0.025, 0.025, 0.1, 0.275, 0.275, 0.275, 0.525, 0.775, 0.9, 1.0])
    for inside, told in ((0.1, wanted), (0.0, t)):
        WindowField(Net(), AffinePath(), None, 4, inside)(torch.zeros(len(t), 2), t, {})
        assert torch.allclose(seen.pop(), told, atol=1e-6)
    with pytest.raises(ValueError, match="inside is a share of a window"):
        ProReflow(None, inside=1.0)


def test_proreflow_is_at_rest_on_straight_flows_and_tells_direction_from_length(draws):
    teacher = Told(lambda x, t: torch.tensor([3.0, 4.0], dtype=x.dtype).expand_as(x))
    x0, x1 = torch.randn(2, N, 2, generator=draws, dtype=torch.float64)
    batch = Batch(x0, x1)
    objective = ProReflow(teacher, direction=0.5)

    def parts(v):
        return objective.loss(Constant(v), batch, step_of(None)).parts

    exact = parts([3.0, 4.0])
    assert float(exact["square"]) < 1e-20
    assert float(exact["aslant"]) == pytest.approx(0, abs=1e-12)
    long, turned = parts([6.0, 8.0]), parts([-4.0, 3.0])
    assert float(long["aslant"]) == pytest.approx(0, abs=1e-12)
    assert float(long["square"]) == pytest.approx(12.5)
    assert float(turned["aslant"]) == pytest.approx(1)
    total = objective.loss(Constant([-4.0, 3.0]), batch, step_of(None)).total
    assert float(total.detach()) == pytest.approx(float(turned["square"]) + 0.5)


def test_bent_paths_are_refused_by_what_straightens():
    teacher = Told(lambda x, t: x)
    with pytest.raises(IncompatibleError, match="diff2flow"):
        ProReflow(teacher, AffinePath(VP()))
    with pytest.raises(IncompatibleError, match="cond-ot"):
        SelfCorrected(teacher, MLPCritic(Spec((2,)), width=8), AffinePath(VP()))


# FlowTurbo.


def test_without_a_refiner_s_steps_and_memory_it_is_heun(draws):
    field, x = MixtureField(), torch.randn(16, 2, generator=draws, dtype=torch.float64)
    ours = FlowTurbo(heun=5, pseudo=0, refine=0).solve(field, x)
    theirs = fl.solvers.Heun(5).solve(field, x)
    assert torch.allclose(ours.x, theirs.x)
    assert ours.nfe == theirs.nfe == 10


def test_the_corrector_asks_once_and_the_refiner_never(draws):
    field, x = MixtureField(), torch.randn(16, 2, generator=draws, dtype=torch.float64)
    refined = RefinedVelocity(field, lambda x, t, previous: field(x, t, {}) - previous)
    solved = FlowTurbo(heun=1, pseudo=4, refine=3).solve(refined, x)
    assert solved.nfe == 2 + 5  # the first step of the corrector asks twice
    # A refiner that knows everything makes its steps those of Heun.
    late = FlowTurbo(heun=5, pseudo=0, refine=3).solve(refined, x)
    assert torch.allclose(late.x, fl.solvers.Heun(8).solve(field, x).x)
    assert late.nfe == 10
    stale = FlowTurbo(heun=5, pseudo=0, refine=3, refined=False).solve(field, x)
    assert not torch.allclose(stale.x, late.x)


def test_a_refiner_is_asked_for_the_change_alone(draws):
    """0 is right where the teacher's velocity does not change, and the loss is its change elsewhere."""
    x0, x1 = torch.randn(2, N, 2, generator=draws, dtype=torch.float64)

    class Zero(nn.Module):
        def forward(self, x, t, /, previous, **cond):
            return torch.zeros_like(x)

    still = VelocityRefiner(Spec((2,)), Told(lambda x, t: torch.ones_like(x)))
    assert float(still.loss(Zero(), Batch(x0, x1), step_of(None)).total) == 0
    moving = VelocityRefiner(Spec((2,)), Told(lambda x, t: t[:, None].expand_as(x)), longest=0.5)
    found = float(moving.loss(Zero(), Batch(x0, x1), step_of(None)).total)
    assert 0 < found < 2 * 0.25
    assert moving.conditions()["previous"].shape == (2,)


def test_flowturbo_without_a_refiner_is_refused():
    with pytest.raises(IncompatibleError, match="velocity-refiner"):
        FlowTurbo().solve(LinearFlow(), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="from 1"):
        FlowTurbo(heun=0, pseudo=0)


# Reconstructions.


def test_encoded_pairs_are_the_base_s_own_and_the_loss_is_that_of_the_solver_in_use(draws):
    base = LinearFlow()
    teacher = Told(lambda x, t: base(x, t, {}))
    objective = Reconstruction(teacher, unrolled=fl.solvers.Euler(3), backwards=fl.solvers.Euler(400))
    x1 = torch.randn(N, 2, generator=draws, dtype=torch.float64)
    encoded = objective.encoded(Batch(torch.zeros_like(x1), x1))
    again = fl.solvers.RK4(50).solve(base, encoded.x0).x
    assert float((again - x1).abs().max()) < 0.02

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones((), dtype=torch.float64))

        def forward(self, x, t, /, **cond):
            return self.factor * base(x, t, {})

    model = Scaled()
    loss = objective.loss(model, Batch(x1 * 0, x1), step_of(None)).total
    made = fl.solvers.Euler(3).solve(base, encoded.x0).x
    assert float(loss) == pytest.approx(float((made - x1).square().sum(1).mean()))
    (gradient,) = torch.autograd.grad(loss, model.factor)
    assert float(gradient.abs()) > 0


def test_the_residual_contracts_whatever_it_learned(draws):
    torch.manual_seed(0)
    spec = Spec((3,))
    model = ContractiveResidual(spec, fl.models.MLP(spec, width=8, depth=1), width=16).double()
    x, t = (
        torch.randn(8, 3, generator=draws, dtype=torch.float64),
        torch.rand(8, generator=draws, dtype=torch.float64),
    )
    assert float(model.residual(x, t, {}).abs().max()) < 0.2
    assert not any(p.requires_grad for p in model.network.parameters())
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=draws, dtype=p.dtype))
    model.train()
    for _ in range(30):  # spectral norms are found by power iterations
        model(x, t)
    model.eval()
    jacobians = torch.func.vmap(
        torch.func.jacrev(lambda x, t: model.residual(x[None], t[None], {})[0]), (0, 0)
    )(x, t)
    largest = torch.linalg.eigvalsh((jacobians + jacobians.mT) / 2).max()
    assert float(largest) < 1e-3


# Self-corrected distillation.


class ToPoint(nn.Module):
    """The flow to one point: v = slope (p - x) / (1 - t)."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x, t, /, **cond):
        return self.slope * (2.0 - x) / (1 - t).clamp_min(1e-6)[:, None]


def test_consistency_both_ways_rests_on_the_exact_flow(draws):
    model = ToPoint()
    objective = SelfCorrected(
        Told(lambda x, t: model(x, t).detach()), MLPCritic(Spec((2,)), width=8), adversarial=0
    )
    x0 = torch.randn(N, 2, generator=draws, dtype=torch.float64)
    batch = Batch(x0, torch.full_like(x0, 2.0))
    right = objective.loss(model, batch, step_of(model)).parts
    assert set(right) == {"consistency", "backward", "reflow"}
    assert all(float(v) < 1e-9 for v in right.values())
    with torch.no_grad():
        model.slope.fill_(1.1)
    wrong = objective.loss(model, batch, step_of(model)).parts
    assert all(float(v) > 1e-4 for v in wrong.values())
    early = objective.loss(model, batch, step_of(model, progress=0.01)).parts
    assert set(early) == {"consistency"}


def test_the_truncation_is_next_to_the_data(draws):
    """With all of the time truncated the target is the data, and the average is not asked for it."""
    model = ToPoint()
    x0, x1 = torch.randn(2, N, 2, generator=draws, dtype=torch.float64)
    whole = SelfCorrected(
        Told(lambda x, t: torch.zeros_like(x)),
        MLPCritic(Spec((2,)), width=8),
        truncate=1.0,
        backward=0,
        reflow=0,
        adversarial=0,
        huber=1e-6,
    )
    loss = float(whole.loss(model, Batch(x0, x1), step_of(model)).total)
    assert loss == pytest.approx(float((2.0 - x1).abs().mean()), rel=1e-4)


class Attentive(Critic):
    """Judges the entries of a row as tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 8), EncoderBlock(8, 2), nn.Linear(8, 1))

    def forward(self, x, t, /, **cond):
        return self.net(x[..., None]).flatten(1).sum(1)


def test_the_slope_of_a_critic_with_attention_is_descended(draws):
    """Fused attention has no second derivative."""
    torch.manual_seed(0)
    spec, critic = Spec((2,)), Attentive()
    model = fl.models.MLP(spec, width=8, depth=1)
    objective = SelfCorrected(Trained(fl.Flow(fl.models.MLP(spec, width=8, depth=1))), critic)
    objective.critic_loss(model, Batch(*torch.randn(2, N, 2, generator=draws))).total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in critic.net[0].parameters())


def test_neither_the_reflow_s_pair_nor_the_teacher_has_a_gradient(draws):
    torch.manual_seed(0)
    spec = Spec((2,))
    teacher = Trained(fl.Flow(fl.models.MLP(spec, width=8, depth=1)))
    critic, model = MLPCritic(spec, width=8), fl.models.MLP(spec, width=8, depth=1)
    objective = SelfCorrected(teacher, critic, backward=0)
    flow = fl.Flow(model, spec, objective=objective)
    names = {turn.name: set(turn.parameters) for turn in objective.turns(flow)}
    assert names["student"].isdisjoint(names["critic"])
    assert all(n.startswith("model.") for n in names["student"])
    assert all("critic" in n for n in names["critic"])
    batch = Batch(*torch.randn(2, N, 2, generator=draws))
    x = batch.x0

    def reflow(detached):
        y = x + model(x, torch.zeros(N))
        there = 0.5 * (x + (y.detach() if detached else y))
        again = there + 0.5 * model(there, torch.full((N,), 0.5))
        return (again - (y.detach() if detached else y)).square().mean()

    ours, theirs = (torch.autograd.grad(reflow(d), list(model.parameters())) for d in (True, False))
    assert not all(torch.allclose(a, b) for a, b in zip(ours, theirs, strict=True))
    loss = objective.critic_loss(model, batch)
    assert bool(loss.total.isfinite())
    assert float(loss.parts["slope"]) > 0


CURVED = {
    "proreflow": lambda path, teacher, spec: ProReflow(teacher, path, steps=2),
    "self-corrected": lambda path, teacher, spec: SelfCorrected(
        teacher, MLPCritic(spec, width=8, depth=2), path
    ),
    "reconstruction": lambda path, teacher, spec: Reconstruction(
        teacher, path, backwards=fl.solvers.Euler(4)
    ),
    "refiner": lambda path, teacher, spec: VelocityRefiner(spec, teacher, path),
}


@pytest.mark.parametrize("space", [Sphere(2), FlatTorus(2)], ids=str)
@pytest.mark.parametrize("name", CURVED)
def test_losses_and_gradients_are_finite_on_curved_and_wrapped_spaces(name, space, draws):
    torch.manual_seed(0)
    path, size = GeodesicPath(space), 3 if isinstance(space, Sphere) else 2
    spec = Spec((size,))
    teacher = Told(lambda x, t: space.to_tangent(x, torch.ones_like(x)), path)
    objective = CURVED[name](path, teacher, spec)
    model = fl.models.MLP(spec.plus(objective.conditions()), width=8, depth=2)
    x0, x1 = (space.random((16, size), Draw(draws, dtype=torch.float32)) for _ in "ab")
    loss = objective.loss(model, Batch(x0, x1), step_of(model))
    loss.total.backward()
    # What stands for a velocity that is withheld has none, as no velocity is.
    grads = [p.grad for n, p in model.named_parameters() if "null" not in n]
    assert bool(loss.total.isfinite())
    assert all(g is not None and bool(g.isfinite().all()) for g in grads)
    assert max(float(g.abs().max()) for g in grads) > 0


# Blocks.


@pytest.fixture
def blocks():
    torch.manual_seed(0)
    spec = Spec((2,), conditions={"label": Condition(3)})
    return BlockwiseMLP(spec, segments=3, width=8, depth=1, features=4, trunk_width=8, change_width=8)


def test_rows_are_routed_by_their_time_and_boundaries_to_the_later_piece(blocks, draws):
    t = torch.tensor([0.0, 1 / 3, 0.34, 2 / 3, 0.99, 1.0, 0.1])
    assert Segments(3).which(t).tolist() == [0, 1, 1, 2, 2, 2, 0]
    sixths = torch.arange(7) / 6
    assert Segments(6).which(sixths).tolist() == [0, 1, 2, 3, 4, 5, 5]
    x, cond = torch.randn(7, 2, generator=draws), {"label": torch.tensor([0, 1, 2, 0, 1, 2, 0])}
    whole = blocks(x, t, **cond)
    for i in range(7):
        one = blocks(x[i : i + 1], t[i : i + 1], label=cond["label"][i : i + 1])
        assert torch.allclose(whole[i : i + 1], one, atol=1e-6)


def test_withheld_labels_leave_a_block_its_features(blocks, draws):
    x, t = torch.randn(4, 2, generator=draws), torch.full((4,), 0.5)
    cond = {"label": torch.tensor([0, 1, 2, 0]), "null": torch.ones(4, dtype=torch.bool)}
    features = torch.randn(2, 4, 4, generator=draws)
    one, other = (blocks.block(1, x, t, f, cond) for f in features)
    assert not torch.allclose(one, other)
    told = cond | {"label": torch.tensor([1, 2, 0, 1])}
    assert torch.allclose(one, blocks.block(1, x, t, features[0], told))


@pytest.mark.parametrize("guided", [False, True])
def test_remembered_features_are_asked_once_a_piece(blocks, draws, guided):
    x, cond = torch.randn(5, 2, generator=draws), {"label": torch.tensor([0, 1, 2, 0, 1])}
    field = BlockwiseField(blocks, AffinePath())
    if guided:
        field = fl.guidance.ClassifierFree(2.0)(field)
    asked, trunk = [], blocks.trunk
    blocks.trunk = lambda x, t, cond: asked.append(len(x)) or trunk(x, t, cond)
    exact = BlockwiseEuler(4, remembered=False).solve(field, x, cond=cond)
    assert len(asked) == 12
    plain = fl.solvers.Euler(12).solve(field, x, cond=cond)
    assert torch.allclose(exact.x, plain.x, atol=1e-5)
    assert exact.nfe == plain.nfe
    asked.clear()
    kept = BlockwiseEuler(4).solve(field, x, cond=cond)
    assert asked == [5 * (1 + guided)] * 3
    assert not torch.allclose(kept.x, exact.x)
    again = BlockwiseEuler(4).solve(field, x, cond=cond)
    assert torch.equal(kept.x, again.x)


def test_no_step_crosses_a_boundary_and_none_goes_back(blocks):
    solver, field = BlockwiseEuler(2), BlockwiseField(blocks, AffinePath())
    assert solver.walked(field, (0.0, 1.0)) == pytest.approx([i / 6 for i in range(7)])
    assert solver.walked(field, (0.5, 1.0)) == pytest.approx([0.5, 7 / 12, 2 / 3, 5 / 6, 1.0])
    with pytest.raises(SolverError, match="way back"):
        solver.walked(field, (1.0, 0.0))
    with pytest.raises(IncompatibleError, match="blockwise-velocity"):
        solver.solve(LinearFlow(), torch.zeros(2, 2))


def test_the_image_network_reads_places_and_begins_as_nothing(draws):
    spec = Spec((1, 8, 8), conditions={"label": Condition(3)})
    model = BlockwiseDiT(spec, 2, 1, 1, 1, width=16, heads=2, rank=4, aligned_width=8)
    x, t = torch.randn(3, 1, 8, 8, generator=draws), torch.tensor([0.1, 0.6, 0.9])
    cond = {"label": torch.tensor([0, 1, 2])}
    features = model.trunk(x, t, cond)
    assert features.shape == (3, 16, 16)
    assert model.aligned(features, 8).shape == (3, 16, 8)
    assert model.change(x, t, cond).shape == features.shape
    assert float(model(x, t, **cond).abs().max()) == 0
    assert torch.equal(model._image(model._patches(x), x), x)
    with pytest.raises(IncompatibleError, match="patches"):
        BlockwiseDiT(Spec((1, 7, 8)))


def test_endpoints_of_a_flow_and_of_itself(draws):
    data = fl.data.EightGaussians(64, labelled=False)
    torch.manual_seed(0)
    flow = fl.Flow(fl.models.MLP(data.spec, width=8, depth=1), solver=fl.solvers.Euler(4))
    rows = data.take(torch.arange(64))
    assert EndpointDistance(fl.solvers.Euler(4))(flow, rows)["endpoint_rmse"] == 0
    other = EndpointDistance(fl.solvers.Euler(1), of=Trained(flow))(flow, rows)["endpoint_rmse"]
    x0 = flow.noise_for(rows, torch.Generator().manual_seed(0))
    ends = [flow.solve(x0=x0, solver=fl.solvers.Euler(k)).x for k in (4, 1)]
    assert other == pytest.approx(float((ends[0] - ends[1]).square().sum(1).mean().sqrt()), rel=1e-5)


def test_the_reference_of_a_reflowed_flow_starts_where_its_pairs_do(draws):
    """The pairs' starts are a condition that their teacher, who made them, does not know."""
    noise = torch.randn(8, 2, generator=draws)
    rows = fl.data.Tensors(torch.zeros(8, 2), {"x0": noise}, roles={"x0": "start"})
    model = fl.models.MLP(Spec((2,)), width=8, depth=1)
    teacher = fl.Flow(model, spec=Spec((2,)), solver=fl.solvers.Euler(4))
    source = fl.sources.Paired(holds="states", otherwise=fl.sources.Gaussian())
    flow = fl.Flow(model, spec=rows.spec, source=source, solver=fl.solvers.Euler(4))
    score = EndpointDistance(fl.solvers.Euler(4), of=Trained(teacher))
    assert score(flow, rows.take(torch.arange(8)))["endpoint_rmse"] == 0


def test_blocks_of_sizes_that_cannot_be_are_told():
    images = Spec((1, 8, 8))
    with pytest.raises(ValueError, match="patch must be at least 1"):
        BlockwiseDiT(images, patch=0)
    with pytest.raises(ValueError, match="heads must be at least 1"):
        BlockwiseDiT(images, heads=0)
    with pytest.raises(ValueError, match="count from 0, got -1 and 0"):
        BlockwiseMLP(images, features=-1)
