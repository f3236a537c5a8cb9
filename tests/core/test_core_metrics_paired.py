"""Paired metrics against direct sums, closed forms and laws that are known."""

from __future__ import annotations

import math

import pytest
import torch

from flowloom.data import Examples, Tensors
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.geometry import Discrete, Euclidean, FlatTorus, Product, Sphere
from flowloom.layout import Layout
from flowloom.metrics import (
    CRPS,
    MSE,
    PSNR,
    Accuracy,
    BestOf,
    Calibration,
    EnergyScore,
    fair_crps,
    rank_shares,
)
from flowloom.spec import Spec


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def joined(draws: torch.Tensor) -> Examples:
    """Draws ``(K, n, ...)`` as a metric wants them."""
    return Examples(draws.flatten(0, 1))


DRAWS, TRUTH = noise(5, 7, 3), noise(7, 3, seed=1)


def test_crps_is_the_double_sum():
    k = len(DRAWS)
    for n in range(7):
        for j in range(3):
            x, y = DRAWS[:, n, j], TRUTH[n, j]
            pairs = sum(abs(x[a] - x[b]) for a in range(k) for b in range(k))
            wanted = float((x - y).abs().mean() - pairs / (2 * k * (k - 1)))
            assert float(fair_crps(DRAWS, TRUTH)[n, j]) == pytest.approx(wanted, abs=1e-12)
    value = CRPS(5)(joined(DRAWS), Examples(TRUTH))["crps"]
    assert value == pytest.approx(float(fair_crps(DRAWS, TRUTH).mean()))


def test_crps_of_a_normal_law_by_any_number_of_draws():
    """CRPS(N(0,1), y) = y (2 Phi(y) - 1) + 2 phi(y) - 1/sqrt(pi) (Gneiting and Raftery 2007, eq. 22)."""
    y = torch.tensor(0.7, dtype=torch.float64)
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
    wanted = float(y * (2 * normal.cdf(y) - 1) + 2 * normal.log_prob(y).exp()) - 1 / math.sqrt(math.pi)
    for k in (2, 5, 20):  # the fair estimate has no bias in k
        draws = noise(k, 200_000, seed=k)
        assert float(fair_crps(draws, y.expand(200_000)).mean()) == pytest.approx(wanted, abs=0.006), k


def test_energy_score_is_the_double_sum_and_the_crps_in_one_dimension():
    k = len(DRAWS)

    def gap(a, b):
        return ((a - b).square().sum(-1) / 3).sqrt()

    wanted = sum(gap(x, TRUTH) for x in DRAWS) / k
    wanted = wanted - sum(gap(a, b) for a in DRAWS for b in DRAWS) / (2 * k * (k - 1))
    assert EnergyScore(5)(joined(DRAWS), Examples(TRUTH))["energy_score"] == pytest.approx(
        float(wanted.mean())
    )
    one, y = DRAWS[..., :1], TRUTH[..., :1]
    crps = CRPS(5)(joined(one), Examples(y))["crps"]
    assert EnergyScore(5)(joined(one), Examples(y))["energy_score"] == pytest.approx(crps)


@pytest.mark.parametrize("metric", [CRPS(8), EnergyScore(8), Calibration(8)])
def test_proper_scores_are_best_for_the_true_law(metric):
    """Truth N(mean, 1): too narrow, too wide, shifted, and blind to the row: all are worse."""
    mean = 2 * noise(4000, 1)
    truth = Examples(mean + noise(4000, 1, seed=1))
    name = {CRPS: "crps", EnergyScore: "energy_score", Calibration: "interval_score"}[type(metric)]

    def score(shift: float, scale: float, about: torch.Tensor = mean) -> float:
        return metric(joined(about + shift + scale * noise(8, 4000, 1, seed=2)), truth)[name]

    right = score(0.0, 1.0)
    for other in (score(0.0, 0.4), score(0.0, 2.0), score(0.8, 1.0), score(0, 5**0.5, torch.zeros(1))):
        assert other > right * 1.03


def test_mse_of_the_mean_and_best_of_k_by_hand():
    found = MSE(5)(joined(DRAWS), Examples(TRUTH))
    assert found["mse"] == pytest.approx(float((DRAWS - TRUTH).square().mean()))
    assert found["mse_of_mean"] == pytest.approx(float((DRAWS.mean(0) - TRUTH).square().mean()))
    off = (DRAWS - TRUTH).square().mean(-1).sqrt()
    best = BestOf(5)(joined(DRAWS), Examples(TRUTH))
    assert best == {
        "rmse": pytest.approx(float(off.mean())),
        "best_rmse": pytest.approx(float(off.amin(0).mean())),
    }


def test_psnr_by_hand_and_by_the_limits_of_the_data():
    metric = PSNR()
    with pytest.raises(IncompatibleError, match="declare no limits"):
        metric.fit(Tensors(TRUTH))
    metric.fit(Tensors(TRUTH, spec=Spec(shape=(3,), limits=(-1.0, 1.0))))
    levels = 10 * (4 / (DRAWS - TRUTH).square().mean(-1)).log10()
    found = metric(joined(DRAWS), Examples(TRUTH))
    assert found["psnr"] == pytest.approx(float(levels.mean()))
    assert found["psnr_best"] == pytest.approx(float(levels.amax(0).mean()))
    assert PSNR(data_range=2.0)(Examples(TRUTH), Examples(TRUTH))["psnr"] == 120.0
    with pytest.raises(ValueError, match="data_range"):
        PSNR(data_range=0.0)


def test_ranks_are_even_where_calibrated_and_ties_share():
    drawn, truth = noise(9, 50_000), noise(50_000, seed=1)
    assert torch.allclose(rank_shares(drawn, truth), torch.full((10,), 0.1, dtype=torch.float64), atol=0.006)
    tied = rank_shares(torch.tensor([[1.0], [1.0], [2.0]]), torch.tensor([1.0]))
    assert torch.allclose(tied, torch.tensor([1 / 3, 1 / 3, 1 / 3, 0], dtype=torch.float64))


def test_coverage_and_calibration_of_known_forecasts():
    truth = Examples(noise(20_000, 1))
    right = Calibration(19)(joined(noise(19, 20_000, 1, seed=2)), truth)
    assert right["coverage_wanted"] == pytest.approx(0.9)
    assert right["coverage"] == pytest.approx(0.9, abs=0.01)
    assert right["calibration_error"] < 0.01
    narrow = Calibration(19)(joined(0.5 * noise(19, 20_000, 1, seed=2)), truth)
    assert narrow["coverage"] < 0.7
    assert narrow["calibration_error"] > 5 * right["calibration_error"]
    assert narrow["interval_width"] == pytest.approx(right["interval_width"] / 2)
    # By hand: one truth below the interval by 1, width 2, alpha 0.5.
    one = Calibration(3, level=0.5)(
        Examples(torch.tensor([[0.0], [1.0], [2.0]])), Examples(torch.tensor([[-1.0]]))
    )
    assert one["interval_score"] == pytest.approx(2 + 2 / 0.5 * 1)


def test_accuracy_by_hand():
    truth = torch.tensor([[1, 2, 3], [0, 0, 0]])
    draws = torch.tensor([[[1, 2, 0], [0, 0, 0]], [[1, 0, 3], [0, 0, 1]], [[0, 2, 3], [1, 0, 0]]])
    found = Accuracy(3)(Examples(draws.flatten(0, 1)), Examples(truth))
    assert found["accuracy"] == pytest.approx((2 + 3 + 2 + 2 + 2 + 2) / 18)
    assert found["exact"] == pytest.approx(1 / 6)
    assert found["accuracy_voted"] == 1.0
    label = {"label": torch.tensor([1, 0])}
    other = {"label": torch.tensor([1, 1])}
    assert Accuracy(condition="label")(Examples(truth, other), Examples(truth, label))["accuracy"] == 0.5
    with pytest.raises(IncompatibleError, match="real-valued"):
        Accuracy()(Examples(TRUTH), Examples(TRUTH))
    with pytest.raises(ShapeError, match="there are: label"):
        Accuracy(condition="class")(Examples(truth, label), Examples(truth, label))


@pytest.mark.parametrize(
    "metric", [MSE(2), BestOf(2), EnergyScore(2), CRPS(2), Calibration(2), PSNR(2, data_range=4.0)]
)
def test_padding_and_given_entries_count_nothing(metric):
    real = torch.tensor([[True, True, False], [True, True, True]])
    given = torch.tensor([[True, False, False], [False, False, True]])
    layout, truth, draws = Layout(real, given), noise(2, 3), noise(2, 2, 3, seed=1)
    draws = torch.where(given, truth, draws)
    clean = metric(joined(draws), Examples(truth, layout=layout))
    spoiled = torch.where(real, truth, math.nan), torch.where(real, draws, math.nan)
    assert metric(joined(spoiled[1]), Examples(spoiled[0], layout=layout)) == clean
    assert metric(joined(torch.where(given, 9.0, draws)), Examples(truth, layout=layout)) == clean
    # Only three entries count, one of the first row and two of the other.
    if isinstance(metric, MSE):
        square = (draws - truth).square()
        wanted = (square[:, 0, 1] + square[:, 1, :2].mean(1)).mean() / 2
        assert clean["mse"] == pytest.approx(float(wanted))


def test_distances_are_those_of_the_geometry():
    """Across the seam of a circle, along a sphere, Hamming for tokens, summed over parts of a product."""
    circle = FlatTorus(2 * math.pi)
    near = MSE(geometry=circle)(
        Examples(torch.tensor([[0.1]])), Examples(torch.tensor([[2 * math.pi - 0.1]]))
    )
    assert near["mse"] == pytest.approx(0.04, rel=1e-4)
    pole, equator = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    arc = BestOf(1, geometry=Sphere(2))(Examples(pole), Examples(equator))["rmse"]
    assert arc == pytest.approx(math.pi / 2, rel=1e-5)
    tokens = MSE()(Examples(torch.tensor([[1, 5, 3]])), Examples(torch.tensor([[1, 2, 3]])))
    assert tokens == {"mse": pytest.approx(1 / 3)}
    space = Product({"where": Euclidean(), "kind": Discrete(4)})
    x = {"where": torch.tensor([[3.0, 4.0]]), "kind": torch.tensor([[1, 1]])}
    y = {"where": torch.tensor([[0.0, 0.0]]), "kind": torch.tensor([[1, 2]])}
    assert MSE(geometry=space)(Examples(x), Examples(y))["mse"] == pytest.approx((25 + 1) / 4)


@pytest.mark.parametrize("metric", [CRPS(2), Calibration(2), PSNR(data_range=1.0)])
def test_what_looks_at_numbers_refuses_tokens_and_curved_spaces(metric):
    tokens = Examples(torch.tensor([[1, 2]]))
    with pytest.raises(
        IncompatibleError, match=r"no part of these data is real-valued and flat; take energy-score"
    ):
        metric(tokens, tokens)
    if not isinstance(metric, PSNR):
        curved = type(metric)(2, geometry=Sphere(2))
        point = Examples(torch.tensor([[0.0, 0.0, 1.0]]))
        with pytest.raises(IncompatibleError, match="real-valued and flat"):
            curved(point, point)
    with pytest.raises(ShapeError, match="3 samples do not belong to 2 rows of truth"):
        metric(Examples(noise(3, 2)), Examples(noise(2, 2)))
