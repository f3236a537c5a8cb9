"""Names and values of other people's metrics: told before training, or written without a hitch."""

from __future__ import annotations

import math

import pytest
import torch
from rich.console import Console

from flowloom.errors import IncompatibleError
from flowloom_registry.runs.curves import sweep
from flowloom_registry.runs.evaluation import Evaluation, SweepPoint
from flowloom_registry.runs.table import print_table
from flowloom_registry.runs.values import named_values


@pytest.mark.parametrize("found", [{"t": torch.tensor(1.0)}, {"t": "good"}, {"t": None}, {3: 1.0}, 1.0, None])
def test_values_that_are_no_named_numbers_are_refused(found):
    with pytest.raises(IncompatibleError, match="it returned a"):
        named_values(found)
    assert named_values({"a": 1, "b": math.nan}).keys() == {"a", "b"}


def test_brackets_in_names_are_no_markup():
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    columns = {"of [/x]": {"p[/q]": 1.0}}
    print_table(Evaluation(1, 1, columns, {"p[/q]": "lower"}, notes=["no split '[/x]'"]), console)
    said = console.export_text()
    assert "p[/q]" in said
    assert "of [/x]" in said
    assert "'[/x]'" in said


def test_the_title_of_a_narrow_table_stands_in_one_line():
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_table(Evaluation(2000, 1000, {"samples": {"a": 1.0}}, {"a": "lower"}), console)
    assert "against" in console.export_text().splitlines()[0]


def test_many_columns_cut_no_word():
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    columns = {f"baseline-number-{i}": {"worst_accuracy": 0.123456} for i in range(8)}
    print_table(Evaluation(20, 10, columns, {"worst_accuracy": "higher"}), console)
    said = console.export_text()
    assert "worst_accuracy ↑" in said
    assert all(column in said for column in columns)
    assert "…" not in said


def test_a_metric_that_is_nan_everywhere_has_no_panel():
    better = {"lost": "lower", "kept": "lower"}
    shown = [SweepPoint("euler", 2, {"lost": math.nan, "kept": 1.0}), SweepPoint("heun", 4, {"kept": 2.0})]
    page = sweep(Evaluation(1, 1, {}, better, sweep=shown).as_json(), {}, samples="", floor="")
    assert "kept" in page
    assert "lost" not in page
    nothing = SweepPoint("euler", 2, {"lost": math.nan})
    assert not sweep(Evaluation(1, 1, {}, better, sweep=[nothing]).as_json(), {}, samples="", floor="")
