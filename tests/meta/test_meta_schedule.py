"""Wrong schedules."""

from __future__ import annotations

import math

import pytest
import torch

from flowloom.clashes import problems
from flowloom.errors import IncompatibleError
from flowloom.geometry import Discrete, Euclidean
from flowloom.paths import AffinePath, GeodesicPath, MixturePath
from flowloom.schedules import CondOT, Cosine, LinearVP, Polynomial, Schedule
from flowloom.sources import Gaussian
from flowloom.testing import check

KIND = "schedule"


class StopsEarly(CondOT):
    """Ten per cent of the source is left at t=1."""

    def sigma(self, t):
        return 1 - 0.9 * t

    def d_sigma(self, t):
        return torch.full_like(t, -0.9)

    def time_of_ratio(self, rho):
        return torch.where(rho.isinf(), 1.0, rho / (1 + 0.9 * torch.where(rho.isinf(), 0.0, rho))).to(
            rho.dtype
        )


class Rises(Schedule):
    """sigma = (1 - t)(1 + 2 t) rises before it falls; the ratio still rises throughout."""

    def alpha(self, t):
        return t

    def sigma(self, t):
        return (1 - t) * (1 + 2 * t)

    def d_alpha(self, t):
        return torch.ones_like(t)

    def d_sigma(self, t):
        return 1 - 4 * t


class HalfSlope(Polynomial):
    def d_sigma(self, t):
        return 0.5 * super().d_sigma(t)


class NoInverse(Cosine):
    def time_of_ratio(self, rho):
        return rho / (1 + rho)


class Diverges(LinearVP):
    def d_sigma(self, t):
        return -t / self.sigma(t)


class Upcasts(CondOT):
    def d_sigma(self, t):
        return torch.full(t.shape, -1.0)


class ByIdentity(CondOT):
    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


class OnlyAddsNoise(Schedule):
    """Variance exploding: the data as they are, under noise of 1 (of a source of 80, say) down to 2e-5."""

    leaves = 1.0

    def alpha(self, t):
        return torch.ones_like(t)

    def sigma(self, t):
        return torch.full_like(t, 2e-5) ** t

    def d_alpha(self, t):
        return torch.zeros_like(t)

    def d_sigma(self, t):
        return math.log(2e-5) * self.sigma(t)


class KeepsDataUnsaid(OnlyAddsNoise):
    leaves = 0.0


class StartsWide(OnlyAddsNoise):
    """The noise's own size is the source's business."""

    def sigma(self, t):
        return 80 * super().sigma(t)


TWINS = {
    "check_ends": (StopsEarly, ()),
    "check_monotone": (Rises, ()),
    "check_derivatives": (HalfSlope, ()),
    "check_time_of_ratio": (NoInverse, ()),
    "check_finite": (Diverges, ()),
    "check_shape_and_dtype": (Upcasts, ()),
    "check_equality": (ByIdentity, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)


@pytest.mark.parametrize("make", [KeepsDataUnsaid, StartsWide])
def test_other_ends_than_it_says_are_caught(make, fails_exactly):
    fails_exactly(KIND, make, "check_ends")


def test_a_schedule_may_leave_the_data_beside_a_wide_source():
    assert all(r.ok for r in check(OnlyAddsNoise, KIND))
    path = AffinePath(OnlyAddsNoise())
    assert all(r.ok for r in check(lambda: AffinePath(OnlyAddsNoise()), "path"))
    for source, fits in ((Gaussian(80.0), True), (Gaussian(), False)):
        said = problems({"path": path, "source": source, "geometry": Euclidean()})
        assert not said if fits else "much wider" in said[0].message
    for make in (GeodesicPath, lambda schedule: MixturePath(Discrete(3), schedule)):
        with pytest.raises(IncompatibleError, match="starts at x0 alone"):
            make(schedule=OnlyAddsNoise())
