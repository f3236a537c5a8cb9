"""FreeFlow beside the exact map of a Gaussian."""

import pytest
import torch

import flowloom as fl
from flowloom.errors import IncompatibleError
from flowloom.objectives import Batch, Step
from flowloom.trained import Trained
from flowloom_fewstep.free_flow import FreeFlow, FromNoise


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
