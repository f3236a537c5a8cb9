"""Runs from the command line: what they leave behind, and what they say when something is wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from flowloom.parts import tensors
from flowloom_registry import hookimpl, load
from flowloom_registry.cli import main
from flowloom_registry.runs.folder import RunFolder

RECIPE = """
name: small
data: {use: eight-gaussians, n: 400}
model: {use: mlp, width: 16, depth: 1}
objective: {use: flow-matching, condition_dropout: 0.2}
guidance: {use: classifier-free, scale: 1.5}
solver: {use: midpoint, steps: 2}
metrics: [energy-distance]
renderer: scatter
trackers: [csv]
train: {steps: 20, batch: 32, checkpoint_every: 10, log_every: 5}
evaluate: {n: 100, sweep_n: 50, sweep_nfe: [4, 8]}
sample: {n: 16, frames: 3, rows: 4}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    (folder / "small.yaml").write_text(RECIPE)
    assert main(["run", str(folder / "small.yaml"), "--out", str(folder / "run"), "--device", "cpu"]) == 0
    return folder / "run"


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must be refused: exit code 2, one line, no traceback."""
    code = main(words)
    err = capsys.readouterr().err
    said = r"\w+ \d+/\d+  |(run|data|network|training|device|folder) {2,}"
    lines = [line for line in err.splitlines() if not re.match(said, line)]
    assert code == 2, err
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


def test_a_run_leaves_everything_behind(finished: Path) -> None:
    folder = RunFolder(finished)
    assert folder.status()["state"] == "finished"
    assert [line["step"] for line in folder.read_metrics()] == [5, 10, 15, 20]
    assert (finished / "metrics.csv").read_text().startswith("step,")
    table = json.loads(folder.evaluation.read_text())
    assert set(table["columns"]) == {"samples", "training data", "Gaussian"}
    # Guidance doubles every evaluation: 2 midpoint steps of 2 stages.
    assert table["nfe"] == 8
    assert {(p["solver"], p["nfe"]) for p in table["sweep"]} >= {("euler", 4), ("midpoint", 8), ("heun", 8)}
    report = folder.report.read_text()
    assert report.count("data:image/") >= 4, "loss, samples, trajectory and sweep are inside"
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert (finished / "samples/samples.safetensors").exists()


def test_the_floor_is_lower_than_a_barely_trained_flow(finished: Path) -> None:
    columns = json.loads((finished / "evaluation.json").read_text())["columns"]
    assert columns["training data"]["energy_distance"] < columns["samples"]["energy_distance"]


def test_the_resolved_recipe_runs_to_the_same_weights(finished: Path, tmp_path: Path) -> None:
    assert main(["run", str(finished / "recipe.yaml"), "--out", str(tmp_path / "again")]) == 0
    first, again = (load_file(p / "flow.safetensors") for p in (finished, tmp_path / "again"))
    assert all(first[name].equal(again[name]) for name in first)


def test_a_finished_run_is_not_trained_again(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (copy / "checkpoints").stat().st_mtime_ns
    assert main(["run", str(copy)]) == 0
    assert "energy_distance" in capsys.readouterr().out
    assert (copy / "checkpoints").stat().st_mtime_ns == before


def test_sample_and_eval(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sample", str(copy), "-n", "6", "--cond", "label=3", "--solver", "euler", "--steps", "3"]
    assert main(words) == 0
    assert "6 network evaluations" in capsys.readouterr().out
    drawn = load_file(copy / "samples/drawn/samples.safetensors")
    assert drawn["x"].shape == (6, 2)
    assert drawn["cond.label"].tolist() == [3] * 6
    assert main(["sample", str(copy), "-n", "1", "--solver", "euler", "--steps", "1"]) == 0
    assert "1 example, 2 network evaluations each" in capsys.readouterr().out
    assert main(["eval", str(copy), "-n", "50"]) == 0
    assert json.loads((copy / "evaluations" / "n-50" / "evaluation.json").read_text())["n"] == 50


def test_two_lines_of_python(finished: Path) -> None:
    run = load(finished, device="cpu")
    x = run.sample(5, label=[0, 1, 2, 3, 4], seed=1)
    assert isinstance(x, torch.Tensor)
    assert x.shape == (5, 2)
    assert run.sample(5, label=[0, 1, 2, 3, 4], seed=1).equal(x)  # type: ignore[union-attr, arg-type]
    saved = load_file(finished / "flow.safetensors")
    assert all(v.equal(saved[k]) for k, v in tensors(run.flow).items())


def test_hooks_are_called(tmp_path: Path, flowloom_catalog, monkeypatch) -> None:
    from flowloom_registry import load_recipe
    from flowloom_registry.runs.carry_out import carry_out

    called: list[str] = []

    class Plugin:
        @hookimpl
        def flowloom_run_started(self, run):
            called.append("started")

        @hookimpl
        def flowloom_step(self, run, step, metrics):
            called.append(f"step {step}")
            raise RuntimeError("a failing hook must not stop the run")

        @hookimpl
        def flowloom_sampled(self, run, samples):
            called.append("sampled")

        @hookimpl
        def flowloom_evaluated(self, run, results):
            called.append("evaluated")

        @hookimpl
        def flowloom_finished(self, run):
            called.append("finished")

    (tmp_path / "small.yaml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "small.yaml", catalog=flowloom_catalog(mine=Plugin()))
    carry_out(recipe, tmp_path / "run", torch.device("cpu"))
    assert called == [
        "started",
        "step 5",
        "step 10",
        "step 15",
        "step 20",
        "sampled",
        "evaluated",
        "finished",
    ]


class TestBadInput:
    def test_foreign_folder(self, finished, tmp_path, capsys):
        (tmp_path / "thesis.tex").write_text("important")
        recipe = finished.parent / "small.yaml"
        line = refused(["run", str(recipe), "--out", str(tmp_path)], capsys)
        assert "thesis.tex" in line
        assert "--out" in line
        assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]

    def test_not_a_run(self, tmp_path, capsys):
        assert "status.json" in refused(["sample", str(tmp_path)], capsys)
        assert "status.json" in refused(["run", str(tmp_path)], capsys)

    def test_another_recipe(self, finished, copy, capsys):
        recipe = finished.parent / "small.yaml"
        words = ["run", str(recipe), "--out", str(copy), "--set", "train.lr=0.5"]
        line = refused(words, capsys)
        assert "train.lr: 0.001 -> 0.5" in line

    def test_damaged_status(self, copy, capsys):
        (copy / "status.json").write_text('{"state": "fin')
        assert "status.json" in refused(["sample", str(copy)], capsys)

    def test_half_written_run(self, copy, capsys):
        (copy / "recipe.yaml").unlink()
        assert "half-written" in refused(["sample", str(copy)], capsys)

    def test_no_weights_yet(self, copy, capsys):
        (copy / "flow.safetensors").unlink()
        shutil.rmtree(copy / "checkpoints")
        assert "flowloom run" in refused(["sample", str(copy)], capsys)

    def test_truncated_weights(self, copy, capsys):
        file = copy / "flow.safetensors"
        file.write_bytes(file.read_bytes()[:100])
        assert "damaged" in refused(["sample", str(copy)], capsys)

    def test_weights_of_another_model(self, copy, capsys):
        values = load_file(copy / "flow.safetensors")
        values["model.out.weight"] = torch.zeros(3, 3)
        save_file(values, copy / "flow.safetensors")
        assert "out.weight" in refused(["sample", str(copy)], capsys)

    def test_a_truncated_last_checkpoint_is_passed_over(self, copy):
        folder = RunFolder(copy)
        last = sorted(folder.checkpoints.iterdir())[-1] / "flow.safetensors"
        last.write_bytes(last.read_bytes()[:64])
        folder.set_status("training", 20)
        assert main(["run", str(copy)]) == 0
        assert folder.status()["state"] == "finished"

    def test_nan_loss(self, finished, tmp_path, capsys):
        recipe, out = finished.parent / "small.yaml", tmp_path / "run"
        words = ["run", str(recipe), "--out", str(out), "--set", "train.lr=1e30", "--set", "train.clip=0"]
        line = refused([*words, "--set", "train.checkpoint_every=1", "--set", "train.ema=0"], capsys)
        assert "not finite at step" in line
        assert "train.lr" in line
        assert "last good checkpoint is" in line
        assert RunFolder(out).status()["state"] == "failed"
        for name, value in load_file(
            sorted((out / "checkpoints").iterdir())[-1] / "flow.safetensors"
        ).items():
            assert value.isfinite().all(), name

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_no_permission(self, finished, tmp_path, capsys):
        tmp_path.chmod(0o500)
        recipe = finished.parent / "small.yaml"
        assert "Permission" in refused(["run", str(recipe), "--out", str(tmp_path / "run")], capsys)

    @pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that even root cannot write")
    def test_unwritable_for_anyone(self, finished, capsys):
        recipe = finished.parent / "small.yaml"
        assert "/proc/flowloom" in refused(["run", str(recipe), "--out", "/proc/flowloom"], capsys)

    def test_out_below_a_file(self, finished, tmp_path, capsys):
        (tmp_path / "file").write_text("")
        recipe = finished.parent / "small.yaml"
        line = refused(["run", str(recipe), "--out", str(tmp_path / "file" / "run")], capsys)
        assert "file" in line

    def test_no_space(self, finished, tmp_path, capsys, monkeypatch):
        import flowloom.training.checkpoint as checkpoint

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(checkpoint, "save_file", full)
        recipe = finished.parent / "small.yaml"
        line = refused(["run", str(recipe), "--out", str(tmp_path / "run")], capsys)
        assert "No space left on device" in line
        assert not list((tmp_path / "run/checkpoints").iterdir()), "nothing half-written is left"

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--cond", "labl=3"], "label"),
            (["--cond", "label=8"], "0 to 7"),
            (["--cond", "label"], "NAME=VALUE"),
            (["--solver", "eulr"], "--solver eulr: no solver is named 'eulr'; did you mean 'euler'"),
            (["--solver", "ctmc-euler"], "--solver ctmc-euler: CTMCEuler integrates a"),
            (["--solver", "bellman-euler"], "a recipe can say: solver: {use: bellman-euler, teacher: ...}"),
            (["--solver", "mixed", "--steps", "2"], "--solver mixed: besides its name it needs parts"),
            (["--steps", "0"], "--steps"),
            (["-n", "0"], "a whole number from 1"),
            (["--device", "quantum"], "quantum"),
            (["--seed", "99999999999999999999"], "--seed 99999999999999999999 is too large"),
        ],
    )
    def test_sample_arguments(self, finished, capsys, words, said):
        assert said in refused(["sample", str(finished), *words], capsys)

    def test_a_strangers_run_runs_no_code(self, copy, capsys):
        recipe = copy / "recipe.yaml"
        recipe.write_text(recipe.read_text().replace("core:mlp", "subprocess:Popen"))
        line = refused(["sample", str(copy)], capsys)
        assert "subprocess:Popen" in line
        assert "--trust" in line

    def test_two_processes_on_one_run(self, copy, capsys):
        with RunFolder(copy).locked():
            assert "another process" in refused(["run", str(copy)], capsys)
