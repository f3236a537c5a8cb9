"""The ancestral sampler beside DDPM's own algorithm, written out with its betas."""

from __future__ import annotations

import itertools

import pytest
import torch

from flowloom.clashes import problems
from flowloom.errors import IncompatibleError
from flowloom.fields import Field
from flowloom.geometry import Sphere
from flowloom.objectives import FlowMatching
from flowloom.paths import AffinePath, GeodesicPath
from flowloom.schedules import VP, CondOT, Cosine
from flowloom.solvers import Ancestral
from flowloom.sources import Gaussian, Uniform


class Predicts(Field):
    """The data as a function of the state alone."""

    kind = "data"

    def __init__(self, data, schedule, source=None):
        self.data, self.path, self.source = data, AffinePath(schedule), source or Gaussian()

    def __call__(self, x, t, cond):
        return self.data(x)


def normal(seed=0, n=5):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("schedule", [VP(), Cosine()])
def test_a_chain_is_that_of_ddpm(schedule):
    """2006.11239, algorithm 2 with equation 7: mean and smaller variance, from betas, data clipped."""
    steps, x = 7, normal()
    found = Ancestral(steps, clip=1.0).solve(
        Predicts(torch.sin, schedule), x, generator=torch.Generator().manual_seed(3)
    )
    bar = schedule.alpha(torch.arange(steps + 1).double() / steps).square().tolist()
    draws = torch.Generator().manual_seed(3)
    for now, then in itertools.pairwise(bar):
        alpha = now / then
        beta = 1 - alpha
        data = torch.sin(x).clamp(-1, 1)
        mean = (then**0.5 * beta * data + alpha**0.5 * (1 - then) * x) / (1 - now)
        variance = (1 - then) / (1 - now) * beta
        x = mean + (variance**0.5 * torch.randn(x.shape, generator=draws, dtype=x.dtype) if then < 1 else 0)
    assert found.nfe == steps
    assert torch.allclose(found.x, x, atol=1e-12)


def test_without_noise_it_is_ddim_and_exact_for_exact_data():
    """2010.02502: one step is as good as many where the predicted data do not change."""
    to, x = normal(1), normal()
    field = Predicts(lambda x: to, CondOT())
    for steps in (1, 4):
        found = Ancestral(steps, eta=0.0).solve(field, x, span=(0.0, 0.75)).x
        assert torch.allclose(found, 0.25 * x + 0.75 * to, atol=1e-12)


def test_data_are_clipped_only_when_asked():
    far = Predicts(lambda x: torch.full_like(x, 7.0), VP())
    assert Ancestral(4).solve(far, normal(), generator=torch.Generator()).x.min() > 6
    assert Ancestral(4, clip=1.0).solve(far, normal(), generator=torch.Generator()).x.max() == 1


def test_noise_has_the_size_of_the_source():
    field = Predicts(torch.zeros_like, CondOT(), Gaussian(3.0))
    x = 3 * normal(n=4000)
    x = Ancestral(8).solve(field, x, span=(0.0, 0.5), generator=torch.Generator().manual_seed(1)).x
    assert float(x.std()) == pytest.approx(1.5, rel=0.03)


def test_what_it_cannot_sample_is_refused():
    with pytest.raises(IncompatibleError, match="Gaussian source"):
        Ancestral(4).solve(Predicts(torch.sin, VP(), Uniform(Sphere(2))), normal())
    with pytest.raises(IncompatibleError, match="must increase"):
        Ancestral(4).solve(Predicts(torch.sin, VP()), normal(), span=(1.0, 0.0))
    for wrong in ({"eta": 1.5}, {"clip": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Ancestral(4, **wrong)
    curved = FlowMatching(GeodesicPath(Sphere(2)))
    assert problems({"objective": curved, "solver": Ancestral(), "source": Uniform(Sphere(2))})
    assert not problems({"objective": FlowMatching(), "solver": Ancestral(), "source": Gaussian()})
