"""Wrong codecs."""

from __future__ import annotations

import pytest
import torch

from flowloom.codecs import Standardize
from flowloom.data import Examples
from flowloom.spec import Condition, Spec

KIND = "codec"
SPEC = Spec((3,), conditions={"label": Condition(3)})


class Rounds(Standardize):
    def decode_state(self, x):
        return super().decode_state(x).round()


class Flattens(Standardize):
    """Adds an entry that its spec does not announce."""

    def encode_state(self, x):
        return torch.cat([super().encode_state(x), torch.zeros(len(x), 1)], 1)

    def decode_state(self, x):
        return super().decode_state(x[:, :-1])


class BatchStatistics(Standardize):
    """Standardises every batch by itself, and remembers the last for decoding."""

    def encode_state(self, x):
        self.mean, self.std = x.mean(0), x.std(0, correction=0) + 1e-3
        return super().encode_state(x)


class Unsaved(Standardize):
    """Keeps a statistic outside its state."""

    def fit(self, data, flow=None, generator=None):
        super().fit(data)
        self.extra = 2.0

    def encode_state(self, x):
        return super().encode_state(x) * getattr(self, "extra", 1.0)

    def decode_state(self, x):
        return super().decode_state(x / getattr(self, "extra", 1.0))


class RandomFit(Standardize):
    def fit(self, data, flow=None, generator=None):
        super().fit(data)
        self.mean = self.mean + torch.rand(3)


class GlobalDraws(Standardize):
    """Dequantises with the global generator."""

    def encode_state(self, x):
        return super().encode_state(x + 1e-3 * torch.rand(x.shape))


class ForgetsConditions(Standardize):
    def encode(self, examples, generator=None):
        return Examples(self.encode_state(examples.x))


class ForgetsConditionsAlone(Standardize):
    """Counts classes from the other end, but only where there are examples."""

    def encode(self, examples, generator=None):
        return Examples(self.encode_state(examples.x), {"label": 2 - examples.cond["label"]})


class WrongVolume(Standardize):
    def log_det(self, examples):
        return -super().log_det(examples)


TWINS = {
    "check_round_trip": (Rounds, ()),
    "check_spec": (Flattens, ()),
    "check_rows_are_independent": (BatchStatistics, ()),
    "check_state_round_trip": (Unsaved, ("check_log_det",)),
    "check_fit_is_deterministic": (RandomFit, ()),
    "check_draws_follow_the_generator": (
        GlobalDraws,
        ("check_state_round_trip", "check_fit_is_deterministic"),
    ),
    "check_conditions_stay": (ForgetsConditions, ()),
    "check_conditions_alone": (ForgetsConditionsAlone, ()),
    "check_log_det": (WrongVolume, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    twin, also = TWINS[target]
    fails_exactly(KIND, lambda: twin(SPEC), target, also)


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
