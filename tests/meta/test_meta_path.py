"""Wrong paths."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flowloom.geometry import Discrete, Sphere
from flowloom.paths import AffinePath, GeodesicPath, MixturePath
from flowloom.schedules import Cosine
from flowloom.state import expand

KIND = "path"


class Swapped(AffinePath):
    """t=0 at the data, as some repositories have it."""

    def sample(self, x0, x1, t, *, generator=None):
        point = super().sample(x1, x0, t)
        return replace(point, x0=x0, x1=x1)


class Forgetful(AffinePath):
    def sample(self, x0, x1, t, *, generator=None):
        return replace(super().sample(x0, x1, t), x0=x1)


class WrongVelocity(AffinePath):
    """The straight line's velocity on a trigonometric path."""

    def __init__(self):
        super().__init__(Cosine())

    def sample(self, x0, x1, t, *, generator=None):
        return replace(super().sample(x0, x1, t), velocity=x1 - x0)


class Chord(GeodesicPath):
    """Straight through the sphere."""

    def __init__(self):
        super().__init__(Sphere(2))

    def sample(self, x0, x1, t, *, generator=None):
        point = super().sample(x0, x1, t)
        return replace(point, x_t=torch.lerp(x0, x1, expand(t, x0)))


class NoiseForData(AffinePath):
    """Takes the noise for minus the data."""

    def converted(self, value, x, t, given, wanted, source):
        made = super().converted(value, x, t, given, wanted, source)
        return -made if wanted == "noise" else made


class FirstTime(AffinePath):
    """All rows at the time of the first."""

    def sample(self, x0, x1, t, *, generator=None):
        return super().sample(x0, x1, t[:1].expand(t.shape))


class MeanToken(AffinePath):
    """All tokens of a row at their mean time."""

    def sample(self, x0, x1, t, *, generator=None):
        return super().sample(x0, x1, t.flatten(1).mean(1) if t.ndim > 1 else t)


class Upcasts(AffinePath):
    def sample(self, x0, x1, t, *, generator=None):
        point = super().sample(x0, x1, t)
        return replace(point, x_t=point.x_t.double())


class Global(MixturePath):
    def __init__(self):
        super().__init__(Discrete(4))

    def sample(self, x0, x1, t, *, generator=None):
        return super().sample(x0, x1, t)


class WholeRows(MixturePath):
    """All tokens of a row arrive together."""

    def __init__(self):
        super().__init__(Discrete(4))

    def sample(self, x0, x1, t, *, generator=None):
        point = super().sample(x0, x1, t, generator=generator)
        if t.ndim > 1:
            return point
        draws = torch.rand(len(t), generator=generator)
        return replace(point, x_t=torch.where(expand(draws < t, x1), x1, x0))


class Early(MixturePath):
    """Tokens arrive with probability sqrt(t)."""

    def __init__(self):
        super().__init__(Discrete(4))

    def sample(self, x0, x1, t, *, generator=None):
        return replace(super().sample(x0, x1, t.sqrt(), generator=generator), t=t)


TWINS = {
    "check_ends": (Swapped, ("check_conversions", "check_times_per_token")),
    "check_point_is_complete": (Forgetful, ()),
    "check_velocity_is_the_derivative": (WrongVelocity, ("check_conversions",)),
    "check_stays_on_the_geometry": (Chord, ("check_conversions", "check_velocity_is_the_derivative")),
    "check_conversions": (NoiseForData, ()),
    "check_times_per_row": (
        FirstTime,
        ("check_conversions", "check_point_is_complete", "check_times_per_token"),
    ),
    "check_times_per_token": (MeanToken, ()),
    "check_dtype_is_kept": (Upcasts, ()),
    "check_follows_its_generator": (Global, ()),
    "check_mixture_marginal": (WholeRows, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


def test_wrong_share_is_caught(fails_exactly):
    fails_exactly(KIND, Early, "check_mixture_marginal")


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
