"""Trained weights on a machine where the packages of their judges are not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowloom_registry.cli import main
from flowloom_registry.runs.open import open_run

JUDGES = """
from pathlib import Path

from flowloom.errors import MissingDependencyError
from flowloom.guidance import Guidance
from flowloom.metrics import Metric
from flowloom.trackers import Tracker


def need(what):
    if not (Path(__file__).parent / "installed").exists():
        raise MissingDependencyError(f"{what} needs the package ears; pip install ears")


class Listens(Metric):
    better = {"heard": "higher"}

    def __init__(self):
        need("metric listens")

    def __call__(self, samples, real):
        return {"heard": float(samples.x.mean())}


class Follows(Tracker):
    def __init__(self):
        need("tracker follows")

    def log(self, step, metrics):
        pass


class Steers(Guidance):
    def __init__(self, inner: list[Metric] = ()):
        pass

    def __call__(self, field):
        return field
"""
RECIPE = """
data: {use: eight-gaussians, n: 400, labelled: false}
model: {use: mlp, width: 8, depth: 1}
solver: {use: euler, steps: 2}
metrics: [./judges.py:Listens, energy-distance]
tasks:
  - {use: inpaint, metrics: [./judges.py:Listens]}
  - {use: inpaint, name: other, metrics: [energy-distance]}
trackers: [./judges.py:Follows]
train: {steps: 2, batch: 8}
evaluate: {n: 16, reference: 16, questions: 8, sweep_nfe: []}
"""


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """A run whose judges' package is gone."""
    (tmp_path / "judges.py").write_text(JUDGES)
    (tmp_path / "installed").touch()
    (tmp_path / "r.yaml").write_text(RECIPE)
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 0
    (tmp_path / "installed").unlink()
    return tmp_path / "out"


def test_a_run_is_sampled_and_used_without_its_judges(moved: Path, capsys) -> None:
    assert main(["sample", str(moved), "-n", "2", "--trust"]) == 0
    assert main(["task", str(moved), "other", "3", "--trust"]) == 0
    assembly, _ = open_run(moved, trust=True)
    assert [type(one).__name__ for one in assembly.metrics] == ["EnergyDistance"]
    assert [len(task.metrics) for task in assembly.tasks] == [0, 1]
    assert not assembly.trackers
    onward = moved.parent / "onward.yaml"
    onward.write_text(
        RECIPE.replace("./judges.py:Listens", "sliced-wasserstein")
        .replace("model: {use: mlp, width: 8, depth: 1}", f"model: {{run: {moved}, frozen: false}}")
        .replace("trackers: [./judges.py:Follows]", "")
    )
    capsys.readouterr()
    assert main(["run", str(onward), "--out", str(moved.parent / "onward"), "--trust"]) == 0


def test_what_is_judged_or_trained_says_what_is_missing(moved: Path, capsys) -> None:
    for words in (["eval", str(moved), "--trust"], ["run", str(moved.parent / "r.yaml"), "--out", "other"]):
        capsys.readouterr()
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "metric listens needs the package ears; pip install ears" in said
        assert "Traceback" not in said


def test_what_is_asked_of_the_flow_is_never_left_out(moved: Path, capsys) -> None:
    recipe = moved / "recipe.yaml"
    recipe.write_text(
        recipe.read_text() + "guidance: {use: ../judges.py:Steers, inner: [../judges.py:Listens]}\n"
    )
    capsys.readouterr()
    assert main(["sample", str(moved), "-n", "2", "--trust"]) == 2
    assert "needs the package ears" in capsys.readouterr().err
