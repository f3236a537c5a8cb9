"""What two processes began goes on: with one of them alone, by the command that is told, to the same bits."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from safetensors.torch import load_file

from flowloom.training.checkpoint import checkpoints
from flowloom_registry.cli.main import main
from flowloom_registry.runs import stages
from flowloom_registry.runs.folder import RunFolder

QUEUE = """
name: queue
seed: 3
data: {use: eight-gaussians, n: 2000, labelled: false}
model: {use: mlp, width: 24, depth: 2}
objective: {use: memory-bank, block: inner.0, width: 24, dim: 8, queue: 64}
solver: {use: euler, steps: 2}
train: {steps: 120, batch: 64, checkpoint_every: 20, log_every: 10, parallel: {batch: own}}
"""


def state(out: Path) -> str:
    found: str = json.loads((out / "status.json").read_text())["state"]
    return found


@pytest.mark.slow
def test_shares_of_two_go_on_without_a_launcher_and_with_one_again(
    recipe: Path, tmp_path: Path, apart: Any, pair: Any
) -> None:
    out = tmp_path / "run"
    fsdp = ("--set", "train.parallel={engine: fsdp}", "--set", "train.steps=200")
    two = pair(recipe, "--out", out, *fsdp)
    apart.wait_for_step(out, 30, two.processes[0], seconds=240)
    for process in two.processes:
        process.terminate()
    assert two.ended()[0] == [130, 130]
    before = checkpoints(out / "checkpoints")[-1]
    command = [sys.executable, "-m", "flowloom_registry", "run", str(out)]
    one = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    apart.wait_for_step(out, int(before.name[5:]) + 20, one, seconds=240)
    one.terminate()
    assert one.communicate(timeout=240)[1].count("go on with") == 1
    assert one.returncode == 130
    after = checkpoints(out / "checkpoints")[-1]
    assert after.name > before.name
    assert json.loads((after / "state.json").read_text())["processes"] == 1
    assert len(list(after.glob("shard-*.safetensors"))) == 1
    codes, told = pair(out).ended()
    assert codes == [0, 0], told
    assert state(out) == "finished"
    assert main(["run", str(out), "--quiet"]) == 0, "a finished one is judged anew by one alone"


@pytest.mark.slow
def test_the_command_that_is_told_goes_on(recipe: Path, tmp_path: Path, apart: Any, pair: Any) -> None:
    out = tmp_path / "a run"
    two = pair(recipe, "--out", out, "--set", "train.steps=300")
    apart.wait_for_step(out, 50, two.processes[0], seconds=240)
    two.processes[1].terminate()
    codes, told = two.ended()
    assert codes == [130, 130]
    (advice,) = (line for lines in told for line in lines if "go on with: " in line)
    program, *words = shlex.split(advice.partition("go on with: ")[2])
    assert program == "torchrun"
    assert RunFolder(out).going_on() in advice, "others tell the same"
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    assert state(out) == "finished"


@pytest.mark.parametrize("written", [False, True])
def test_what_one_stopped_goes_on_by_the_command_that_is_told(
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    written: bool,
) -> None:
    """Before anything was written there is no folder to go on with."""
    out = tmp_path / "a run"

    def stopped(*arguments: object) -> None:
        if written:
            RunFolder(out).begin(recipe.read_text(), {"processes": 1}, {})
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "carry_out", stopped)
    words = ["run", str(recipe), "--out", str(out), "--set", "train.steps=20", "--device", "cpu"]
    assert main(words) == 130
    told = capsys.readouterr().err.splitlines()
    whole = f"run {recipe} --set train.steps=20 --out '{out}' --device cpu"
    expected = f"run '{out}' --device cpu" if written else whole
    assert f"stopped; go on with: flowloom {expected}" in told


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "sharded"])
def test_the_queue_of_each_process_goes_on(tmp_path: Path, apart: Any, pair: Any, form: str) -> None:
    recipe, whole, out = tmp_path / "queue.yaml", tmp_path / "whole", tmp_path / "run"
    recipe.write_text(QUEUE.replace("batch: own", f"batch: own, checkpoints: {form}"))
    assert pair(recipe, "--out", whole).ended()[0] == [0, 0]
    two = pair(recipe, "--out", out)
    apart.wait_for_step(out, 50, two.processes[0], seconds=240)
    for process in two.processes:
        process.kill()
    two.ended()
    last = checkpoints(out / "checkpoints")[-1]
    own = load_file(last / "own" / "00001.safetensors")
    assert set(own) == {"flow/objective.bank"}, "what is alike is kept once"
    assert not (last / "own" / "00000.safetensors").exists()
    codes, told = pair(recipe, "--out", out).ended()
    assert codes == [0, 0], told
    ours, theirs = load_file(out / "flow.safetensors"), load_file(whole / "flow.safetensors")
    assert all(ours[name].equal(value) for name, value in theirs.items())
    ends = [checkpoints(run / "checkpoints")[-1] / "own" / "00001.safetensors" for run in (out, whole)]
    assert ends[0].read_bytes() == ends[1].read_bytes()


def test_looks_at_shares_without_averages_are_refused_before_anything_is_written(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "run"
    words = ["run", str(recipe), "--out", str(out), "--set", "train.parallel={engine: fsdp}"]
    words += ["--set", "train.ema=0", "--set", "validate={score: held-out-loss, every: 10}"]
    try:
        assert main(words) == 2
    finally:
        dist.destroy_process_group()
    (line,) = capsys.readouterr().err.splitlines()
    assert "train.ema is 0" in line
    assert not out.exists()
