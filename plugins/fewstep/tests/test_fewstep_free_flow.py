"""FreeFlow beside the exact map of a Gaussian."""

import json

import pytest
import torch

import flowloom as fl
from flowloom.errors import IncompatibleError
from flowloom.layout import Layout
from flowloom.objectives import Batch, Step
from flowloom.trained import Trained
from flowloom_fewstep.free_flow import FreeFlow, FromNoise
from flowloom_registry.cli import main


class Velocity(torch.nn.Module):
    """That of `GaussianMean`."""

    def __init__(self, mean):
        super().__init__()
        self.spec, self.mean = fl.Spec((1,)), mean

    def forward(self, x, t, /, **cond):
        return self.mean(x, t, torch.zeros_like(t))


@pytest.fixture
def taught(gaussian):
    teacher = Trained(fl.Flow(Velocity(gaussian())))
    return FreeFlow(teacher), gaussian()


def batch(n=200):
    z = torch.randn(n, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(z, z * float("nan"))


def step(model):
    return Step(1, 10, torch.Generator().manual_seed(0), model)


def test_the_exact_map_has_no_error_and_no_data_are_read(taught):
    objective, student = taught
    loss = objective.loss(student, batch(), step(student))
    assert loss.total.item() < 1e-10
    with torch.no_grad():
        student.shift.add_(0.1)
    assert objective.loss(student, batch(), step(student)).total.item() > 1e-3


def test_the_correction_pushes_samples_to_the_teacher_s_law(taught):
    objective, student = taught
    with torch.no_grad():
        student.shift.add_(0.5)  # samples lie half too far to the right
    fake = Velocity(type(student)(m=2.0))  # and the network that follows them knows
    loss = objective.corrected(student, fake, batch(), step(student))
    plain = objective.loss(student, batch(), step(student))
    (whole,) = torch.autograd.grad(loss.total, student.shift)
    (own,) = torch.autograd.grad(plain.total, student.shift)
    assert float(whole - own) > 0  # descent moves the shift back


def test_the_follower_is_right_about_exact_samples(taught):
    objective, student = taught
    right, wrong = Velocity(type(student)()), Velocity(type(student)(m=2.0))
    found = [float(objective.following(student, g, batch(4000), step(student)).total) for g in (right, wrong)]
    assert found[0] < found[1]


def test_a_map_from_noise_is_not_walked(taught):
    objective, student = taught
    field = objective.field(student)
    assert isinstance(field, FromNoise)
    x, half = torch.zeros(3, 1, dtype=torch.float64), torch.full((3,), 0.5, dtype=torch.float64)
    with pytest.raises(IncompatibleError, match="steps: 1"):
        field.jump(x, half, 2 * half, {})


def test_the_role_of_the_follower_is_missed_when_the_recipe_is_built(tmp_path, capsys):
    stages = [{"name": "base"}, {"name": "student", "objective": "free-flow", "solver": "flow-map"}]
    stages[1]["roles"] = {"teacher": {"run": "base"}}
    recipe = {"data": "eight-gaussians", "model": "mlp", "train": {"steps": 1}, "stages": stages}
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe))
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "recipe.yaml:1:" in said
    assert "objective + roles: a network is asked for in the role 'fake'" in said
    assert not (tmp_path / "out").exists()
    stages[1]["objective"] = {"use": "free-flow", "correction": 0}  # asks for none
    file.write_text(json.dumps(recipe))
    assert main(["plan", str(file)]) == 0


def test_a_killed_run_goes_on_with_the_same_bits(tmp_path):
    from flowloom.parts import tensors
    from flowloom.training import TrainConfig, load_checkpoint, save_checkpoint
    from flowloom.training.feeds import PriorOnly

    def trainer():
        torch.manual_seed(0)
        spec = fl.Spec((2,))
        teacher = Trained(fl.Flow(fl.models.MLP(spec, width=8, depth=1)))
        objective = FreeFlow(teacher)
        student = fl.models.MLP(spec.plus(objective.conditions()), width=8, depth=1)
        roles = {"fake": fl.models.MLP(spec, width=8, depth=1)}
        flow = fl.Flow(student, spec, objective=objective, roles=roles, solver=fl.solvers.FlowMapSteps(1))
        return flow.trainer(PriorOnly([2]), TrainConfig(steps=6, batch=16, ema=0.9), seed=0)

    whole, stopped, continued = trainer(), trainer(), trainer()
    list(whole.run())
    list(stopped.run(until=3))
    load_checkpoint(continued, save_checkpoint(stopped, tmp_path))
    list(continued.run())
    first, second = tensors(whole.flow), tensors(continued.flow)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.out.weight"], tensors(trainer().flow)["model.out.weight"])


class Asked(torch.nn.Module):
    """A network that writes down which rows it is told the conditions of."""

    jvp_safe = True

    def __init__(self, speed: float = 1.0):
        super().__init__()
        self.spec = fl.Spec((3,))
        self.speed, self.withheld = torch.nn.Parameter(torch.tensor(speed)), []

    def forward(self, x, t, /, **cond):
        self.withheld.append(cond.get("null"))
        return self.speed * torch.ones_like(x)


def test_conditions_are_withheld_from_student_teacher_and_follower_alike():
    teacher, student, fake = Asked(), Asked(), Asked()
    objective = FreeFlow(Trained(fl.Flow(teacher)), condition_dropout=0.5)
    x = torch.randn(40, 3)
    labelled = Batch(x, x, {"label": torch.zeros(40, dtype=torch.long)})
    objective.corrected(student, fake, labelled, step(student))
    seen = [*teacher.withheld, *student.withheld, *fake.withheld]
    assert all(rows is not None and torch.equal(rows, seen[0]) for rows in seen)
    assert 5 < int(seen[0].sum()) < 35


def test_padding_and_given_entries_are_no_part_of_the_losses():
    real = torch.ones(40, 3, dtype=torch.bool)
    real[:, 2] = False
    given = torch.zeros_like(real)
    given[:, 1] = True
    x1 = torch.full((40, 3), 7.0)
    teacher = Asked(2.0)
    objective = FreeFlow(Trained(fl.Flow(teacher)))
    seen = []
    fake = Asked(0.0)
    fake.register_forward_pre_hook(lambda _, told: seen.append(told[0]))
    losses = []
    for noise in (torch.randn(40, 3), torch.randn(40, 3)):
        x0 = torch.zeros(40, 3)
        x0[:, 2] = noise[:, 2]  # what stands in padding says nothing
        batch = Batch(x0, x1, layout=Layout(real=real, given=given))
        student = Asked(1.0)
        losses.append(objective.corrected(student, fake, batch, step(student)).total)
        losses.append(objective.following(student, fake, batch, step(student)).total)
    assert torch.equal(losses[0], losses[2])
    assert torch.equal(losses[1], losses[3])
    assert all(bool((x[:, 1] == 7.0).all()) for x in seen)
