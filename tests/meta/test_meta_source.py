"""Wrong sources."""

from __future__ import annotations

import math

import pytest
import torch

from flowloom.draw import GLOBAL, Draw
from flowloom.geometry import Sphere
from flowloom.sources import Gaussian, Uniform

KIND = "source"


class Doubled(Gaussian):
    """Twice as many rows as asked for."""

    def noise(self, shape, draw=GLOBAL, **settings):
        return super().noise((2 * shape[0], *shape[1:]), draw, **settings)


class Single(Gaussian):
    """Ignores the dtype asked for."""

    def noise(self, shape, draw=GLOBAL, **settings):
        return super().noise(shape, draw.in_dtype(None), **settings)


class Global(Gaussian):
    def noise(self, shape, draw=GLOBAL, *, cond=None):
        return super().noise(shape, Draw(dtype=draw.dtype))


class OneRow(Gaussian):
    """All rows are copies of one draw; says nothing of a density."""

    gaussian = False

    def noise(self, shape, draw=GLOBAL, **settings):
        return super().noise((1, *shape[1:]), draw, **settings).expand(shape)

    def log_prob(self, x, cond=None, layout=None):
        from flowloom.errors import IncompatibleError

        raise IncompatibleError("no density")


class Unnormalised(Gaussian):
    gaussian = False

    def log_prob(self, x, cond=None, layout=None):
        return super().log_prob(x, cond, layout) + 0.1


class OtherDensity(Gaussian):
    """Draws with one spread, scores with another."""

    gaussian = False

    def log_prob(self, x, cond=None, layout=None):
        return Gaussian(0.8).log_prob(x, cond, layout)


class Laplace(Gaussian):
    """Calls itself Gaussian."""

    def noise(self, shape, draw=GLOBAL, *, cond=None):
        u = torch.rand(shape, generator=draw.generator, dtype=draw.dtype) - 0.5
        return -u.sign() * (1 - 2 * u.abs()).clamp_min(1e-12).log() / math.sqrt(2)


class OffSphere(Uniform):
    def __init__(self):
        super().__init__(Sphere(2))

    def noise(self, shape, draw=GLOBAL, **settings):
        return super().noise(shape, draw, **settings) * 1.001


class CountsPadding(Uniform):
    """As many points as there are places."""

    def __init__(self):
        super().__init__(Sphere(2))

    def log_prob(self, x, cond=None, layout=None):
        return super().log_prob(x if layout is None else layout.fill(x))


class Looks(Gaussian):
    """Looks at a first row."""

    def noise(self, shape, draw=GLOBAL, *, cond=None):
        x = super().noise(shape, draw, cond=cond)
        return x + 0 * x[0]


TWINS = {
    "check_no_rows": (Looks, ()),
    "check_shape_and_dtype": (Single, ()),
    "check_follows_its_generator": (Global, ()),
    "check_rows_differ": (OneRow, ("check_no_rows",)),
    "check_density_integrates_to_one": (Unnormalised, ()),
    "check_density_matches_draws": (OtherDensity, ()),
    "check_gaussian_is_gaussian": (Laplace, ()),
    "check_lies_on_its_geometry": (OffSphere, ()),
    "check_density_under_a_layout": (CountsPadding, ()),
}


@pytest.mark.parametrize("target", TWINS)
def test_wrong_twin_is_caught(target, fails_exactly):
    make, also = TWINS[target]
    fails_exactly(KIND, make, target, also)


def test_every_check_has_one(every_check_has_a_twin):
    every_check_has_a_twin(KIND, TWINS)
