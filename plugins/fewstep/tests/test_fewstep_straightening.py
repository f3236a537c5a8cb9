"""Straightening at the knots, against teachers whose fine Euler trajectories are known in closed form."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

import flowloom as fl
from flowloom.clashes import problems
from flowloom.errors import IncompatibleError, SolverError
from flowloom.geometry import Sphere
from flowloom.layout import Layout
from flowloom.objectives import Batch, Step
from flowloom.paths import GeodesicPath
from flowloom.spec import Spec
from flowloom.trained import Trained
from flowloom_fewstep.bellman import BellmanEuler
from flowloom_fewstep.bellman_straightening import BellmanStraightening
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.config.stages import stages_of
from flowloom_registry.errors import MisfitError
from flowloom_registry.runs.assembly import assemble

RATE, FINE, KNOTS = 1.5, 20, [0, 3, 11, 20]


class Grows(nn.Module):
    """v = rate x: fine Euler steps of length h multiply by 1 + rate h. Keeps what it is asked."""

    def __init__(self, rate: float = RATE) -> None:
        super().__init__()
        self.rate, self.asked = nn.Parameter(torch.tensor(rate, dtype=torch.float64)), []

    def forward(self, x, t, /, **cond):
        self.asked.append((x, t))
        return self.rate * x


class Chord(Grows):
    """The one answer at each knot that leads to the next: the chord of those trajectories."""

    def forward(self, x, t, /, **cond):
        self.asked.append((x, t))
        place = round(float(t[0]) * FINE)
        after = KNOTS[KNOTS.index(place) + 1]
        return x * slope(place, after) * self.rate / RATE


class Says(nn.Module):
    """The same, whatever it is asked."""

    def __init__(self, said) -> None:
        super().__init__()
        self.said = nn.Parameter(said)

    def forward(self, x, t, /, **cond):
        return self.said


def slope(before: int, after: int) -> float:
    return ((1 + RATE / FINE) ** (after - before) - 1) / ((after - before) / FINE)


def objective(model=None, shape=(2,), path=None, **given) -> BellmanStraightening:
    """With knots that costs of 0 along them, and of 1 elsewhere, make the cheapest."""
    flow = fl.Flow(Grows() if model is None else model, spec=Spec(shape), path=path)
    solver = BellmanEuler(Trained(flow), steps=len(KNOTS) - 1, fine=FINE, **given)
    solver.costs.copy_(
        torch.ones(FINE + 1, FINE + 1).triu(1).masked_fill(torch.ones(21, 21).tril() > 0, math.inf)
    )
    for a, b in pairwise(KNOTS):
        solver.costs[a, b] = 0
    return BellmanStraightening(solver)


def batch_of(draws, *shape: int, layout=None) -> Batch:
    x0, x1 = (torch.randn(*shape, generator=draws, dtype=torch.float64) for _ in "ab")
    return Batch(x0, x1, {}, layout)


def test_only_chords_between_knots_have_no_loss(draws):
    made, batch = objective(), batch_of(draws, 8, 2)
    exact = Chord()
    found = made.loss(exact, batch, Step())
    assert float(found.total.detach()) < 1e-25
    assert [float(t[0]) for _, t in exact.asked] == made.solver.times((0.0, 1.0))[:-1]
    assert sorted(found.parts) == ["knot_0", "knot_1", "knot_2"]
    assert float(made.loss(Grows(), batch, Step()).total.detach()) > 0.1  # tangents, which the teacher has
    mean = fl.models.MLP(Spec((2,)), width=4, depth=1).double()
    assert float(made.loss(mean, batch, Step()).total.detach()) > 0.1


def test_the_loss_is_the_mean_square_over_knots_and_entries(draws):
    made, batch = objective(), batch_of(draws, 8, 2)
    found = made.loss(Grows(0.0), batch, Step())
    size, squares = batch.x0.square().mean(), []
    for a, b in pairwise(KNOTS):
        squares.append(float(size) * (1 + RATE / FINE) ** (2 * a) * slope(a, b) ** 2)
    assert [float(v) for v in found.parts.values()] == pytest.approx(squares)
    assert float(found.total.detach()) == pytest.approx(sum(squares) / 3)


def test_the_teacher_is_walked_without_gradient_from_noise_alone(draws):
    made, batch = objective(), batch_of(draws, 8, 2)
    student = Chord(1.0)
    batch.x0.requires_grad_()
    loss = made.loss(student, batch, Step()).total
    loss.backward()
    assert float(student.rate.grad.abs()) > 0.1
    assert batch.x0.grad is None
    teacher = made.solver.teacher.flow.model
    assert teacher.rate.grad is None
    assert len(teacher.asked) == FINE
    assert not any(x.requires_grad for x, _ in (*teacher.asked, *student.asked))
    other = Batch(batch.x0, torch.full_like(batch.x1, math.nan))
    assert float(made.loss(student, other, Step()).total) == float(loss)


def test_given_entries_stand_at_the_data_and_padding_counts_nothing(draws):
    given = torch.tensor([[True, False, False]]).expand(8, 3)
    real = torch.tensor([[True, True, False]]).expand(8, 3)
    batch = batch_of(draws, 8, 3, 2, layout=Layout(real=real, given=given))
    batch.x0[:, 2] = math.nan
    made, student = objective(shape=(3, 2)), Grows(0.0)
    loss = made.loss(student, batch, Step()).total
    free = batch_of(draws, 8, 1, 2)
    free.x0.copy_(batch.x0[:, 1:2])
    assert float(loss) == pytest.approx(float(objective(shape=(1, 2)).loss(Grows(0.0), free, Step()).total))
    for x, _ in (*student.asked, *made.solver.teacher.flow.model.asked):
        assert torch.equal(x[:, 0], batch.x1[:, 0])
    said = torch.randn(8, 3, 2, generator=draws, dtype=torch.float64)
    said[:, 2] = math.nan
    answers = Says(said)
    made.loss(answers, batch, Step()).total.backward()
    assert not answers.said.grad[:, [0, 2]].any()
    assert answers.said.grad[:, 1].all()


class Turns(nn.Module):
    """Round the third axis by ``angle`` in all, fine steps along geodesics."""

    angle = 2.0

    def forward(self, x, t, /, **cond):
        axis = torch.tensor([0.0, 0.0, self.angle], dtype=x.dtype)
        return torch.linalg.cross(axis.expand_as(x), x)


class Still(nn.Module):
    def forward(self, x, t, /, **cond):
        return 0 * x


def test_on_a_sphere_chords_are_geodesics(draws):
    sphere = Sphere()
    made = objective(Turns(), shape=(3,), path=GeodesicPath(sphere))
    x = sphere.project(torch.randn(16, 3, generator=draws, dtype=torch.float64))
    states = made.at_knots(Batch(x, x))
    found = made.loss(Still(), Batch(x, x), Step())
    for (a, b), (i, j), value in zip(pairwise(states), pairwise(KNOTS), found.parts.values(), strict=True):
        apart = (a * b).sum(1).clamp(-1, 1).arccos() / ((j - i) / FINE)
        assert float(value) == pytest.approx(float(apart.square().mean()))
    equator = sphere.project(x * torch.tensor([1.0, 1.0, 0.0]))  # a geodesic, whose chords are its tangents
    assert float(made.loss(Turns(), Batch(equator, equator), Step()).total) < 1e-20


def test_training_and_sampling_ask_at_the_same_times(draws):
    torch.manual_seed(0)
    data = fl.data.EightGaussians(200)
    solver = BellmanEuler(Trained(fl.Flow(Grows(), spec=data.spec)), steps=3, fine=FINE, samples=10)
    student = Grows(0.0)
    flow = fl.Flow(student, spec=data.spec, objective=BellmanStraightening(solver), solver=solver)
    flow.fit_parts(data)
    flow.objective.loss(student, batch_of(draws, 4, 2), Step())
    trained = [float(t[0]) for _, t in student.asked]
    student.asked.clear()
    flow.solve(4, seed=0, cond={"label": 0})
    assert [float(t[0]) for _, t in student.asked] == trained
    kept = [name for name in flow.state_dict() if name.endswith("costs")]
    assert len({id(v) for k, v in flow.state_dict(keep_vars=True).items() if k in kept}) == 1
    other = BellmanEuler(solver.teacher, steps=3, fine=FINE)
    again = fl.Flow(Grows(0.0), spec=data.spec, objective=BellmanStraightening(other), solver=other)
    again.load_state_dict(flow.state_dict())
    assert again.objective.solver.knots == solver.knots


def test_costs_are_measured_with_given_entries_at_the_data():
    torch.manual_seed(0)
    x = torch.randn(50, 3, 2)
    mask = torch.zeros(50, 3, dtype=torch.bool)
    mask[:, 0] = True
    data = fl.data.Tensors(x, {"known": mask}, roles={"known": "given"})
    teacher = Grows()
    solver = BellmanEuler(Trained(fl.Flow(teacher, spec=data.spec)), steps=3, fine=FINE, samples=10)
    solver.fit(data, solver.teacher.flow, torch.Generator().manual_seed(0))
    known = {tuple(row.tolist()) for row in x[:, 0]}
    assert teacher.asked
    assert all(tuple(row.tolist()) in known for state, _ in teacher.asked for row in state[:, 0])


def test_what_does_not_fit_is_refused(draws):
    with pytest.raises(IncompatibleError, match="knots of solver: bellman-euler, and the solver is Euler"):
        BellmanStraightening(fl.solvers.Euler(2))
    teacher = Trained(fl.Flow(Grows(), spec=Spec((2,))))
    unmeasured = BellmanStraightening(BellmanEuler(teacher))
    with pytest.raises(SolverError, match="not measured yet"):
        unmeasured.loss(Grows(), batch_of(draws, 4, 2), Step())
    tokens = fl.paths.MixturePath(fl.geometry.Discrete(5))
    with pytest.raises(IncompatibleError, match="discrete states have none"):
        BellmanStraightening(BellmanEuler(teacher), tokens)
    (clash,) = problems({"objective": unmeasured, "solver": BellmanEuler(teacher, steps=2)})
    assert "knots of another solver than the one that samples" in clash.message
    assert not problems({"objective": unmeasured, "solver": unmeasured.solver, "path": unmeasured.path})


SMALL = ["train.steps=3", "stages.flow.train.steps=2", "train.batch=8", "solver.samples=10", "solver.fine=10"]


def straight_of(*overrides: str):
    planned = {}
    for stage in stages_of(load_recipe("bellman-checkerboard", overrides=[*SMALL, *overrides])):
        planned[stage.stage.name] = assemble(stage, planned=planned)
    return planned["straight"]


def test_the_recipe_has_one_grid():
    built = straight_of()
    assert built.flow.solver is built.flow.objective.solver
    with pytest.raises(MisfitError, match="and the solver is Euler"):
        straight_of("stages.straight.solver={use: euler, steps: 2}")
    own = "{use: bellman-euler, teacher: {run: flow}, steps: 3}"
    with pytest.raises(MisfitError, match="another solver than the one that samples"):
        straight_of(f"stages.straight.objective.solver={own}")
    with pytest.raises(MisfitError) as refused:
        straight_of("stages.straight.path.schedule=vp")
    assert len(refused.value.problems) == 1
    assert "trained on points of CondOT" in str(refused.value)


def test_the_knots_of_an_earlier_stage_serve_too():
    stages = (
        "stages=[{name: flow, model: {use: mlp, width: 8, depth: 1}, objective: flow-matching,"
        " solver: euler}, {name: timed, objective: flow-matching},"
        " {name: straight, solver: {run: timed, part: solver}}]"
    )
    planned = {}
    overrides = ["train.steps=3", "solver.samples=10", "solver.fine=10", "scores=[]", stages]
    for stage in stages_of(load_recipe("bellman-checkerboard", overrides=overrides)):
        planned[stage.stage.name] = one = assemble(stage, planned=planned)
        one.fit_parts()
    solver = planned["straight"].flow.objective.solver
    assert solver is planned["timed"].flow.solver
    assert solver is planned["straight"].flow.solver
    assert solver.fitted


def test_additions_of_low_rank_are_trained_too():
    low = "{use: low-rank, network: {run: flow, part: model, frozen: false}, rank: 2}"
    built = straight_of(f"stages.straight.model={low}")
    built.fit_parts()
    trainer = built.flow.trainer(built.data, built.train, seed=0)
    for _ in trainer.run():
        pass
    assert {name.split(".")[-1] for name in built.flow.trainable()} == {"down", "up"}
