"""Wrong energies."""

from __future__ import annotations

import pytest

from flowloom.energies import GaussianMixture

KIND = "energy"


class OneForAll(GaussianMixture):
    """One number for the whole batch, handed to every row."""

    def __call__(self, x, cond):
        return super().__call__(x, cond).mean().expand(len(x))


class NoGradient(GaussianMixture):
    """Values without their gradient: a constant one in its place."""

    def __call__(self, x, cond):
        value = super().__call__(x.detach(), cond)
        return value + x.sum(1) - x.sum(1).detach()


class Single(GaussianMixture):
    """Answers in single precision whatever it is asked in."""

    def __call__(self, x, cond):
        return super().__call__(x.float(), cond)


class Column(GaussianMixture):
    """One column instead of one number."""

    def __call__(self, x, cond):
        return super().__call__(x, cond)[:, None]


TWINS = {
    "check_rows_are_independent": (OneForAll, ("check_gradient",)),
    "check_gradient": (NoGradient, ()),
    "check_one_number_a_row": (Column, ("check_gradient",)),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


def test_another_precision_is_caught(fails_exactly):
    fails_exactly(KIND, Single, "check_one_number_a_row", ("check_gradient",))


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
