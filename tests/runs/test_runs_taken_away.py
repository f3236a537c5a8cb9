"""A run whose folder or lock is taken away, or whose checkpoints are pruned while they are read."""

from __future__ import annotations

import os
import shutil
import types
from pathlib import Path

import pytest
import torch

from flowloom.errors import RunError
from flowloom_registry.cli import main
from flowloom_registry.runs import folder as folders
from flowloom_registry.runs import weights as weighing
from flowloom_registry.runs.folder import RunFolder, write_text

RECIPE = """
data: {use: eight-gaussians, n: 60}
model: {use: mlp, width: 8, depth: 1}
train: {steps: 4, batch: 8, checkpoint_every: 2, log_every: 1}
metrics: []
"""


def test_nothing_is_written_where_the_folder_was(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    real = RunFolder.append_metrics

    def gone(self: RunFolder, line: dict[str, float]) -> None:
        real(self, line)
        shutil.rmtree(self.path)

    monkeypatch.setattr(RunFolder, "append_metrics", gone)
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_a_deleted_lock_lets_nobody_in(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with RunFolder(tmp_path).locked():
        (tmp_path / ".lock").unlink()
        with pytest.raises(RunError, match="in use by another process"), RunFolder(tmp_path).locked():
            pass
    with RunFolder(tmp_path).locked():
        pass


def test_temporary_files_of_two_processes_of_one_number_do_not_meet(tmp_path: Path, monkeypatch) -> None:
    seen: list[str] = []
    real = os.replace

    def told(a: Path, b: Path) -> None:
        seen.append(Path(a).name)
        real(a, b)

    monkeypatch.setattr(folders.os, "replace", told)
    for _ in range(2):
        write_text(tmp_path / "a.json", "{}")
    assert len(set(seen)) == 2
    assert all(folders._LEFT_BEHIND.fullmatch(name) for name in seen)


def test_a_checkpoint_that_is_pruned_while_it_is_read_gives_way_to_the_next(tmp_path, monkeypatch) -> None:
    for step in (1, 2):
        place = tmp_path / "checkpoints" / f"step-{step:08d}"
        place.mkdir(parents=True)
        (place / "state.json").write_text('{"format": 2}')
    newest = place

    def read(checkpoint: Path) -> dict[str, torch.Tensor]:
        if checkpoint == newest:
            shutil.rmtree(newest, ignore_errors=True)
            raise RunError("missing")
        return {}

    monkeypatch.setattr(weighing, "trained_tensors", read)
    loaded: list[Path] = []
    monkeypatch.setattr(weighing, "load_tensors", lambda flow, tensors, place: loaded.append(place))
    weighing.restore(types.SimpleNamespace(), RunFolder(tmp_path))
    assert loaded[0].name == "step-00000001"
