"""The table of few-step methods gives every method as much training, and its small form has few cells."""

from __future__ import annotations

import pytest

from flowloom_registry import Experiment
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.plugins.discovery import catalog
from flowloom_registry.runs.cost import costs
from flowloom_registry.studies.design import read_design

pytest.importorskip("flowloom_images")
pytest.importorskip("flowloom_geometries")
pytest.importorskip("flowloom_sequences")

# Pairs that a flow makes of itself are not counted beforehand; 2,048 in 16 evaluations cost about 65 steps.
UNCOUNTED = ("reflow",)
DISCRETE = ("discrete-flow", "dirichlet-student", "posterior-student")


def cells(domain: str, small: bool = False):
    design = read_design("few-step-everywhere", catalog=catalog(), small=small)
    return {c.labels["arm"]: c for c in design.cells if c.labels["domain"] == domain and c.seed == 0}


def spent(cell) -> int:
    return sum(cost.whole for cost, _ in costs(cell.recipe))


def test_the_small_form_leaves_most_cells_out():
    design = read_design("few-step-everywhere", catalog=catalog(), small=True)
    assert len(design.cells) == 12
    assert {c.labels["domain"] for c in design.cells} == {"digits", "torus", "tokens"}


def test_its_summary_counts_its_kinds_of_data():
    design = read_design("few-step-everywhere", catalog=catalog())
    assert len({c.labels["domain"] for c in design.cells}) == 7
    (row,) = (row for row in catalog().experiments if row.name == "few-step-everywhere")
    assert "seven kinds of data" in row.summary


@pytest.mark.slow
@pytest.mark.parametrize("domain", ["digits", "torus", "crossroads"])
def test_every_method_has_the_same_budget(domain):
    arms = {n: c for n, c in cells(domain).items() if n not in (*UNCOUNTED, *DISCRETE)}
    budget = spent(arms["flow-matching"])
    shares = {name: spent(cell) / budget for name, cell in arms.items()}
    assert len(shares) == 10
    assert shares == {name: pytest.approx(1, abs=0.1) for name in shares}, shares


@pytest.mark.slow
def test_the_small_form_runs(tmp_path):
    results = Experiment("few-step-everywhere", small=True, out=tmp_path).run()
    assert {row["arm"] for row in results.rows()} == {
        "flow-matching",
        "consistency-fm",
        "meanflow",
        "discrete-flow",
    }


@pytest.mark.parametrize("name", ["tvm-checkerboard", "modular-meanflow-checkerboard"])
def test_what_asks_for_averages_can_be_counted(name):
    (cost, _), *rest = costs(load_recipe(name))
    assert cost.operations > 0
    assert not rest
