"""Teachers of another flow are told apart; what a teacher says is drawn from the step's own numbers."""

from __future__ import annotations

import pytest
import torch

import flowloom as fl
from flowloom.fields import NetworkField
from flowloom.models import MLP, MLPClassifier
from flowloom.objectives import Batch, Classification, FlowMatching, Step
from flowloom.paths import AffinePath
from flowloom.schedules import Cosine
from flowloom.sources import Gaussian
from flowloom.spec import Condition, Spec
from flowloom.trained import Trained
from flowloom_fewstep.align_your_flow import AlignYourFlow
from flowloom_fewstep.bellman import BellmanEuler
from flowloom_fewstep.bellman_straightening import BellmanStraightening
from flowloom_fewstep.free_flow import FreeFlow
from flowloom_fewstep.proreflow import ProReflow
from flowloom_fewstep.reconstruction import Reconstruction
from flowloom_fewstep.self_corrected import SelfCorrected
from flowloom_fewstep.splitmeanflow import SplitMeanFlow
from flowloom_fewstep.velocity_refiner import VelocityRefiner

PLANE = Spec((2,))
LABELLED = Spec((2,), conditions={"label": Condition(classes=3)})
OTHERS = Spec((2,), conditions={"label": Condition(classes=5)})


class Says(torch.nn.Module):
    """Nothing; a critic where one is asked for."""

    conditional = True

    def forward(self, x, t, /, **cond):
        return 0 * x


def taught(spec=PLANE, **given):
    return Trained(fl.Flow(MLP(spec, width=8, depth=1), spec=spec, **given))


STUDENTS = {
    "split": lambda teacher: SplitMeanFlow(teacher=teacher),
    "align": AlignYourFlow,
    "weak": lambda teacher: AlignYourFlow(taught(), weak=teacher),
    "free": FreeFlow,
    "windows": ProReflow,
    "refiner": lambda teacher: VelocityRefiner(PLANE, teacher),
    "corrected": lambda teacher: SelfCorrected(teacher, Says()),
    "bellman": BellmanEuler,
    "straightened": lambda teacher: BellmanStraightening(BellmanEuler(teacher), AffinePath()),
}


def told(student, **parts):
    given = {"spec": PLANE, "path": AffinePath(), "source": Gaussian(), **parts}
    return [clash.message for clash in student.clashes(given)]


@pytest.mark.parametrize("make", STUDENTS.values(), ids=STUDENTS)
def test_teachers_of_another_flow_are_refused(make):
    assert not told(make(taught()))
    cosine = FlowMatching(AffinePath(Cosine()))
    (message,) = told(make(taught(objective=cosine, path=cosine.path)))
    assert "trained on points of Cosine()" in message
    (message,) = told(make(taught(source=Gaussian(5.0))))
    assert "begins at Gaussian of deviation 5, and this flow at Gaussian of deviation 1" in message
    (message,) = told(make(taught(Spec((3,)))))
    assert "knows states of shape (3,), and these are of shape (2,)" in message
    (message,) = told(make(taught(LABELLED)))
    assert "was always told 'label', which these data do not tell" in message
    assert not told(make(taught(LABELLED, objective=FlowMatching(condition_dropout=0.1))))
    (message,) = told(make(taught(LABELLED)), spec=OTHERS)
    assert "told another 'label'" in message
    judge = fl.Flow(MLPClassifier(LABELLED, width=8, depth=1), spec=LABELLED, objective=Classification())
    assert any("no velocity: it was trained by Classification" in m for m in told(make(Trained(judge))))


def test_a_base_walks_its_own_path():
    cosine = FlowMatching(AffinePath(Cosine()))
    assert not told(Reconstruction(taught(objective=cosine, path=cosine.path)))
    assert told(Reconstruction(taught(Spec((3,)))))


class Drawn(Trained):
    """A teacher whose velocities are drawn, and which counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__(taught().flow)
        self.asked = 0

    def field(self):
        def velocity(x, t, **cond):
            raise AssertionError

        class Drawing(NetworkField):
            stochastic = True

            def __call__(inner, x, t, cond, generator=None):  # noqa: N805
                self.asked += 1
                return torch.randn(x.shape, generator=generator)

        return Drawing(velocity, "velocity", AffinePath())


class Jumps(torch.nn.Module):
    """A network of two times."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.ones(()))

    def forward(self, x, t, /, span=None, **cond):
        far = 0 if span is None else span[:, None]
        return self.slope * x * (1 + far)


@pytest.mark.parametrize("end", ["eulerian", "lagrangian", "split", "corrected"])
def test_teachers_are_asked_once_and_draw_from_the_step(end):
    torch.manual_seed(0)
    batch, teacher, network = Batch(torch.randn(6, 2), torch.randn(6, 2)), Drawn(), Jumps()
    average = fl.Flow(network, spec=PLANE)
    made = {
        "split": lambda: SplitMeanFlow(teacher=teacher),
        "corrected": lambda: SelfCorrected(teacher, Says(), adversarial=0.0),
    }.get(end, lambda: AlignYourFlow(teacher, end=end))()

    def loss():
        step = Step(1, 2, torch.Generator().manual_seed(3), average=lambda: average)
        return float(made.loss(network, batch, step).total.detach())

    first = loss()
    assert teacher.asked == 1
    torch.rand(7)
    assert loss() == first
