"""Weights & Biases (offline) and MLflow follow a run, go on with it, and leave everything else alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowloom.errors import MissingDependencyError
from flowloom.testing import check
from flowloom_registry.cli import main
from flowloom_trackers.mlflow import MlflowTracker
from flowloom_trackers.wandb import WandbTracker

RECIPE = """
name: followed
data: {use: eight-gaussians, n: 100}
model: {use: mlp, width: 8, depth: 1}
trackers: [%s]
train: {steps: 4, batch: 8, log_every: 2}
metrics: [energy-distance]
evaluate: {n: 20, reference: 40, sweep_nfe: []}
sample: {n: 4, frames: 2, rows: 2}
"""


def run(tmp_path: Path, tracker: str) -> Path:
    (tmp_path / "followed.yaml").write_text(RECIPE % tracker)
    assert main(["run", str(tmp_path / "followed.yaml"), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    return tmp_path / "run"


def test_mlflow_has_the_run(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="pip install 'flowloom-trackers[mlflow]'")
    pytest.importorskip("sqlalchemy", reason="pip install 'flowloom-trackers[mlflow]'")
    from mlflow import MlflowClient

    folder = run(tmp_path, "mlflow")
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    number = (folder / "mlflow-run.txt").read_text().strip()
    history = client.get_metric_history(number, "loss")
    assert [one.step for one in history] == [2, 4]
    kept = client.get_run(number)
    assert kept.info.status == "FINISHED"
    assert "samples/energy_distance" in kept.data.metrics
    assert "eight-gaussians" in kept.data.tags["recipe"]
    later = MlflowTracker()
    later.start(folder, "name: followed")
    later.log(6, {"loss": 0.5, "odd": float("nan")})
    later.finish({})
    assert [one.step for one in client.get_metric_history(number, "loss")] == [2, 4, 6], (
        "the same run goes on"
    )


def test_wandb_has_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="pip install 'flowloom-trackers[wandb]'")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    folder = run(tmp_path, "wandb")
    (file,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    data = file.read_bytes()
    assert b"loss" in data
    assert b"samples/energy_distance" in data
    assert not (folder / "wandb" / "latest-run").exists() or (folder / "wandb").is_dir()


@pytest.mark.slow
def test_laws_of_trackers() -> None:
    for package, tracker in (("mlflow", MlflowTracker), ("wandb", WandbTracker)):
        pytest.importorskip(package)
        results = check(tracker)
        assert all(result.ok for result in results), [r for r in results if not r.ok]


@pytest.mark.parametrize(("module", "make"), [("wandb", WandbTracker), ("mlflow", MlflowTracker)])
def test_without_the_package(module: str, make: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"flowloom_trackers.{module}.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=rf"flowloom-trackers\[{module}\]"):
        make()
