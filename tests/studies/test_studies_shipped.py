"""Experiments that are shipped: every word of every cell, and the small forms carried out."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowloom_registry import Experiment, catalog
from flowloom_registry.cli.main import main
from flowloom_registry.studies.experiment import require_sound

SHIPPED = [row.qualified for row in catalog().experiments]


@pytest.mark.parametrize("small", [True, False], ids=["small", "full"])
@pytest.mark.parametrize("name", SHIPPED)
def test_every_cell_of_a_shipped_experiment_can_be_begun(name: str, small: bool, tmp_path: Path) -> None:
    cells = Experiment(name, tmp_path / "study", small=small).design.cells
    assert cells
    require_sound(cells)


@pytest.mark.parametrize("name", ["methods-everywhere", "couplings-everywhere"])
def test_the_small_form_of_a_shipped_experiment_ends_with_its_table(name: str, tmp_path: Path) -> None:
    study = tmp_path / "study"
    assert main(["experiment", name, "--small", "--out", str(study)]) == 0
    rows = Experiment(name, study, small=True).results().rows()
    assert {"earth", "torus"} <= {row["domain"] for row in rows if row["quality"] is not None}
    assert (study / "report.html").is_file()
