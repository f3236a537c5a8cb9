# ruff: noqa: E501  (recipes and messages are single lines)
"""Tasks of a recipe: posed, answered, judged beside the truth and a baseline, told before training where wrong."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from flowloom.data import Examples
from flowloom.layout import Layout
from flowloom.tasks import Inpaint, Predict, completed
from flowloom_registry.cli import main
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.runs.assembly import assemble
from flowloom_registry.runs.evaluate import evaluate
from flowloom_registry.runs.verdict import verdict

RECIPE = """
name: asked
data: {use: eight-gaussians, n: 400}
model: {use: mlp, width: 16, depth: 1}
solver: {use: midpoint, steps: 2}
metrics: [energy-distance]
tasks:
  - {use: inpaint, holes: [{use: mask, least: 0.5, most: 0.5}], metrics: [mse, {use: crps, draws: 3}]}
  - {use: predict, name: by-label, draws: 4, metrics: [energy-score, best-of]}
  - {use: inpaint, draws: 2}
renderer: scatter
train: {steps: 20, batch: 32}
evaluate: {n: 60, sweep_nfe: [], questions: 30}
sample: {n: 16, frames: 3, rows: 4}
"""


def written(folder: Path, **changed: str) -> str:
    text = RECIPE
    if "tasks" in changed:
        text = re.sub(r"^tasks:\n(  - .*\n)+", "", text, flags=re.M)
    for section, value in changed.items():
        text = re.sub(rf"^{section}: .*\n", "", text, flags=re.M) + f"{section}: {value}\n"
    (folder / "r.yaml").write_text(text)
    return str(folder / "r.yaml")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    assert main(["run", written(folder), "--out", str(folder / "run")]) == 0
    return folder / "run"


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not re.match(r"\w+ \d+/\d+  ", line)]
    assert len(lines) == 1, lines
    return lines[0]


def test_tasks_stand_in_the_evaluation_with_their_baseline(run: Path) -> None:
    found = json.loads((run / "evaluation.json").read_text())
    tasks = found["tasks"]
    assert list(tasks) == ["inpaint", "by-label", "inpaint-2"]
    first = tasks["inpaint"]
    assert (first["n"], first["draws"]) == (30, 3), "as many draws as the metrics want"
    assert set(first["columns"]) == {"samples", "Gaussian"}
    assert set(first["columns"]["samples"]) == {"mse", "mse_of_mean", "crps"}
    assert first["better"]["crps"] == "lower"
    assert tasks["by-label"]["draws"] == 4
    # What names no metrics is judged by the recipe's own, which compare sets.
    assert set(tasks["inpaint-2"]["columns"]) == {"samples", "training data", "Gaussian"}
    assert set(tasks["inpaint-2"]["columns"]["samples"]) == {"energy_distance"}
    assert found["baseline"] == "Gaussian"
    # A Gaussian within a class that is told half of a point is close; one that knows no class is not.
    assert first["columns"]["Gaussian"]["mse"] < 0.1


def test_answers_and_figures_are_files_with_an_index(run: Path) -> None:
    index = json.loads((run / "samples" / "tasks.json").read_text())
    answers = load_file(run / "samples" / index["inpaint"]["answers"])
    assert answers["x"].shape == (30, 2)
    figures = index["inpaint"]["figures"]
    assert {figure["mime"] for figure in figures} == {"image/png"}
    assert all((run / "samples" / figure["file"]).is_file() for figure in figures)
    assert all(figure["file"].startswith("task-inpaint-") for figure in figures)
    assert "Task by-label" in (run / "report.html").read_text()


def test_the_terminal_shows_a_table_for_each(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(run), "--out", "again"]) == 0
    out = capsys.readouterr().out
    assert "task inpaint: 30 questions, 3 answers" in " ".join(out.split())
    assert "energy_score ↓" in out
    again, own = (
        json.loads((place / "evaluation.json").read_text()) for place in (run / "evaluations/again", run)
    )
    assert again["tasks"]["inpaint"]["columns"] == own["tasks"]["inpaint"]["columns"], (
        "the same questions and draws"
    )


def test_a_finished_run_is_asked_other_tasks(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = (run / "evaluation.json").read_bytes()
    layer = tmp_path / "harder.yaml"
    layer.write_text("tasks: [{use: predict, draws: 2, metrics: [mse]}]\nsolver: {use: heun, steps: 3}\n")
    assert "--with asks something else" in refused(["eval", str(run), "--with", str(layer)], capsys)
    assert (
        main(["eval", str(run), "--with", str(layer), "--set", "evaluate.questions=10", "--out", "harder"])
        == 0
    )
    found = json.loads((run / "evaluations/harder/evaluation.json").read_text())
    assert found["nfe"] == 6
    assert {name: one["n"] for name, one in found["tasks"].items()} == {"predict": 10}
    assert (run / "evaluation.json").read_bytes() == own
    layer.write_text("model: {width: 8}\n")
    line = refused(["eval", str(run), "--with", str(layer), "--out", "x"], capsys)
    assert "--with changes what" in line
    assert not (run / "evaluations/x").exists()


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ("[inpant]", "did you mean 'inpaint'?"),
        ("[{use: inpaint, draws: 0}]", "draws counts answers to a question from 1, got 0"),
        ("[{use: inpaint, hole: 3}]", "takes no parameter 'hole'; did you mean 'holes'?"),
        ("[{use: inpaint, holes: [{use: noisy}]}]", "task inpaint would fail afterwards: inpaint: the views Noisy give no entries"),
        ("[{use: inpaint, metrics: [accuracy]}]", "metric Accuracy would fail afterwards: accuracy counts tokens"),
        ("[{use: predict, metrics: [psnr]}]", "metric PSNR would fail afterwards: psnr needs the range"),
        ("[infill]", "task infill would fail afterwards: infill is for flows of tokens"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_told_before_training(
    tasks: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(["run", written(tmp_path, tasks=tasks), "--out", str(tmp_path / "run")], capsys)
    assert not (tmp_path / "run").exists()


def test_an_unknown_task_is_told_before_what_it_lacks(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["inpant"], ["inpant", "17"]):
        said = refused(["task", str(run), *words], capsys)
        assert "inpant" in said
        assert "did you mean 'inpaint'" in said
    assert "GIVEN" in refused(["task", str(run), "inpaint"], capsys)


def test_a_task_of_the_recipe_is_asked_by_its_own_name(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = shutil.copytree(run, tmp_path / "run")
    recipe = yaml.safe_load((named / "recipe.yaml").read_text())
    recipe["tasks"][0]["name"] = "half"
    (named / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["task", str(named), "half", "17", "-n", "2"]) == 0
    assert load_file(named / "samples" / "half" / "answers.safetensors")["x"].shape == (2, 2)
    told = f"the recipe of {named} names half, by-label, inpaint"
    assert refused(["task", str(named), "halff", "17"], capsys).endswith(told)


def test_the_recipes_name_of_a_task_goes_before_that_of_a_component(run: Path, tmp_path: Path) -> None:
    named = shutil.copytree(run, tmp_path / "run")
    recipe = yaml.safe_load((named / "recipe.yaml").read_text())
    recipe["tasks"][0]["name"] = "predict"  # and is inpaint
    (named / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["task", str(named), "predict", "17", "-n", "20"]) == 0
    answers = load_file(named / "samples" / "predict" / "answers.safetensors")["x"]
    assembly = assemble(load_recipe(str(named / "recipe.yaml")))
    assert assembly.data is not None
    row: Any = assembly.data.split("test").take(torch.tensor([17])).x
    assert (answers == row).any(1).float().mean() > 0.5  # of most rows something was given, bit by bit


def test_a_row_is_asked_about_as_views_make_it(tmp_path: Path) -> None:
    recipe = written(tmp_path, tasks="[predict]", views="[{use: noisy, std: 0.1}]")
    assert main(["run", recipe, "--out", str(tmp_path / "run"), "--set", "train.steps=2"]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that nothing was observed, say
        assert main(["task", str(tmp_path / "run"), "predict", "3", "-n", "2"]) == 0
    told = load_file(tmp_path / "run" / "samples" / "predict" / "answers.safetensors")
    assembly = assemble(load_recipe(recipe))
    assert assembly.data is not None
    row = assembly.data.split("test").take(torch.tensor([3, 3]))
    assert torch.equal(told["cond.observed"], row.cond["observed"])


def test_a_gap_in_a_table_has_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shy.py").write_text(
        """
from flowloom.metrics.paired import PairedMetric

class Shy(PairedMetric):
    better = {"shy": "lower"}
    silent = "it is shy"
    def __call__(self, samples, real):
        return {"shy": 1.0} if (samples.x - real.x).square().mean() > 1 else {}
"""
    )
    monkeypatch.chdir(tmp_path)
    recipe = written(tmp_path, metrics="[energy-distance, mse, './shy.py:Shy']", tasks="[]")
    assert main(["run", recipe, "--out", "run"]) == 0
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert "mse" not in found["columns"]["training data"]
    told = [note for note in found["notes"] if note.startswith("no ")]
    assert told == [
        "no shy of 'Gaussian': it is shy",
    ]


def test_a_score_that_looks_at_no_examples_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(
        """
from flowloom.scores import Score

class Own(Score):
    \"\"\"Says how often it was asked.\"\"\"
    of_data = False
    better = {"own": "higher"}
    asked = 0
    def __call__(self, flow, examples, *, seed=0):
        self.asked += 1
        return {"own": float(self.asked)}
"""
    )
    monkeypatch.chdir(tmp_path)
    no_more = {"tasks": "[]", "metrics": "[]", "train": "{steps: 1}"}
    for scores, columns in (
        ("['./own.py:Own']", {"samples"}),
        ("['./own.py:Own', held-out-loss]", {"held-out data", "training data"}),
    ):
        assembly = assemble(load_recipe(written(tmp_path, scores=scores, **no_more), trusted=True))
        found = evaluate(assembly)
        assert set(found.scores) == columns
        assert [values["own"] for values in found.scores.values() if "own" in values] == [1.0]
        told = verdict(vars(found), samples="samples", floor="training data", baseline="")
        assert ("on held-out data" in told) == (len(columns) == 2)


def test_a_task_is_asked_from_the_command_line(run: Path) -> None:
    assert main(["task", str(run), "inpaint", "17", "-n", "3"]) == 0
    answers = load_file(run / "samples" / "inpaint" / "answers.safetensors")
    assert answers["x"].shape == (3, 2)


def test_a_file_of_a_kind_that_a_task_does_not_write_is_told_before_anything_is_answered(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("flowloom.tasks.Inpaint.__call__", lambda *_, **__: pytest.fail("was asked"))
    said = refused(["task", str(run), "inpaint", "17", "-o", str(tmp_path / "out.txt")], capsys)
    assert said.endswith("Inpaint writes no .txt files; give --out a folder")
    assert not list(tmp_path.glob("out*"))


def test_replacement_follows_the_conditional_law_of_an_exact_flow() -> None:
    """The exact flow of N(1, 1/4) in the plane, trained on no holes: the open entry keeps its law."""
    from flowloom.solvers import Midpoint
    from flowloom.testing.flows import plane
    from flowloom.testing.laws import Context

    flow = plane(Context()).flow
    n = 4000
    given = torch.tensor([[True, False]]).expand(n, 2)
    asked = Examples(torch.tensor([[0.3, 0.0]]).expand(n, 2), {}, Layout(given=given))
    x = completed(flow, asked, seed=0, solver=Midpoint(16)).x
    assert isinstance(x, torch.Tensor)
    assert (x[:, 0] == torch.tensor(0.3)).all()
    assert float(x[:, 1].mean()) == pytest.approx(1.0, abs=0.03)
    assert float(x[:, 1].std()) == pytest.approx(0.5, abs=0.03)


def test_flows_trained_with_holes_are_told_of_them(tmp_path: Path) -> None:
    """Given entries reach the network clean, under the names it was trained with, whoever made the holes."""
    assembly = assemble(load_recipe(written(tmp_path, tasks="[inpaint]", views="[{use: mask, most: 1.0}]")))
    seen = []

    def look(module, args, kwargs):  # type: ignore[no-untyped-def]
        seen.append((args[0], kwargs["given"]))

    assembly.flow.model.register_forward_pre_hook(look, with_kwargs=True)
    assert assembly.data is not None
    held_out = assembly.data.split("test")
    own, other = Inpaint(), Inpaint([type(assembly.built["views"][0])(0.5, 0.5, name="holes")])
    for task in (own, other):
        seen.clear()
        asked, truth = task.pose(held_out, 20, torch.Generator().manual_seed(0))
        assert asked.layout is not None
        given = asked.layout.given
        assert (asked.x[~given] == 0).all()
        answers = task(assembly.flow, asked)
        assert torch.equal(answers.x[given], truth.x[given])
        assert seen
        for x, marks in seen:
            assert torch.equal(marks, given)
            torch.testing.assert_close(x[given], truth.x[given])


def test_predictions_are_under_the_conditions_of_their_row(tmp_path: Path) -> None:
    assembly = assemble(load_recipe(written(tmp_path, tasks="[predict]", views="[{use: noisy, std: 0.1}]")))
    task = Predict()
    assert assembly.data is not None
    asked, truth = task.pose(assembly.data.split("test"), 8, torch.Generator().manual_seed(0))
    assert not asked.x.any()
    shown = task.shown(asked)
    assert shown is not None
    assert torch.equal(shown.x, truth.cond["observed"])
    assert set(task(assembly.flow, asked).cond) == {"label", "observed"}
