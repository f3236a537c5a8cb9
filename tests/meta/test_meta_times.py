"""Wrong time laws."""

from __future__ import annotations

import pytest
import torch

from flowloom.draw import GLOBAL
from flowloom.times import Uniform

KIND = "times"


class Spills(Uniform):
    """The quantile is right, but draws are shifted beyond latest."""

    def sample(self, n, draw=GLOBAL):
        return super().sample(n, draw) + 1e-4


class Backwards(Uniform):
    """Also the uniform law, but the quantile falls."""

    def quantile(self, u):
        return 1 - u


class Skewed(Uniform):
    """Draws squared times, and says uniform."""

    def sample(self, n, draw=GLOBAL):
        return super().sample(n, draw) ** 1.2


class Global(Uniform):
    def sample(self, n, draw=GLOBAL):
        return torch.rand(n, dtype=draw.dtype)


class Clumps(Uniform):
    """Says stratified and is plain."""

    def __init__(self):
        super().__init__(stratified=True)

    def sample(self, n, draw=GLOBAL):
        return torch.rand(n, generator=draw.generator, dtype=draw.dtype)


class Elsewhere(Uniform):
    """Draws as its quantile says, on [0, 1], and says that it draws between 1 and 8."""

    support = (1.0, 8.0)


class Ordered(Uniform):
    """Stratified, but early rows get early times."""

    def __init__(self):
        super().__init__(stratified=True)

    def sample(self, n, draw=GLOBAL):
        return super().sample(n, draw).sort().values


TWINS = {
    "check_range": (Spills, ()),
    "check_quantile_is_monotone": (Backwards, ("check_draws_follow_the_quantile",)),
    "check_draws_follow_the_quantile": (Skewed, ()),
    "check_follows_its_generator": (Global, ()),
    "check_stratified_is_even": (Clumps, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


def test_ordered_strata_are_caught(fails_exactly):
    fails_exactly(KIND, Ordered, "check_stratified_is_even")


def test_another_support_is_caught(fails_exactly):
    fails_exactly(KIND, Elsewhere, "check_range", ("check_quantile_is_monotone",))


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
