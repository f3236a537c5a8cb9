"""Wrong metrics."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from flowloom.metrics import EnergyDistance, Metric, SlicedWasserstein

KIND = "metric"


class Tensorial(SlicedWasserstein):
    """Returns tensors instead of floats."""

    def __call__(self, samples, real):
        return {k: torch.tensor(v) for k, v in super().__call__(samples, real).items()}


class Misnamed(SlicedWasserstein):
    better = {"sw": "lower"}  # noqa: RUF012


class Upside(SlicedWasserstein):
    """Praises noise."""

    better = {"sliced_wasserstein": "higher"}  # noqa: RUF012


class Paired(SlicedWasserstein):
    """Compares row with row."""

    def __call__(self, samples, real):
        n = min(len(samples), len(real))
        return {"sliced_wasserstein": float((samples.x[:n] - real.x[:n]).square().mean().sqrt())}


class Random(Metric):
    """Draws its projections from the global generator."""

    better = {"projected": "lower"}  # noqa: RUF012

    def __call__(self, samples, real):
        u = torch.randn(2)
        a, b = (samples.x @ u).sort().values, (real.x @ u).sort().values
        return {"projected": float((a - b).abs().mean()) / math.sqrt(2)}


class CountsPadding(SlicedWasserstein):
    def __call__(self, samples, real):
        return super().__call__(*(replace(e, x=e.x.nan_to_num(3.0), layout=None) for e in (samples, real)))


class Unpaired(SlicedWasserstein):
    """Says that it compares row by row, and compares sets."""

    paired = True


class OfNothing(EnergyDistance):
    """Answers nothing with no number."""

    def __call__(self, samples, real):
        if not len(samples) or not len(real):
            return {"energy_distance": float("nan")}
        return super().__call__(samples, real)


TWINS = {
    "check_no_rows": (OfNothing, ()),
    "check_is_paired": (Unpaired, ()),
    "check_values": (Tensorial, ()),
    "check_real_beats_noise": (Upside, ()),
    "check_order_does_not_matter": (Paired, ("check_padding_counts_nothing", "check_no_rows")),
    "check_padding_counts_nothing": (CountsPadding, ()),
    "check_is_deterministic": (
        Random,
        ("check_order_does_not_matter", "check_padding_counts_nothing", "check_no_rows"),
    ),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


def test_missing_names_are_caught(fails_exactly):
    fails_exactly(KIND, Misnamed, "check_values")


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
