"""Wrong couplings."""

from __future__ import annotations

import pytest
import torch

from flowloom.couplings import Independent, OptimalTransport, Sinkhorn
from flowloom.layout import Layout
from flowloom.state import take

KIND = "coupling"


class Floats(OptimalTransport):
    def rows(self, x0, x1, cond, layout=None, *, generator=None):
        return super().rows(x0, x1, cond, layout).double()


class Nearest(OptimalTransport):
    """The nearest x0 of every x1: some x0 are used twice, some never."""

    def solve(self, cost, generator):
        return cost.argmin(0)


class Skewed(Sinkhorn):
    """Draws from the plan's rows instead of its columns: half of the x0 are never used."""

    def __init__(self):
        super().__init__(draw="plan")

    def solve(self, cost, generator):
        return torch.randint((len(cost) + 1) // 2, (len(cost),), generator=generator)


class Crosses(OptimalTransport):
    """Announces groups, and couples the whole batch."""

    def __init__(self):
        super().__init__(within="label")

    def rows(self, x0, x1, cond, layout=None, *, generator=None):
        return OptimalTransport().rows(x0, x1, cond, layout)


class Global(Sinkhorn):
    def solve(self, cost, generator):
        return super().solve(cost, None)


class InPlace(OptimalTransport):
    def rows(self, x0, x1, cond, layout=None, *, generator=None):
        rows = super().rows(x0, x1, cond, layout)
        x0.copy_(take(x0, rows))
        return rows


class ByPlace(OptimalTransport):
    """Reverses the batch: pairs are made by position."""

    def rows(self, x0, x1, cond, layout=None, *, generator=None):
        return torch.arange(len(x0)).flip(0)


class Farthest(OptimalTransport):
    def solve(self, cost, generator):
        return super().solve(-cost, generator)


class Invents(OptimalTransport):
    """Adds a little noise of its own."""

    def pair(self, x0, x1, cond, layout=None, *, generator=None):
        return super().pair(x0, x1, cond, layout, generator=generator) + 1e-3


class CountsPadding(OptimalTransport):
    def rows(self, x0, x1, cond, layout=None, *, generator=None):
        return super().rows(x0, x1.nan_to_num(), cond, Layout())


class CountsGiven(OptimalTransport):
    def rows(self, x0, x1, cond, layout=None, *, generator=None):
        return super().rows(x0, x1, cond, layout and Layout(layout.real))


class Ranks(OptimalTransport):
    """Begins at the dearest pair, which an empty batch has not."""

    def rows(self, x0, x1, cond, layout=None, *, generator=None):
        x0.flatten().max()
        return super().rows(x0, x1, cond, layout)


class Stretches(Independent):
    """Says that it moves points by symmetries of their law, and draws them together."""

    moves = True

    def pair(self, x0, x1, cond, layout=None, *, generator=None):
        return 0.9 * x0


TWINS = {
    "check_no_rows": (Ranks, ()),
    "check_moves_are_symmetries": (Stretches, ()),
    "check_rows_are_indices": (
        Floats,
        (
            "check_rows_are_a_permutation",
            "check_cost_is_not_raised",
            "check_pairing_rearranges",
            "check_layout_is_respected",
            "check_no_rows",
        ),
    ),
    "check_rows_are_a_permutation": (Nearest, ("check_pairing_rearranges",)),
    "check_marginal_in_expectation": (Skewed, ()),
    "check_within_groups": (Crosses, ()),
    "check_follows_its_generator": (Global, ("check_layout_is_respected",)),
    "check_order_does_not_matter": (ByPlace, ()),
    "check_cost_is_not_raised": (Farthest, ()),
    "check_pairing_rearranges": (Invents, ()),
    "check_layout_is_respected": (CountsPadding, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


def test_changed_inputs_are_caught(fails_exactly):
    fails_exactly(KIND, InPlace, "check_follows_its_generator", ("check_no_rows",))


def test_right_couplings_have_no_failures(fails_exactly):
    with pytest.raises(AssertionError, match="the twin passes"):
        fails_exactly(KIND, Independent, "check_rows_are_a_permutation")


def test_given_entries_that_count_are_caught(fails_exactly):
    fails_exactly(KIND, CountsGiven, "check_layout_is_respected")


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
