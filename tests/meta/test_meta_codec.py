"""Wrong codecs."""

from __future__ import annotations

import pytest
import torch

from flowloom.codecs import Standardize
from flowloom.spec import Spec

KIND = "codec"
SPEC = Spec((3,))


class Rounds(Standardize):
    def decode(self, x):
        return super().decode(x).round()


class Flattens(Standardize):
    """Adds an entry that its spec does not announce."""

    def encode(self, x):
        return torch.cat([super().encode(x), torch.zeros(len(x), 1)], 1)

    def decode(self, x):
        return super().decode(x[:, :-1])


class BatchStatistics(Standardize):
    """Standardises every batch by itself, and remembers the last for decoding."""

    def encode(self, x):
        self.mean, self.std = x.mean(0), x.std(0, correction=0) + 1e-3
        return super().encode(x)


class Unsaved(Standardize):
    """Keeps a statistic outside its state."""

    def fit(self, data):
        super().fit(data)
        self.extra = 2.0

    def encode(self, x):
        return super().encode(x) * getattr(self, "extra", 1.0)

    def decode(self, x):
        return super().decode(x / getattr(self, "extra", 1.0))


class RandomFit(Standardize):
    def fit(self, data):
        super().fit(data)
        self.mean = self.mean + torch.rand(3)


TWINS = {
    "check_round_trip": (Rounds, ()),
    "check_spec": (Flattens, ()),
    "check_rows_are_independent": (BatchStatistics, ()),
    "check_state_round_trip": (Unsaved, ()),
    "check_fit_is_deterministic": (RandomFit, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    twin, also = TWINS[target]
    fails_exactly(KIND, lambda: twin(SPEC), target, also)


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
