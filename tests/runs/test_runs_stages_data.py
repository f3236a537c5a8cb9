"""Stages that learn from what another run generates, and runs that are opened without their data."""

from __future__ import annotations

import json
import shutil
import signal

import numpy as np
import pytest
from safetensors.torch import load_file

from flowloom_registry import load
from flowloom_registry.cli import main

REFLOW = """
name: reflow
data: {use: eight-gaussians, n: 300}
model: {use: mlp, width: 12, depth: 1}
solver: {use: heun, steps: 2}
train: {steps: 200, batch: 16, log_every: 5, checkpoint_every: 40}
sample: {n: 4, frames: 2}
stages:
  - {name: base, train: {steps: 5}}
  - name: straight
    data: {use: samples, run: {run: base}, n: 90, batch: 40, pairs: true}
    source: {use: paired, holds: states, otherwise: gaussian}
    model: {run: base, frozen: false}
"""


@pytest.mark.slow
def test_a_killed_reflow_goes_on_with_the_same_samples_and_the_same_bits(tmp_path, apart):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(REFLOW)
    assert main(["run", str(recipe), "--out", str(tmp_path / "whole")]) == 0
    process = apart.start(recipe, tmp_path / "out")
    apart.wait_for_step(tmp_path / "out", 60, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert json.loads((tmp_path / "out" / "status.json").read_text())["state"] == "training"
    made = tmp_path / "out" / "made" / "data"
    (made / "samples-00001.safetensors").unlink()  # as if it had not come so far
    assert main(["run", str(recipe), "--out", str(tmp_path / "out")]) == 0
    names = ["flow.safetensors", *(f"made/data/samples-0000{i}.safetensors" for i in range(3))]
    for name in names:
        expected, found = (load_file(tmp_path / run / name) for run in ("whole", "out"))
        assert expected.keys() == found.keys()
        assert all(value.equal(found[key]) for key, value in expected.items()), name
    # Stored starts are for training; when sampling, new noise is drawn.
    assert main(["sample", str(tmp_path / "out"), "-n", "3", "--cond", "label=1"]) == 0
    assert load(tmp_path / "out").sample(3, label=2).shape == (3, 2)


TENSORS = """
data: {use: tensors, file: x.npz, conditions: {kind: kind, heat: heat}}
codec: standardize
model: {use: mlp, width: 8, depth: 1}
views: [{use: noisy, std: 0.1}]
solver: {use: euler, steps: 2}
train: {steps: 3, batch: 16}
sample: {n: 4, frames: 2}
"""


@pytest.fixture
def gone(tmp_path):
    """A run whose data are gone."""
    draws = np.random.default_rng(0)
    x, heat = draws.normal(size=(60, 3)).astype("float32"), draws.normal(size=(60,)).astype("float32")
    np.savez(tmp_path / "x.npz", x=x, kind=np.arange(60) % 4, heat=heat)
    (tmp_path / "r.yaml").write_text(TENSORS)
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 0
    (tmp_path / "x.npz").unlink()
    return tmp_path


def test_sampling_needs_no_training_data(gone):
    run = load(gone / "out")
    assert run.spec.conditions["observed"].shape == (3,)
    assert run.sample(2, kind=1, heat=0.5, observed=[0.0, 1.0, 2.0]).shape == (2, 3)
    conditions = ["--cond", "kind=3", "--cond", "heat=1", "--cond", "observed=[0,1,2]"]
    assert main(["sample", str(gone / "out"), "-n", "2", *conditions]) == 0


def test_conditions_of_held_out_rows_need_the_data_and_say_so(gone, capsys):
    capsys.readouterr()
    assert main(["sample", str(gone / "out"), "-n", "2", "--cond", "kind=3"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "rows of the data of" in line
    assert "are asked for (conditions and metrics come from held-out ones), and they are not here" in line
    assert "x.npz" in line


def test_a_part_of_a_run_without_its_data_can_be_taken(gone):
    shutil.move(gone / "out", gone / "base")
    (gone / "mine.yaml").write_text(
        """
data: {use: eight-gaussians, n: 60}
model: {use: mlp, width: 8, depth: 1}
roles: {teacher: {run: base}}
train: {steps: 2, batch: 16}
solver: {use: euler, steps: 2}
sample: {n: 4, frames: 2}
"""
    )
    assert main(["run", str(gone / "mine.yaml"), "--out", str(gone / "mine")]) == 0
    assert load(gone / "mine").flow.roles["teacher"].flow.spec.shape == (3,)
