"""Rows of a class by themselves: judged so, and told another one."""

from __future__ import annotations

import pytest
import torch

import flowloom as fl
from flowloom.data import Examples, Tensors
from flowloom.errors import IncompatibleError, ShapeError
from flowloom.metrics import MSE, ByClass, EnergyDistance, energy_distance
from flowloom.spec import Condition, Spec
from flowloom.tasks import Mistold, Predict

NAMES = ("a", "b", "c")
SPEC = Spec((2,), conditions={"job": Condition(3, names=NAMES)})
LABELS = torch.tensor([0, 1, 0, 1, 1, 0])


def test_errors_of_a_class_are_those_of_its_rows_in_every_draw():
    truth = Examples(torch.zeros(6, 2), {"job": LABELS})
    # Rows of a are off by 1 and by 3 in two draws, rows of b by 2 in both; what samples were told is wrong.
    first = torch.where(LABELS == 0, 1.0, 2.0)[:, None].expand(6, 2)
    second = torch.where(LABELS == 0, 3.0, 2.0)[:, None].expand(6, 2)
    samples = Examples(torch.cat([first, second]), {"job": (torch.cat([LABELS, LABELS]) + 1) % 3})
    metric = ByClass(SPEC, MSE(draws=2), "job")
    assert (metric.paired, metric.draws) == (True, 2)
    found = metric(samples, truth)
    assert found["mse_a"] == pytest.approx(5)
    assert found["mse_b"] == pytest.approx(4)
    assert found["mse_of_mean_a"] == pytest.approx(4)
    assert not [name for name in found if name.endswith("_c")]
    assert metric.better["mse_a"] == "lower"
    assert set(found) <= set(metric.better)


def test_samples_that_are_no_whole_number_of_draws_are_refused():
    truth = Examples(torch.zeros(6, 2), {"job": LABELS})
    for n in (4, 7):
        samples = Examples(torch.zeros(n, 2), {"job": torch.zeros(n, dtype=torch.long)})
        with pytest.raises(ShapeError, match="do not belong to 6 rows of truth"):
            ByClass(SPEC, MSE(draws=2), "job")(samples, truth)


def test_sets_are_compared_class_with_class():
    draws = torch.Generator().manual_seed(0)
    x, y = (Examples(torch.randn(40, 2, generator=draws), {"job": torch.arange(40) % 3}) for _ in range(2))
    shuffled = x.take(torch.randperm(40, generator=draws))
    metric = ByClass(SPEC, EnergyDistance(), "job")
    assert not metric.paired
    found = metric(shuffled, y)
    for i, name in enumerate(NAMES):
        wanted = energy_distance(x.x[x.cond["job"] == i], y.x[y.cond["job"] == i])
        assert found[f"energy_distance_{name}"] == pytest.approx(wanted)


def test_classes_without_names_have_numbers_and_other_conditions_are_refused():
    bare = Spec((2,), conditions={"label": Condition(2), "much": Condition(shape=(2,))})
    assert "mse_1" in ByClass(bare, MSE()).better
    for name in ("much", "job"):
        with pytest.raises(IncompatibleError, match="they have: label"):
            ByClass(bare, MSE(), name)


def test_rows_are_told_another_class_and_judged_as_before():
    data = Tensors(torch.randn(60, 2), {"job": torch.arange(60) % 3}, spec=SPEC)
    asked, truth = Mistold("job").pose(data, 60, torch.Generator().manual_seed(0))
    plain, same = Predict().pose(data, 60, torch.Generator().manual_seed(0))
    assert torch.equal(truth.x, same.x)
    assert torch.equal(truth.cond["job"], plain.cond["job"])
    off = (asked.cond["job"] - truth.cond["job"]) % 3
    assert set(off.tolist()) == {1, 2}
    with pytest.raises(IncompatibleError, match="'label'"):
        Mistold().pose(data, 4, torch.Generator())


def test_a_row_may_be_named_by_its_number():
    data = Tensors(torch.randn(60, 2), {"job": torch.arange(60) % 3}, spec=SPEC)
    asked = Predict().read("4", data, 3)
    assert (asked.cond["job"].tolist(), float(asked.x.abs().max())) == ([1, 1, 1], 0)
    assert 1 not in Mistold("job").read("4", data, 5).cond["job"].tolist()
    with pytest.raises(IncompatibleError, match="predict takes a row of the data, 0 to 59; got '60'"):
        Predict().read("60", data, 1)


def test_the_flow_hears_the_wrong_class():
    """A flow whose answer is its class answers with the one it was told."""

    class Net(torch.nn.Module):
        conditional = True

        def __init__(self):
            super().__init__()
            self.nothing = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x, t, /, **cond):
            return (10.0 * cond["job"][:, None] - x) / (1 - t)[:, None].clamp_min(0.05) + self.nothing

    data = Tensors(torch.randn(12, 2), {"job": torch.arange(12) % 3}, spec=SPEC)
    flow = fl.Flow(Net(), spec=SPEC, solver=fl.solvers.Euler(20))
    task = Mistold("job")
    asked, _ = task.pose(data, 12, torch.Generator().manual_seed(0))
    answers = task(flow, asked)
    assert torch.allclose(answers.x, 10.0 * asked.cond["job"][:, None].expand(12, 2), atol=0.5)


def test_classes_in_small_numbers_do_not_come_round():
    spec = Spec((2,), conditions={"job": Condition(100)})
    labels = (torch.arange(4000) % 100).to(torch.int8)
    data = Tensors(torch.randn(4000, 2), {"job": labels}, spec=spec)
    asked, truth = Mistold("job").pose(data, 4000, torch.Generator().manual_seed(0))
    assert asked.cond["job"].dtype == truth.cond["job"].dtype
    off = (asked.cond["job"].long() - truth.cond["job"].long()) % 100
    assert int(off.min()) >= 1


def test_a_class_that_judges_alone_are_told_is_refused():
    spec = Spec((2,), conditions={"job": Condition(3, role="judged"), "mark": Condition(2)})
    data = Tensors(torch.randn(6, 2), {"job": LABELS, "mark": LABELS}, spec=spec)
    with pytest.raises(IncompatibleError, match="judges alone are told: nothing would change"):
        Mistold("job").pose(data, 4, torch.Generator())


def test_a_class_with_too_few_rows_is_named():
    rows = Examples(torch.randn(3, 2), {"job": torch.tensor([0, 0, 1])})
    with pytest.raises(ShapeError, match="rows of class 'b': energy distance needs at least 2"):
        ByClass(SPEC, EnergyDistance(), "job")(rows, rows)
