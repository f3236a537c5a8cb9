"""Runs of two processes come to one end: killed, stopped, out of disk, not finite, or asked for nonsense."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from flowloom.training.checkpoint import checkpoints, trained_tensors
from flowloom_registry.cli.main import main


def faults(told: list[list[str]], word: str) -> list[str]:
    return [line for lines in told for line in lines if word in line]


def same(one: Path, other: Path) -> None:
    last = checkpoints(one / "checkpoints")[-1].name
    for file in ("flow", "ema", "optimizers"):
        expected, found = (
            load_file(run / "checkpoints" / last / f"{file}.safetensors") for run in (one, other)
        )
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert value.equal(found[name]), f"{file}: {name} differs"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_ends_one_of_two_ends_both_and_both_go_on_with_the_same_bits(
    recipe: Path, tmp_path: Path, apart: Any, number: int, pair: Any
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    codes, told = pair(recipe, "--out", whole).ended()
    assert codes == [0, 0], told
    assert told[1] == [], "the second process speaks"
    two = pair(recipe, "--out", out, "--set", "train.steps=100000")
    apart.wait_for_step(out, 50, two.processes[0])
    two.processes[1].send_signal(number)
    codes, told = two.ended()
    if number == signal.SIGKILL:
        assert codes == [2, -signal.SIGKILL]
        assert len(faults(told, "ended without a word")) == 1
        assert "the last good checkpoint is" in faults(told, "ended without a word")[0]
    else:
        assert codes == [130, 130]
        (advice,) = faults(told, "go on with")
        assert advice.endswith(f"go on with: torchrun --nproc-per-node 2 -m flowloom_registry run {out}")
        assert json.loads((out / "status.json").read_text())["state"] == "training"
    step = json.loads((checkpoints(out / "checkpoints")[-1] / "state.json").read_text())["step"]
    # The run is made that of the recipe again, whose steps do not enter what a step is.
    again = tmp_path / "again"
    short = pair(recipe, "--out", again)
    apart.wait_for_step(again, 50, short.processes[0])
    for process in short.processes:
        process.send_signal(number)
    short.ended()
    codes, told = pair(recipe, "--out", again).ended()
    assert codes == [0, 0], told
    same(whole, again)
    assert step >= 40


@pytest.mark.slow
def test_shares_go_on_with_the_same_bits_and_are_read_by_any_number(
    recipe: Path, tmp_path: Path, apart: Any, capsys: pytest.CaptureFixture[str], pair: Any
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    fsdp = ("--set", "train.parallel={engine: fsdp}")
    assert pair(recipe, "--out", whole, *fsdp).ended()[0] == [0, 0]
    two = pair(recipe, "--out", out, *fsdp)
    apart.wait_for_step(out, 50, two.processes[0])
    for process in two.processes:
        process.kill()
    two.ended()
    halfway = trained_tensors(checkpoints(out / "checkpoints")[-1])
    assert main(["sample", str(out), "-n", "4"]) == 0, "a run at work is read from its shares"
    codes, told = pair(out).ended()
    assert codes == [0, 0], told
    ours, theirs = load_file(out / "flow.safetensors"), load_file(whole / "flow.safetensors")
    assert all(ours[name].equal(value) for name, value in theirs.items())
    assert halfway.keys() == theirs.keys()
    assert any(not halfway[name].equal(value) for name, value in theirs.items())


@pytest.mark.slow
def test_shares_of_two_are_gone_on_with_by_one(recipe: Path, tmp_path: Path, pair: Any) -> None:
    """Any number reads them; a shard that was cut short, or is not there, is told."""
    out, shares = tmp_path / "run", "train.parallel={checkpoints: sharded}"
    two = pair(recipe, "--out", out, "--set", shares, "--set", "train.steps=40")
    assert two.ended()[0] == [0, 0]
    last = checkpoints(out / "checkpoints")[-1]
    found, plain = trained_tensors(last), load_file(out / "flow.safetensors")
    assert found.keys() == plain.keys()
    assert all(found[name].equal(value) for name, value in plain.items())
    assert len(list(last.glob("shard-*.safetensors"))) == 2
    from flowloom.training import load_checkpoint
    from flowloom_registry.config.recipe import load_recipe
    from flowloom_registry.runs.assembly import assemble

    assembly = assemble(load_recipe(str(recipe), overrides=[shares, "train.steps=50"]))
    trainer = assembly.flow.trainer(assembly.feed, assembly.train, seed=3)
    load_checkpoint(trainer, last)
    assert trainer.step == 40
    assert list(trainer.run())[-1]["step"] == 50
    trainer.close()
    one = sorted(last.glob("shard-*.safetensors"))[0]
    for spoil in (lambda: one.write_bytes(one.read_bytes()[:-8]), one.unlink):
        spoil()
        with pytest.raises(Exception, match="damaged") as told:
            load_checkpoint(trainer, last)
        assert "\n" not in str(told.value)


@pytest.mark.slow
def test_a_full_disk_of_the_first_ends_both(recipe: Path, tmp_path: Path, pair: Any) -> None:
    codes, told = pair(recipe, "--out", tmp_path / "run", small=20_000).ended()
    assert codes == [2, 2]
    assert len(faults(told, "cannot write checkpoint")) == 1
    assert told[1] == []


@pytest.mark.slow
def test_what_is_not_finite_ends_both(recipe: Path, tmp_path: Path, pair: Any) -> None:
    codes, told = pair(recipe, "--out", tmp_path / "run", "--set", "train.lr=1.0e+30").ended()
    assert codes == [2, 2]
    assert len(faults(told, "not finite")) == 1
    assert not faults(told, "Traceback")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("train.batch=63", "does not divide among 2 processes"),
        pytest.param("data.n=1", "fewer than there are processes", marks=pytest.mark.slow),
    ],
)
def test_what_two_cannot_share_is_told_once(
    recipe: Path, tmp_path: Path, change: str, word: str, pair: Any
) -> None:
    codes, told = pair(recipe, "--out", tmp_path / "run", "--set", change).ended()
    assert codes == [2, 2]
    assert [line for lines in told for line in lines] == faults(told, word)
    assert len(faults(told, word)) == 1
    assert not (tmp_path / "run").exists()


def test_shares_among_one_process_are_refused(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(recipe), "--out", str(tmp_path / "run"), "--set", "train.parallel={engine: fsdp}"]
    assert main(words) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "torchrun" in told[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_plain_checkpoint_is_gone_on_with_by_as_many(
    recipe: Path, tmp_path: Path, apart: Any, capsys: pytest.CaptureFixture[str], pair: Any
) -> None:
    out = tmp_path / "run"
    two = pair(recipe, "--out", out)
    apart.wait_for_step(out, 30, two.processes[0])
    for process in two.processes:
        process.kill()
    two.ended()
    assert main(["run", str(out)]) == 2
    told = [
        line for line in capsys.readouterr().err.splitlines() if "plain checkpoint of 2 processes" in line
    ]
    assert len(told) == 1


@pytest.mark.slow
def test_torchrun_carries_a_staged_recipe_out(recipe: Path, tmp_path: Path) -> None:
    staged = tmp_path / "staged.yaml"
    short = recipe.read_text().replace("steps: 120", "steps: 20")
    staged.write_text(short + "stages:\n- name: first\n- name: second\n  roles: {teacher: {run: first}}\n")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["-m", "flowloom_registry", "run", str(staged), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report:") == 1
    assert "Warning" not in done.stderr
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"
