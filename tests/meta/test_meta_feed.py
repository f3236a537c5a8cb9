"""Wrong feeds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flowloom.data import EightGaussians
from flowloom.data.toy import endless_gaussians
from flowloom.training import Replay, Rows, Stream

KIND = "feed"
DATA = EightGaussians(256)


def rows(twin):
    return lambda: twin(DATA)


class Short(Rows):
    """A row less than was asked for."""

    def rows(self, number):
        return super().rows(number)[:-1]


class Counts(Rows):
    """Goes on from where it stands, whatever number it is asked for."""

    asked = -1

    def rows(self, number):
        self.asked += 1
        return super().rows(self.asked)


class Same(Rows):
    """The first batch for ever, noise included."""

    def batch(self, number, generator):
        return super().batch(0, torch.Generator().manual_seed(3))


class Forgetful(Replay):
    """Its buffer is in no checkpoint."""

    def __init__(self):
        super().__init__(DATA, fresh=16, capacity=24, every=3)

    def tensors(self):
        return {}

    def restore(self, tensors):
        pass


class Peeks(Rows):
    """Asks the network where to start."""

    def batch(self, number, generator):
        batch = super().batch(number, generator)
        flow = self.feeding.flow
        moved = flow.model(batch.x0, torch.zeros(len(batch.x1)), **batch.cond)
        return replace(batch, x0=batch.x0 + moved)


class Unlocked(Stream):
    """Keeps its place in the stream instead of the number of the batch."""

    place = 0

    def __init__(self):
        super().__init__(endless_gaussians)

    def batch(self, number, generator):
        self.place += 1
        return super().batch(self.place - 1, generator)


TWINS = {
    "check_batches": (rows(Short), ()),
    "check_same_number_same_batch": (
        rows(Counts),
        ("check_resumes", "check_prefetch"),
    ),
    "check_batches_differ": (rows(Same), ()),
    "check_resumes": (Forgetful, ()),
    "check_prefetch": (rows(Peeks), ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    twin, also = TWINS[target]
    fails_exactly(KIND, twin, target, also)


def test_a_stream_that_counts_by_itself_is_caught(fails_exactly):
    fails_exactly(KIND, Unlocked, "check_resumes", ("check_same_number_same_batch", "check_prefetch"))


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
