"""Wrong metrics."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from flowloom.data import Tensors
from flowloom.layout import Layout
from flowloom.metrics import (
    CRPS,
    MSE,
    PSNR,
    Accuracy,
    BestOf,
    Calibration,
    EnergyDistance,
    EnergyScore,
    Metric,
    SlicedWasserstein,
)
from flowloom.testing import check

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


class FirstOnly(SlicedWasserstein):
    """Compares row by row, and looks at the first draw alone."""

    paired = True

    def __call__(self, samples, real):
        free = (real.layout or Layout()).still(samples.x[: len(real)] - real.x)
        return {"sliced_wasserstein": float(free.square().mean().sqrt())}


class LikesOthers(SlicedWasserstein):
    """Best where answers are some distance from the truth of their row."""

    paired = True

    def __call__(self, samples, real):
        off = (real.layout or Layout()).still(samples.x - real.x.repeat(len(samples) // len(real), 1))
        return {"sliced_wasserstein": 2.0 + float(off.square().sum(1).sqrt().mean() * -0.01)}


TWINS = {
    "check_no_rows": (OfNothing, ()),
    "check_draws_have_no_order": (FirstOnly, ("check_no_rows",)),
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


def test_a_metric_that_the_truth_is_not_best_by_is_caught():
    failed = {r.name for r in check(LikesOthers, KIND) if not r.ok}
    assert "check_is_paired" in failed


@pytest.mark.parametrize("make", [MSE, BestOf, EnergyScore, CRPS, Calibration, lambda: PSNR(data_range=8.0)])
def test_the_right_paired_ones_pass(make):
    assert all(r.ok for r in check(make, KIND)), [r for r in check(make, KIND) if not r.ok]


def test_accuracy_passes_on_tokens():
    x = torch.randint(5, (300, 6), generator=torch.Generator().manual_seed(0))
    assert all(r.ok for r in check(Accuracy, KIND, data=Tensors(x)))


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
