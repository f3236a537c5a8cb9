"""A metric as a ratio to what it says of real rows."""

from __future__ import annotations

import pytest
import torch

from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import MSE, BesideReal, ByClass, Metric
from flowloom.spec import Condition, Spec


class Right(Metric):
    """Share of rows above 0."""

    better = {"right": "higher"}  # noqa: RUF012
    fitted = None

    def fit(self, train):
        self.fitted = train

    def __call__(self, samples, real):
        return {"right": float((samples.x > 0).float().mean())}


def rows(*values):
    labels = torch.arange(len(values)) % 2
    return Examples(torch.tensor(values)[:, None], {"who": labels})


def test_values_are_over_those_of_real_rows():
    metric = BesideReal(Right())
    metric.fit("train")
    assert metric.metric.fitted == "train"
    assert metric.better == {"right_beside_real": "higher"}
    samples, real = rows(1.0, -1.0, -1.0, -1.0), rows(1.0, 1.0, -1.0, -1.0)
    assert metric(samples, real) == {"right_beside_real": pytest.approx(0.5)}
    assert metric(real, samples) == {"right_beside_real": pytest.approx(2.0)}
    assert metric(samples, rows(-1.0, -1.0)) == {}


def test_each_class_is_over_its_own_real_rows():
    spec = Spec((1,), conditions={"who": Condition(2, names=("ann", "bob"))})
    metric = BesideReal(ByClass(spec, Right(), "who"))
    # Ann is heard in every real row and bob in half of them.
    real = rows(1.0, 1.0, 1.0, -1.0)
    samples = rows(1.0, 1.0, -1.0, -1.0)
    found = metric(samples, real)
    assert found == {
        "right_ann_beside_real": pytest.approx(0.5),
        "right_bob_beside_real": pytest.approx(1.0),
    }
    assert set(found) <= set(metric.better)


def test_a_distance_has_no_ratio():
    with pytest.raises(IncompatibleError, match="no value of which more is better; it has: mse"):
        BesideReal(MSE(draws=1))


def test_a_value_that_real_rows_do_not_have_above_zero_has_no_ratio():
    """Decibels below 0 would turn the order round."""

    class Below(Right):
        def __call__(self, samples, real):
            return {"right": float((samples.x > 0).float().mean()) - 2}

    metric = BesideReal(Below(), plain=["right"])
    assert metric(rows(1.0, -1.0), rows(1.0, 1.0)) == {"right": pytest.approx(-1.5)}
    assert metric.silent == "it is 0 of real rows"
    spec = Spec((1,), conditions={"who": Condition(2, names=("ann", "bob"))})
    within = BesideReal(ByClass(spec, Right(), "who"))
    assert within.silent == "no row is of that class, or it is 0 of real rows"


def test_real_rows_are_drawn_as_often_as_samples():
    class Draws(Right):
        paired, draws = True, 3

        def __call__(self, samples, real):
            assert len(samples) == 3 * len(real)
            return super().__call__(samples, real)

    real = rows(1.0, -1.0)
    assert BesideReal(Draws())(rows(1.0, -1.0, 1.0, 1.0, 1.0, 1.0), real) == {
        "right_beside_real": pytest.approx(5 / 3)
    }


def test_real_rows_are_judged_once_for_all_columns():
    class Counting(Right):
        calls = 0

        def __call__(self, samples, real):
            self.calls += samples is real
            return super().__call__(samples, real)

    metric, real, others = BesideReal(Counting()), rows(1.0, -1.0), rows(1.0, 1.0)
    for _ in range(3):
        assert metric(rows(1.0, 1.0), real) == {"right_beside_real": 2.0}
    assert metric.metric.calls == 1
    assert metric(rows(1.0, 1.0), others) == {"right_beside_real": 1.0}
    assert metric.metric.calls == 2


def test_what_was_said_of_real_rows_is_forgotten_by_another_fit():
    class AsTold(Right):
        """What it was fitted on."""

        def __call__(self, samples, real):
            return {"right": super().__call__(samples, real)["right"] * self.fitted}

    metric, real = BesideReal(AsTold()), rows(1.0, 1.0)
    metric.fit(1.0)
    assert metric(rows(1.0, -1.0), real) == {"right_beside_real": pytest.approx(0.5)}
    metric.fit(0.5)
    assert metric(rows(1.0, -1.0), real) == {"right_beside_real": pytest.approx(0.5)}


def test_values_of_all_rows_and_the_values_themselves_are_told_where_they_are_asked_for():
    """One judge that is slow tells a table what three of it would."""
    spec = Spec((1,), conditions={"who": Condition(2, names=("ann", "bob"))})
    metric = BesideReal(ByClass(spec, Right(), "who", whole=True), plain=["right"])
    real = rows(1.0, 1.0, 1.0, -1.0)
    found = metric(rows(1.0, 1.0, -1.0, -1.0), real)
    assert found == {
        "right": 0.5,
        "right_beside_real": pytest.approx(2 / 3),
        "right_ann_beside_real": pytest.approx(0.5),
        "right_bob_beside_real": pytest.approx(1.0),
    }
    assert set(found) == set(metric.better)


def test_a_distance_is_told_plainly_without_a_ratio():
    metric = BesideReal(MSE(draws=1), plain=["mse"])
    found = metric(rows(1.0, 2.0), rows(1.0, 1.0))
    assert found["mse"] == pytest.approx(0.5)
    assert metric.better["mse"] == "lower"
    assert not [name for name in found if name.endswith("_beside_real")]
    with pytest.raises(IncompatibleError, match="its metric has no value 'mes'; it has: mse"):
        BesideReal(MSE(draws=1), plain=["mes"])
