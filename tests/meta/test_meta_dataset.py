"""Wrong data sets."""

from __future__ import annotations

import contextlib
import socket

import pytest
import torch

from flowloom.data import Examples, Moons
from flowloom.errors import DataError
from flowloom.spec import Condition, Spec

KIND = "dataset"


class Base(Moons):
    def __init__(self, n=200, seed=0):
        super().__init__(n, seed)


class WrongShape(Base):
    @property
    def spec(self):
        return Spec((3,), conditions={"label": Condition(2)})


class OverLimits(Base):
    @property
    def spec(self):
        return Spec((2,), conditions={"label": Condition(2)}, limits=(-1.0, 1.0))


class TooFewClasses(Base):
    @property
    def spec(self):
        return Spec((2,), conditions={"label": Condition(1)})


class Unannounced(Base):
    def take(self, rows):
        examples = super().take(rows)
        return Examples(examples.x, {**examples.cond, "colour": rows})


class Augments(Base):
    """Adds noise of its own at every request."""

    def take(self, rows):
        examples = super().take(rows)
        return Examples(examples.x + 0.01 * torch.randn(len(rows), 2), examples.cond)


class Constant(Base):
    def take(self, rows):
        return super().take(torch.zeros_like(rows))


class Leaks(Base):
    """Its test split is its training split in another order."""

    def split(self, name):
        if name == "test":
            other = Base(self.n, self.seed)
            whole = other.all().take(torch.arange(self.n - 1, -1, -1))
            other._drawn = whole
            return other
        return self if name == "train" else super().split(name)


class AnySplit(Base):
    """Answers with the training split whatever it is asked for, but for the known ones."""

    def split(self, name):
        try:
            return super().split(name)
        except DataError:
            return self


class Online(Base):
    def take(self, rows):
        with socket.socket() as s:
            s.settimeout(0.01)
            with contextlib.suppress(ConnectionError, TimeoutError):
                s.connect(("127.0.0.1", 9))
        return super().take(rows)


class HoldsHandle(Base):
    """Keeps something open that cannot be pickled."""

    def take(self, rows):
        self.handle = lambda: None
        return super().take(rows)


TWINS = {
    "check_spec_is_honoured": (WrongShape, ()),
    "check_conditions_are_honoured": (TooFewClasses, ()),
    "check_rows_are_deterministic": (Augments, ("check_pickles",)),
    "check_rows_differ": (Constant, ()),
    "check_splits_are_disjoint": (Leaks, ()),
    "check_unknown_split": (AnySplit, ()),
    "check_works_offline": (Online, ()),
    "check_pickles": (HoldsHandle, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


@pytest.mark.parametrize(
    ("make", "target"),
    [(OverLimits, "check_spec_is_honoured"), (Unannounced, "check_conditions_are_honoured")],
)
def test_others_are_caught(make, target, fails_exactly):
    fails_exactly(KIND, make, target)


def test_the_network_is_given_back():
    from flowloom.testing import check

    before = socket.socket.connect
    check(Base, KIND)
    assert socket.socket.connect is before


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
