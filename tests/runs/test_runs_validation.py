"""Scores of a run, looks at held-out data during training, and stopping early."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from flowloom.data import Examples
from flowloom.flow import Flow
from flowloom.scores import Likelihood
from flowloom.training.parallel import World
from flowloom_registry import load
from flowloom_registry.cli import main
from flowloom_registry.runs.assembly import rows_of
from flowloom_registry.runs.folder import RunFolder
from flowloom_registry.runs.validation import Validation, read_best

DATA = '''
import torch
from flowloom.data import Dataset, Examples
from flowloom.spec import Spec

MEANS = {"train": 0.0, "val": 0.0, "test": 3.0}
SIZES = {"train": 12, "val": 60, "test": 60}


class Few(Dataset):
    """Twelve normal points to learn by heart; the test split is of another law than the others."""

    def __init__(self, name: str = "train") -> None:
        draws = torch.Generator().manual_seed(sorted(MEANS).index(name))
        self.x = MEANS[name] + torch.randn(SIZES[name], 2, generator=draws)

    @property
    def spec(self) -> Spec:
        return Spec(shape=(2,))

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: torch.Tensor) -> Examples:
        return Examples(self.x[rows])

    def split(self, name: str) -> Dataset:
        return Few(name) if name in MEANS else super().split(name)
'''
RECIPE = """
name: few
seed: 1
data: ./few.py:Few
model: {use: mlp, width: 64, depth: 2}
solver: {use: midpoint, steps: 10}
train: {steps: 240, batch: 64, lr: 1.0e-2, ema: 0.9, checkpoint_every: 60, log_every: 20, keep_checkpoints: 9}
sample: {n: 4, frames: 2, rows: 2}
"""
LOOKS = "validate: {score: likelihood, every: 20, n: 50}\n"


def run(folder: Path, text: str) -> tuple[int, Path]:
    (folder / "few.py").write_text(DATA)
    (folder / "few.yaml").write_text(text)
    out = folder / "run"
    return main(["run", str(folder / "few.yaml"), "--out", str(out), "--device", "cpu"]), out


def looks(out: Path) -> dict[int, float]:
    return {line["step"]: line["val_nll"] for line in RunFolder(out).read_metrics() if "val_nll" in line}


def same(a: Path, b: Path) -> bool:
    first, second = load_file(a), load_file(b)
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    code, out = run(tmp_path_factory.mktemp("whole"), RECIPE + LOOKS + "scores: [likelihood]\n")
    assert code == 0
    return out


def test_the_best_weights_are_kept(whole: Path) -> None:
    history = looks(whole)
    assert sorted(history) == list(range(0, 241, 20)), "the first weights are looked at too"
    best = min(history, key=history.__getitem__)
    assert best < 240, "the run must overfit, or nothing is tested"
    last = sorted((whole / "checkpoints").iterdir())[-1]
    assert last.name == "step-00000240"
    assert not same(whole / "flow.safetensors", last / "ema.safetensors")
    kept = read_best(RunFolder(whole))
    assert kept is not None
    assert (kept.step, kept.value) == (best, history[best])
    assert same(whole / "flow.safetensors", whole / "best.safetensors")

    loaded = load(whole, trust=True)
    for split, agrees in (("val", True), ("test", False)):
        rows = rows_of(loaded.assembly.data.split(split), 50, 0)
        with torch.no_grad():
            nll = -float(loaded.log_prob(rows.x).double().mean())
        assert (nll == pytest.approx(history[best], abs=1e-4)) == agrees, split


def test_looks_do_not_disturb_training(whole: Path, tmp_path: Path) -> None:
    code, plain = run(tmp_path, RECIPE)
    assert code == 0
    for checkpoint in sorted((plain / "checkpoints").iterdir()):
        for file in ("flow", "ema", "optimizers"):
            name = f"{file}.safetensors"
            assert same(checkpoint / name, whole / "checkpoints" / checkpoint.name / name), checkpoint.name
    assert same(plain / "flow.safetensors", plain / "checkpoints" / "step-00000240" / "ema.safetensors")


@pytest.mark.parametrize("crash_at", [80, *(pytest.param(at, marks=pytest.mark.slow) for at in (140, 200))])
def test_a_crash_during_a_look_loses_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    look = Validation.look

    def crash(self: Validation) -> dict[str, float]:
        values = look(self)  # the best weights may be written already, the line of metrics is not
        if self.trainer.step == crash_at:
            raise KeyboardInterrupt
        return values

    text = RECIPE + LOOKS + "scores: [likelihood]\n"
    with monkeypatch.context() as patch:
        patch.setattr(Validation, "look", crash)
        code, out = run(tmp_path, text)
        assert code != 0
        assert not (out / "flow.safetensors").exists()
    assert run(tmp_path, text)[0] == 0
    assert looks(out) == looks(whole)
    assert read_best(RunFolder(out)) == read_best(RunFolder(whole))
    assert same(out / "flow.safetensors", whole / "flow.safetensors")


def test_patience_stops_and_stays_stopped(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = looks(whole)
    best, since, stop = float("inf"), 0, 0
    for step, value in history.items():
        since = 0 if value < best else since + 1
        best = min(best, value)
        if since == 3:
            stop = step
            break
    assert 0 < stop < 240
    text = RECIPE + LOOKS.replace("n: 50", "n: 50, patience: 3")

    def crash(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # after the last step, before the weights are written
        patch.setattr("flowloom_registry.runs.train.load_tensors", crash)
        assert run(tmp_path, text)[0] != 0
    code, out = run(tmp_path, text)
    assert code == 0
    assert max(looks(out)) == stop
    assert RunFolder(out).status() | {"message": ""} == {
        "format": 2,
        "state": "finished",
        "step": stop,
        "message": "",
    }
    expected = min((v, k) for k, v in history.items() if k <= stop)[1]
    kept = read_best(RunFolder(out))
    assert kept is not None
    assert kept.step == expected


def test_all_processes_decide_by_the_look_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that stops before the others would leave them waiting."""

    def of_first(world: World, values: Sequence[Tensor]) -> None:
        for value in values:
            value.fill_(0.25)

    monkeypatch.setattr(World, "take_from_first", of_first)
    code, out = run(tmp_path, RECIPE.replace("steps: 240", "steps: 20") + LOOKS)
    assert code == 0
    assert looks(out) == {0: 0.25, 20: 0.25}
    best = read_best(RunFolder(out))
    assert best is not None
    assert (best.step, best.value) == (0, 0.25)


def test_scores_are_told(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = json.loads((whole / "evaluation.json").read_text())
    assert set(result["scores"]) == {"held-out data", "training data"}
    assert result["scores"]["held-out data"]["nll"] > result["scores"]["training data"]["nll"] + 1
    assert result["scores"]["held-out data"]["nats_per_dim"] == pytest.approx(
        result["scores"]["held-out data"]["nll"] / 2
    )
    assert any("did best on the val split" in note for note in result["notes"])
    report = (whole / "report.html").read_text()
    assert "What the flow says of held-out examples" in report
    assert '"label":"val_' in report, "looks at held-out data stand among the curves"
    assert main(["eval", str(whole), "--trust"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"nll ↓\s+│\s+[\d.]+\s+│", printed), printed
    again = json.loads((whole / "evaluation.json").read_text())
    assert again["scores"] == result["scores"]


@pytest.mark.parametrize(("every", "kept"), [(1, 27), (9, 27), (20, 20), (40, 0)])
def test_close_looks_find_the_best_that_distant_ones_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, kept: int
) -> None:
    """Of a curve that is best at step 27 and then climbs; the wrong twins look every 20 and 40 steps."""
    look, now = Validation.look, {"step": 0}

    def told(self: Validation) -> dict[str, float]:
        now["step"] = self.trainer.step
        return look(self)

    def curve(self: Likelihood, flow: Flow, examples: Examples, *, seed: int = 0) -> dict[str, float]:
        step = now["step"]
        value = 1 - step / 54 if step <= 27 else step / 27
        return {"nll": value, "nats_per_dim": value}

    monkeypatch.setattr(Validation, "look", told)
    monkeypatch.setattr(Likelihood, "__call__", curve)
    text = RECIPE.replace("steps: 240", "steps: 40") + LOOKS.replace("every: 20", f"every: {every}")
    code, out = run(tmp_path, text)
    assert code == 0
    best = read_best(RunFolder(out))
    assert best is not None
    assert best.step == kept


HEAD = """
data: {use: eight-gaussians, n: 50}
model: {use: mlp, width: 8, depth: 1}
train: {steps: 1, batch: 4}
"""
BAD = {
    "validate: {score: likelihood, split: dev}": "validate: EightGaussians has no split 'dev'",
    "scores: [likelihood]\nevaluate: {split: dev}": "scores: EightGaussians has no split 'dev'",
    "source: {use: dataset, dataset: moons}\nscores: [likelihood]": "source FromDataset has no density",
    "solver: euler-maruyama\nscores: [likelihood]": "scores: score likelihood needs an ODE solver, not Euler",
    "solver: euler-maruyama\nvalidate: {score: likelihood}": "validate: score likelihood needs an ODE solver",
    "validate: {every: 5}": "validate.every is set without a score",
    "validate: {score: likelihood, patience: 0}": "validate.patience must be at least 1, got 0",
    "validate: {score: energy-distance}": "no score is named 'energy-distance'",
}


@pytest.mark.parametrize(("extra", "said"), BAD.items())
def test_what_cannot_be_scored_is_told_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: str, said: str
) -> None:
    recipe = tmp_path / "bad.yaml"
    recipe.write_text(HEAD + extra + "\n")
    assert main(["run", str(recipe), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 2
    err = capsys.readouterr().err.strip()
    assert said in err
    assert "\n" not in err, err
    assert not (tmp_path / "run").exists()


def test_damaged_best_weights_are_named(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Beside the run: its recipe names a file of the project around it.
    out = Path(shutil.copytree(whole, whole.with_name("copy")))
    (out / "best.safetensors").write_bytes(b"nothing")
    assert main(["eval", str(out), "--trust"]) == 2
    err = capsys.readouterr().err.strip().splitlines()[-1]
    assert "best.safetensors is damaged" in err
