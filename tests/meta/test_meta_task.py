"""Wrong tasks."""

from __future__ import annotations

import pytest
import torch

from flowloom.data import Examples, Tensors
from flowloom.errors import IncompatibleError
from flowloom.state import map_state
from flowloom.tasks import Inpaint, Predict, Task, some_rows
from flowloom.testing import check

KIND = "task"


class Again(Task):
    """Draws anew under the conditions of the examples: the simplest question there is."""

    def pose(self, data, n, generator):
        truth = some_rows(data, n, generator)
        return Examples(map_state(torch.zeros_like, truth.x), truth.cond), truth

    def __call__(self, flow, examples, *, seed=0):
        with flow.evaluating():
            x = flow.solve(len(examples), seed=seed, cond=examples.cond).x
        return Examples(x, dict(examples.cond))


class Short(Again):
    def __call__(self, flow, examples, *, seed=0):
        answers = super().__call__(flow, examples, seed=seed)
        return answers.take(torch.arange(len(examples) - 1))


class Unseeded(Again):
    def __call__(self, flow, examples, *, seed=0):
        return super().__call__(flow, examples, seed=int(torch.randint(2**31, ())))


class Waking(Again):
    """Leaves the network in training mode."""

    def __call__(self, flow, examples, *, seed=0):
        answers = super().__call__(flow, examples, seed=seed)
        flow.model.train()
        return answers


class Scribbling(Again):
    """Answers into the examples it was asked about."""

    def __call__(self, flow, examples, *, seed=0):
        answers = super().__call__(flow, examples, seed=seed)
        map_state(torch.Tensor.copy_, examples.x, answers.x)
        return answers


class Garrulous(Again):
    def show(self, answers, data):
        return ["one\ntwo"] * len(answers)


class Deaf(Again):
    """Reads one example, however many answers are wanted."""

    def read(self, given, data, n):
        return data.take(torch.arange(1))


class Misleading(Again):
    """Shows words that it does not take."""

    def example(self, data):
        return "17"


class Repeating(Again):
    """Poses as many questions as are wanted, whatever rows there are."""

    def pose(self, data, n, generator):
        rows = data.take(torch.randint(len(data), (n,), generator=generator))
        return Examples(map_state(torch.zeros_like, rows.x), rows.cond), rows


class Telling(Again):
    """Hands the truth over with the question."""

    def pose(self, data, n, generator):
        truth = some_rows(data, n, generator)
        return truth, truth


class Overwriting(Inpaint):
    """Forgets what was given."""

    def __call__(self, flow, asked, *, seed=0):
        with flow.evaluating():
            return Examples(flow.solve(len(asked), seed=seed).x, asked.cond)


class Refusing(Again):
    def __call__(self, flow, examples, *, seed=0):
        raise IncompatibleError("not for you")


class Inventive(Again):
    """Has an answer without a question."""

    def __call__(self, flow, examples, *, seed=0):
        if not len(examples):
            return Examples(flow.solve(1, seed=seed).x)
        return super().__call__(flow, examples, seed=seed)


TWINS = {
    "check_no_rows": (Inventive, ()),
    "check_poses_rows": (Repeating, ()),
    "check_hides_the_truth": (Telling, ()),
    "check_keeps_what_is_given": (Overwriting, ()),
    "check_answers_fit": (Short, ()),
    "check_is_deterministic": (Unseeded, ()),
    "check_leaves_all_alone": (Waking, ()),
    "check_example_is_read": (Misleading, ()),
    "check_reads_words": (Deaf, ()),
    "check_shows_lines": (Garrulous, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


def test_answers_written_into_the_question_are_caught(fails_exactly):
    fails_exactly(KIND, Scribbling, "check_leaves_all_alone")


@pytest.mark.parametrize("make", [Again, Inpaint])
def test_the_right_ones_pass(make):
    assert all(r.status == "passed" for r in check(make, KIND))


def test_prediction_wants_conditions():
    label = torch.arange(64) % 2
    data = Tensors(torch.randn(64, 2, generator=torch.Generator().manual_seed(0)), {"label": label})
    assert all(r.ok for r in check(Predict, KIND, data=data))
    assert any(not r.ok for r in check(Predict, KIND))


def test_one_that_refuses_every_flow_fails():
    assert [r.name for r in check(Refusing, KIND) if not r.ok] == ["check_is_not_vacuous"]


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
