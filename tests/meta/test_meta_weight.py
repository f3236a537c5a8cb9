"""Wrong weights."""

from __future__ import annotations

import pytest
import torch

from flowloom.weights import Constant

KIND = "weight"


class Infinite(Constant):
    def __call__(self, t):
        return 1 / (1 - t)


class Negative(Constant):
    def __call__(self, t):
        return t - 0.1


class PerBatch(Constant):
    def __call__(self, t):
        return torch.ones(t.shape[0], dtype=t.dtype)


TWINS = {
    "check_positive_and_finite": (Infinite, ()),
    "check_shape_and_dtype": (PerBatch, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


def test_negative_weights_are_caught(fails_exactly):
    fails_exactly(KIND, Negative, "check_positive_and_finite")


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
