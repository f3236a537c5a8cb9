"""Wrong tasks."""

from __future__ import annotations

import pytest
import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.state import map_state
from flowloom.tasks import Task
from flowloom.testing import check

KIND = "task"


class Again(Task):
    """Draws anew under the conditions of the examples: the simplest question there is."""

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
    "check_answers_fit": (Short, ()),
    "check_is_deterministic": (Unseeded, ()),
    "check_leaves_all_alone": (Waking, ()),
    "check_reads_words": (Deaf, ()),
    "check_shows_lines": (Garrulous, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


def test_answers_written_into_the_question_are_caught(fails_exactly):
    fails_exactly(KIND, Scribbling, "check_leaves_all_alone")


def test_the_right_one_passes():
    assert all(r.status == "passed" for r in check(Again, KIND))


def test_one_that_refuses_every_flow_fails():
    assert [r.name for r in check(Refusing, KIND) if not r.ok] == ["check_is_not_vacuous"]


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
