"""Baselines against laws that are known: regression, shrinkage, frequencies, curved spaces."""

from __future__ import annotations

import math

import pytest
import torch

from flowloom.baselines import ConditionalGaussian, draw_baseline, name_of
from flowloom.baselines.gaussian import _ridge
from flowloom.data import Examples, Tensors
from flowloom.errors import IncompatibleError
from flowloom.geometry import FlatTorus, Sphere
from flowloom.layout import Layout
from flowloom.spec import Condition, Spec


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def test_draws_have_the_conditional_law_of_the_gaussian():
    """Mean and covariance of x given two of four entries, by the block formula of the true covariance."""
    a = noise(4, 4) + torch.eye(4)
    cov, mean = a @ a.T, torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    law = ConditionalGaussian(mean + noise(40_000, 4, seed=1) @ a.T)
    known, told = (
        torch.tensor([True, False, False, True]),
        torch.tensor([2.0, 0.0, 0.0, 1.0], dtype=torch.float64),
    )
    n = 20_000
    x = law.draw(known.expand(n, 4), told.expand(n, 4), generator(2))
    assert torch.equal(x[:, known], told[known].expand(n, 2))
    gain = cov[~known][:, known] @ torch.linalg.inv(cov[known][:, known])
    wanted = mean[~known] + gain @ (told - mean)[known]
    left = cov[~known][:, ~known] - gain @ cov[known][:, ~known]
    scale = left.diagonal().sqrt()
    assert ((x[:, ~known].mean(0) - wanted).abs() / scale < 0.05).all()
    assert torch.allclose(
        x[:, ~known].T.cov() / scale / scale[:, None], left / scale / scale[:, None], atol=0.05
    )


def test_nothing_known_is_the_gaussian_of_the_rows():
    rows = noise(50, 3) @ noise(3, 3, seed=1)
    x = ConditionalGaussian(rows).draw(
        torch.zeros(40_000, 3, dtype=torch.bool), torch.zeros(40_000, 3), generator()
    )
    assert torch.allclose(x.mean(0), rows.mean(0), atol=0.05)
    assert torch.allclose(x.T.cov(), rows.T.cov(), atol=0.15)


@pytest.mark.parametrize(("m", "d"), [(30, 8), (8, 30)])
def test_the_ridge_is_the_shrinkage_of_ledoit_and_wolf(m, d):
    """By their double sum: rho = min(b^2, d^2) / d^2, as a ridge rho / (1 - rho)."""
    x = noise(m, d) @ (torch.eye(d, dtype=torch.float64) + 0.3)
    x = x - x.mean(0)
    s = x.T @ x / m
    apart = (s - s.trace() / d * torch.eye(d)).square().sum()
    spread = sum((row[:, None] * row - s).square().sum() for row in x) / m**2
    share = float(min(spread / apart, torch.tensor(1.0)))
    assert _ridge(x) == pytest.approx(share / (1 - share))


def test_fewer_rows_than_entries_are_a_regular_case():
    """Regression on 60 entries from 20 rows: no worse than telling the mean, on rows not seen."""
    loading = noise(1, 60, seed=5)
    hidden = noise(220, 1, seed=6)
    x = hidden @ loading + 0.5 * noise(220, 60, seed=7)
    law = ConditionalGaussian(x[:20])
    known = (torch.arange(60) % 2 == 0).expand(200, 60)
    drawn = law.draw(known, x[20:], generator())
    off = (drawn - x[20:])[~known].square().mean()
    assert off < 0.6 * (law.mean - x[20:])[~known].square().mean()


def linear(n: int, seed: int = 0) -> tuple[Examples, Spec]:
    """x = 3 c + noise, c a condition of two numbers, in two classes of opposite sign."""
    c, label = noise(n, 2, seed=seed).float(), torch.randint(2, (n,), generator=generator(seed))
    sign = (1 - 2 * label)[:, None]
    x = 3 * sign * c + 0.1 * noise(n, 2, seed=seed + 1).float()
    data = Tensors(x, {"c": c, "label": label})
    return data.all(), data.spec


def test_a_gaussian_is_regressed_on_numbers_within_a_class():
    (train, spec), (asked, _) = linear(2000), linear(300, seed=9)
    first, second = draw_baseline(spec, train, asked, 2, seed=3)
    for one in (first, second):
        off = one.x - asked.x
        assert float(off.square().mean().sqrt()) == pytest.approx(0.1 * 2**0.5, rel=0.1)
        assert all(torch.equal(one.cond[name], value) for name, value in asked.cond.items())
    assert not torch.equal(first.x, second.x)
    blind = Examples(asked.x + 100, asked.cond)
    assert torch.equal(
        draw_baseline(spec, train, blind, 1, seed=3)[0].x, draw_baseline(spec, train, asked, 1, seed=3)[0].x
    )
    with pytest.raises(IncompatibleError, match="condition 'c' is missing"):
        draw_baseline(spec, train, Examples(asked.x, {"label": asked.cond["label"]}))
    few = train.take((train.cond["label"] == 0).nonzero()[:, 0])
    with pytest.raises(IncompatibleError, match="class 1 of 'label' has 0 training rows"):
        draw_baseline(spec, few, asked)


def test_given_entries_of_any_row_are_kept_and_regressed_on():
    """Two entries that are nearly the same: either is told by the other."""
    base = noise(1000, 1).float()
    x = torch.cat([base, base + 0.05 * noise(1000, 1, seed=1).float()], 1)
    spec = Spec(shape=(2,))
    given = torch.tensor([[True, False], [False, True]]).repeat(50, 1)
    truth = x[:100]
    asked = Examples(torch.zeros(100, 2), {}, Layout(given=given, values=truth * given))
    (drawn,) = draw_baseline(spec, Examples(x), asked)
    assert torch.equal(drawn.x[given], truth[given])
    assert float((drawn.x - truth)[~given].square().mean().sqrt()) < 0.1


def test_parts_of_a_product_vary_together_and_tokens_by_place_and_class():
    label = torch.randint(2, (3000,), generator=generator())
    a = noise(3000, 2).float()
    kind = torch.where(torch.rand(3000, 4, generator=generator(1)) < 0.8, label[:, None], 2)
    data = Tensors({"a": a, "b": a.sum(1, keepdim=True), "kind": kind}, {"label": label})
    (drawn,) = draw_baseline(data.spec, data.all(), data.all().take(torch.arange(1000)))
    assert torch.allclose(drawn.x["a"].sum(1, keepdim=True), drawn.x["b"], atol=0.05)
    share = [(drawn.x["kind"][label[:1000] == k] == k).double().mean() for k in (0, 1)]
    assert all(abs(float(one) - 0.8) < 0.05 for one in share)
    assert name_of(data.spec) == "Gaussian"
    assert name_of(Spec(shape=(4,), vocab=3)) == "frequencies"


def test_frequencies_ignore_padding_and_keep_prompts():
    ids = torch.tensor([[1, 2, 9], [1, 0, 9]]).repeat(200, 1)
    real = torch.tensor([[True, True, False]]).expand(400, 3)
    spec = Spec(shape=(3,), vocab=10, conditions={"mask": Condition(shape=(3,), role="real")})
    given = torch.zeros(100, 3, dtype=torch.bool)
    given[:, 0] = True
    asked = Examples(torch.zeros(100, 3, dtype=torch.long), {"mask": real[:100]})
    asked = Examples(asked.x, asked.cond, Layout(real[:100], given, torch.full((100, 3), 7)))
    (drawn,) = draw_baseline(spec, Examples(ids, {"mask": real}), asked)
    assert (drawn.x[:, 0] == 7).all()
    assert abs(float((drawn.x[:, 1] == 2).double().mean()) - 0.5) < 0.15
    assert not (drawn.x[:, 2] == 9).any()


def test_conditions_that_frequencies_cannot_see_are_refused():
    data = Tensors(torch.randint(4, (20, 3)), {"dose": torch.rand(20, 1)})
    with pytest.raises(IncompatibleError, match="samples are drawn under dose as well"):
        draw_baseline(data.spec, data.all(), data.all())


def test_on_curved_spaces_it_is_wrapped_about_the_mean():
    pole = torch.tensor([0.0, 0.0, 1.0])
    x = pole + 0.2 * noise(500, 3).float()
    x = x / x.norm(dim=1, keepdim=True)
    (drawn,) = draw_baseline(Spec(shape=(3,)), Examples(x), Examples(x), geometry=Sphere(2))
    assert torch.allclose(drawn.x.norm(dim=1), torch.ones(500), atol=1e-5)
    spread = [((one @ pole).clamp(-1, 1).arccos()).square().mean().sqrt() for one in (x, drawn.x)]
    assert float(spread[1]) == pytest.approx(float(spread[0]), rel=0.1)
    # Angles about the seam at 0: a Gaussian of coordinates would put most of its mass opposite.
    angle = (0.3 * noise(500, 1).float()) % (2 * math.pi)
    (turned,) = draw_baseline(
        Spec(shape=(1,)), Examples(angle), Examples(angle), geometry=FlatTorus(2 * math.pi)
    )
    assert float(turned.x.cos().mean()) == pytest.approx(float(angle.cos().mean()), abs=0.03)


def test_starts_that_rows_do_not_have_inform_nothing():
    """A student of a reflow trains on pairs; what it is asked has no start, and is drawn."""
    spec = Spec((2,), conditions={"x0": Condition(shape=(2,), role="start")})
    x = noise(500, 2).float()
    train = Examples(x, {"x0": noise(500, 2, seed=1).float()})
    asked = Examples(torch.zeros(4000, 2))
    (drawn,) = draw_baseline(spec, train, asked, 1, seed=0)
    assert torch.allclose(drawn.x.mean(0), x.mean(0), atol=0.1)
    assert torch.allclose(drawn.x.T.cov(), x.T.cov(), atol=0.15)
