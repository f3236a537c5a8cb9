"""Wrong scores."""

from __future__ import annotations

import pytest
import torch

from flowloom.scores import Likelihood

KIND = "score"


class Tensorial(Likelihood):
    """Returns tensors instead of floats."""

    def __call__(self, flow, examples, *, seed=0):
        return {k: torch.tensor(v) for k, v in super().__call__(flow, examples, seed=seed).items()}


class Misnamed(Likelihood):
    better = {"bits": "lower"}  # noqa: RUF012


class Upside(Likelihood):
    """Gives the log likelihood and says that lower is better."""

    def __call__(self, flow, examples, *, seed=0):
        return {k: -v for k, v in super().__call__(flow, examples, seed=seed).items()}


class Random(Likelihood):
    """Scores a random half, drawn from the global generator."""

    def __call__(self, flow, examples, *, seed=0):
        half = torch.randperm(len(examples))[: (len(examples) + 1) // 2]
        return super().__call__(flow, examples.take(half), seed=seed)


class Stays(Likelihood):
    """Leaves the model in evaluation mode."""

    def __call__(self, flow, examples, *, seed=0):
        flow.model.eval()
        return super().__call__(flow, examples, seed=seed)


class Adapts(Likelihood):
    """Takes a training step on what it should only score."""

    def __call__(self, flow, examples, *, seed=0):
        values = super().__call__(flow, examples, seed=seed)
        with torch.no_grad():
            for weight in flow.model.parameters():
                weight.mul_(0.99)
        return values


class Lenient(Likelihood):
    """Calls nothing a perfect score."""

    def __call__(self, flow, examples, *, seed=0):
        if len(examples) == 0:
            return {"nll": 0.0}
        return super().__call__(flow, examples, seed=seed)


TWINS = {
    "check_values": (Tensorial, ()),
    "check_truth_is_better": (Upside, ()),
    "check_is_deterministic": (Random, ()),
    "check_leaves_the_flow_alone": (Stays, ()),
    "check_refuses_nothing_to_score": (Lenient, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


def test_missing_names_are_caught(fails_exactly):
    fails_exactly(KIND, Misnamed, "check_values")


def test_changed_weights_are_caught(fails_exactly):
    fails_exactly(KIND, Adapts, "check_leaves_the_flow_alone", ("check_is_deterministic",))


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
