# ruff: noqa: E501  (recipes and messages are single lines)
"""What may never cost a run: rehearsal before training, notes after it, runs asked again, truth row by row."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from flowloom_registry.cli import main
from flowloom_registry.runs.folder import RunFolder

RECIPE = """
name: small
data: {use: eight-gaussians, n: 400}
model: {use: mlp, width: 16, depth: 1}
solver: {use: midpoint, steps: 2}
metrics: [energy-distance]
train: {steps: 20, batch: 32, checkpoint_every: 10, log_every: 5}
evaluate: {n: 100, sweep_n: 50, sweep_nfe: [4], sweep_solvers: [euler]}
sample: {n: 16, frames: 3, rows: 4}
"""

PARTS = '''
import torch
from flowloom.metrics import Metric
from flowloom.renderers import Renderer
from flowloom.scores import Score
from flowloom.trackers import Tracker

class Seen(Metric):
    """Writes down what it was given, and whose truth it was."""
    better = {"off": "lower"}
    paired = True
    calls = []
    def __call__(self, samples, real):
        Seen.calls.append((samples, real))
        return {"off": float((samples.x - real.x).abs().mean())}

class Held(Metric):
    better = {"rows": "higher"}
    calls = []
    def __call__(self, samples, real):
        Held.calls.append((samples, real))
        return {"rows": float(len(real))}

class Always(Metric):
    better = {"x": "lower"}
    def __call__(self, samples, real):
        raise KeyError("a bug of the metric")

class Unfit(Always):
    def fit(self, train):
        raise ValueError("no judge for such data")

class OnlyTrained(Metric):
    """Fails on what trained weights draw, and not in the rehearsal."""
    better = {"x": "lower"}
    def __call__(self, samples, real):
        if len(samples) > 64:
            raise RuntimeError("too\\nmany")
        return {"x": 0.0}

class Blind(Renderer):
    def trajectory(self, times, states):
        return []
    def samples(self, samples, real):
        raise RuntimeError("nothing to see")

class LateBlind(Blind):
    def samples(self, samples, real):
        if len(samples) > 2:
            raise RuntimeError("nothing to see")
        return []

class BadScore(Score):
    better = {"s": "lower"}
    def __call__(self, flow, examples, *, seed=0):
        raise RuntimeError("cannot say")

class Muddled(Tracker):
    def log(self, step, metrics):
        metrics["lost"]

class Late(Tracker):
    def log(self, step, metrics):
        pass
    def finish(self, results):
        raise ValueError("no end")

class Server(Late):
    """Told only of real runs."""
    remote = True
    def log(self, step, metrics):
        assert step > 2

class Locked(Tracker):
    """Cannot be copied, and is as good as any other."""
    def __init__(self):
        import threading
        self.lock = threading.Lock()
    def log(self, step, metrics):
        pass

class Lost(Tracker):
    def log(self, step, metrics):
        if step > 5:
            raise OSError("the line is down")
    def finish(self, results):
        raise OSError("still down")
'''


def written(folder: Path, **changed: str) -> str:
    text = RECIPE
    for section, value in changed.items():
        text = re.sub(rf"^{section}: .*\n", "", text, flags=re.M) + f"{section}: {value}\n"
    (folder / "parts.py").write_text(PARTS)
    (folder / "r.yaml").write_text(text)
    return str(folder / "r.yaml")


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    code = main(words)
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if not re.match(r"\w+ \d+/\d+  ", line)]
    assert code == 2, err
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"metrics": "[./parts.py:Always]"}, "metric Always would fail afterwards: KeyError: 'a bug of the"),
        ({"metrics": "[./parts.py:Unfit]"}, "metric Unfit would fail afterwards: ValueError: no judge for"),
        ({"metrics": "[image-quality]"}, "metric ImageQuality would fail afterwards"),
        (
            {"scores": "[./parts.py:BadScore]"},
            "score BadScore would fail afterwards: RuntimeError: cannot say",
        ),
        ({"renderer": "./parts.py:Blind"}, "showing samples would fail afterwards: RuntimeError: nothing"),
        (
            {"evaluate": "{n: 50, sweep_solvers: [hein]}"},
            "sweep of hein at 2 evaluations would fail afterwards",
        ),
        ({"evaluate": "{n: 50, sweep_solvers: [dopri5]}"}, "dopri5 has no fixed number of steps"),
        (
            {"evaluate": "{n: 50, sweep_solvers: [flow-map]}"},
            "integrates a flow-map field, and FlowMatching trains a velocity one; use solver: euler",
        ),
        ({"trackers": "[./parts.py:Muddled]"}, "tracker Muddled would fail afterwards: KeyError: 'lost'"),
        ({"trackers": "[csv, ./parts.py:Late]"}, "tracker Late would fail afterwards: ValueError: no end"),
        ({"evaluate": "{n: 1, sweep_nfe: []}"}, "energy distance needs at least 2 points a side"),
    ],
)
def test_what_would_fail_after_training_is_told_before_it(
    changed: dict[str, str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(["run", written(tmp_path, **changed), "--out", str(tmp_path / "run")], capsys)
    assert said in line
    assert line.count("nothing was trained") == 1
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_tells_a_server_or_cannot_be_copied_is_not_rehearsed(tmp_path: Path, capsys) -> None:
    file = written(tmp_path, trackers="[./parts.py:Server, ./parts.py:Locked]")
    assert main(["run", file, "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().err.count("tracker Server failed: ValueError: no end") == 1


def test_what_fails_later_all_the_same_is_a_note_beside_the_other_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = written(
        tmp_path,
        metrics="[./parts.py:OnlyTrained, energy-distance]",
        renderer="./parts.py:LateBlind",
        trackers="[./parts.py:Lost]",
    )
    assert main(["run", recipe, "--out", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr()
    assert shown.err.count("warning: tracker Lost failed at step 10: OSError: the line is down") == 1
    table = json.loads((tmp_path / "run/evaluation.json").read_text())
    wanted = {
        "tracker Lost failed at step 10: OSError: the line is down",
        "showing samples failed: RuntimeError: nothing to see",
        "metric OnlyTrained failed: RuntimeError: too many",
    }
    assert wanted <= set(table["notes"])
    assert len([note for note in table["notes"] if "OnlyTrained" in note]) == 1
    assert set(table["columns"]["samples"]) == {"energy_distance"}
    assert len(table["sweep"]) == 1
    report = (tmp_path / "run/report.html").read_text()
    for note in wanted:
        assert note[0].upper() + note[1:] in report
        assert note[:40] in shown.out
    status = RunFolder(tmp_path / "run").status()
    assert (status["state"], status["step"]) == ("finished", 20)


def test_a_single_held_out_row_is_rehearsed(tmp_path: Path) -> None:
    file = written(tmp_path, data="{use: eight-gaussians, n: 1}", metrics="[]", scores="[held-out-loss]")
    assert main(["run", file, "--out", str(tmp_path / "run")]) == 0


def test_a_rehearsal_changes_no_weight(tmp_path: Path) -> None:
    recipe = written(tmp_path)
    assert main(["run", recipe, "--out", str(tmp_path / "judged")]) == 0
    bare = written(tmp_path, metrics="[]")
    assert main(["run", bare, "--out", str(tmp_path / "bare")]) == 0
    one, other = ((tmp_path / name / "flow.safetensors").read_bytes() for name in ("judged", "bare"))
    assert one == other


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    assert main(["run", written(folder), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_only_what_training_depends_on_identifies_a_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "flow.safetensors").stat().st_mtime_ns
    other = written(
        tmp_path, metrics="[sliced-wasserstein]", solver="{use: euler, steps: 3}", sample="{n: 4}", name="x"
    )
    assert main(["run", other, "--out", str(run)]) == 0
    assert (run / "flow.safetensors").stat().st_mtime_ns == before
    table = json.loads((run / "evaluation.json").read_text())
    assert (table["nfe"], set(table["columns"]["samples"])) == (3, {"sliced_wasserstein"})
    assert "sliced-wasserstein" in (run / "recipe.yaml").read_text()
    line = refused(["run", other, "--out", str(run), "--set", "train.lr=0.5"], capsys)
    assert "holds a run of another recipe (train.lr: 0.001 -> 0.5)" in line
    line = refused(["run", other, "--out", str(run), "--set", "views=[mask]"], capsys)
    assert "holds a run of another recipe (views: left out -> [core:mask])" in line
    line = refused(["run", other, "--out", str(run), "--set", "data=moons"], capsys)
    assert "holds a run of another recipe (data.use: core:eight-gaussians -> core:moons)" in line
    line = refused(["eval", str(run), "--out", "x", "--set", "train.lr=0.5"], capsys)
    assert "was trained by (train.lr: 0.001 -> 0.5)" in line


def test_a_half_trained_run_goes_on_under_another_evaluation(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main(["run", written(tmp_path), "--out", str(folder)]) == 0
    shutil.rmtree(folder / "checkpoints/step-00000020")
    whole = (folder / "flow.safetensors").read_bytes()
    RunFolder(folder).set_status("training", 10)
    assert main(["run", written(tmp_path, metrics="[sliced-wasserstein]"), "--out", str(folder)]) == 0
    assert (folder / "flow.safetensors").read_bytes() == whole


@pytest.mark.parametrize(
    "through",
    [
        {"feed": "{use: self-generated, pairs: 64, every: 10, after: 10}"},
        {"validate": "{score: {use: likelihood, solver: {use: euler, steps: 2}}, every: 10, n: 20}"},
    ],
)
def test_a_solver_that_training_looks_through_belongs_to_the_training_and_not_to_the_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], through: dict[str, str]
) -> None:
    recipe, run = written(tmp_path, **through), tmp_path / "run"
    assert main(["run", recipe, "--out", str(run)]) == 0
    line = refused(["run", recipe, "--out", str(run), "--set", "solver.steps=5"], capsys)
    assert "(solver.steps: 2 -> 5)" in line
    assert main(["eval", str(run), "--set", "solver.steps=5", "--out", "five"]) == 0
    assert json.loads((run / "evaluations/five/evaluation.json").read_text())["nfe"] == 10


def test_a_validation_that_draws_nothing_leaves_the_solver_to_be_asked_again(tmp_path: Path) -> None:
    recipe, run = written(tmp_path, validate="{score: held-out-loss, every: 10, n: 20}"), tmp_path / "run"
    assert main(["run", recipe, "--out", str(run)]) == 0
    before = (run / "flow.safetensors").stat().st_mtime_ns
    assert main(["run", recipe, "--out", str(run), "--set", "solver.steps=5"]) == 0
    assert (run / "flow.safetensors").stat().st_mtime_ns == before
    assert json.loads((run / "evaluation.json").read_text())["nfe"] == 10


def test_a_finished_run_is_asked_differently_beside_its_own_results(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {name: (run / name).read_bytes() for name in ("recipe.yaml", "evaluation.json", "report.html")}
    words = ["eval", str(run), "--set", "solver={use: heun, steps: 4}", "--set", "evaluate.n=40"]
    assert "say --out NAME" in refused(words, capsys)
    assert main([*words, "--out", "heun-4", "--set", "metrics=[sliced-wasserstein]"]) == 0
    assert "evaluations/heun-4/report.html" in capsys.readouterr().out
    place = run / "evaluations/heun-4"
    table = json.loads((place / "evaluation.json").read_text())
    assert (table["n"], table["nfe"]) == (40, 8)
    assert set(table["columns"]["samples"]) == {"sliced_wasserstein"}
    assert "heun" in (place / "recipe.yaml").read_text()
    assert (place / "samples/samples.safetensors").is_file()
    assert all((run / name).read_bytes() == text for name, text in own.items())
    line = refused(["eval", str(run), "--set", "model.width=8", "--out", "x"], capsys)
    assert "--set changes what" in line
    assert "(model.width: 16 -> 8)" in line
    assert "what can be asked again: baselines, evaluate, guidance, metrics" in line
    assert "plain word" in refused(["eval", str(run), "--out", "../x"], capsys)
    line = refused(["eval", str(run), "--set", "evaluate.sweep_solvers=[dopri5]", "--out", "x"], capsys)
    assert "nothing was evaluated" in line
    assert not (run / "evaluations/x").exists()


def test_metrics_see_held_out_rows_and_paired_ones_the_truth_of_the_same_row(tmp_path: Path) -> None:
    from flowloom_registry.config.recipe import load_recipe
    from flowloom_registry.runs.assembly import assemble
    from flowloom_registry.runs.evaluate import evaluate

    recipe = written(tmp_path, metrics="[./parts.py:Seen, ./parts.py:Held]", views="[{use: mask, most: 1.0}]")
    assembly = assemble(load_recipe(recipe))
    result = evaluate(assembly)
    seen, held = (type(metric).calls for metric in assembly.metrics)
    assert assembly.data is not None
    test, train = assembly.data.split("test").all(), assembly.data.all()

    def among(x: torch.Tensor, rows: torch.Tensor) -> bool:
        return bool((x[:, None] == rows).all(-1).any(1).all())

    for _, real in held:
        assert among(real.x, test.x)
        assert not among(real.x, train.x)
    samples, truth = seen[0]
    assert len(samples) == len(truth) == 100
    for name, value in truth.cond.items():
        assert torch.equal(samples.cond[name], value)
    given = truth.cond["given"]
    torch.testing.assert_close(samples.x[given], truth.x[given])
    assert among(truth.x, test.x)
    assert set(result.columns) == {"samples", "training data", "Gaussian"}
    assert "off" not in result.columns["training data"]
    assert {"off", "rows"} <= set(result.columns["Gaussian"])


def test_a_paired_metric_without_truth_is_told_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = written(tmp_path, data="{use: tensors, file: x.csv}", metrics="[mse]")
    (tmp_path / "x.csv").write_text("a,b\n" + "".join(f"{i % 7}.5,{i % 5}.5\n" for i in range(100)))
    line = refused(["run", recipe, "--out", str(tmp_path / "run")], capsys)
    assert "metric MSE would fail afterwards: it compares samples with the truth of the same row" in line
