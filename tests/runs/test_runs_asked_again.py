"""A finished run that is asked something else, and killed at it: no table under another's recipe."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from flowloom_registry.cli import main
from flowloom_registry.runs import carry_out

RECIPE = """
data: {use: eight-gaussians, n: 200}
model: {use: mlp, width: 8, depth: 1}
solver: {use: euler, steps: 2}
metrics: [energy-distance]
evaluate: {n: 20, reference: 40, sweep_nfe: []}
sample: {n: 6, frames: 2, rows: 2}
train: {steps: 2, batch: 8, log_every: 1}
"""
OTHER = RECIPE.replace("n: 20,", "n: 10,").replace("steps: 2}\nmetrics", "steps: 3}\nmetrics")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    (folder / "r.yaml").write_text(RECIPE)
    (folder / "other.yaml").write_text(OTHER)
    assert main(["run", str(folder / "r.yaml"), "--out", str(folder / "run")]) == 0
    other = ["--set", "evaluate.n=12", "--set", "solver.steps=4"]
    assert main(["eval", str(folder / "run"), "--out", "beside", *other]) == 0
    return folder


def _kill_at(monkeypatch: pytest.MonkeyPatch, k: int) -> list[int]:
    """Die at the k-th change to the disk."""
    changes = [0]

    def counted(module: object, name: str) -> None:
        real = getattr(module, name)

        def change(*args: object, **kw: object) -> object:
            changes[0] += 1
            if changes[0] == k:
                raise KeyboardInterrupt
            return real(*args, **kw)

        monkeypatch.setattr(module, name, change)

    counted(os, "replace")
    counted(Path, "unlink")
    return changes


def _consistent(place: Path) -> None:
    recipe = yaml.safe_load((place / "recipe.yaml").read_text())
    if (place / "evaluation.json").exists():
        found = json.loads((place / "evaluation.json").read_text())
        assert found["n"] == recipe["evaluate"]["n"]
        assert found["nfe"] == recipe["solver"]["steps"]
    if (place / "report.html").exists():
        assert f"n: {recipe['evaluate']['n']}" in (place / "report.html").read_text()


@pytest.mark.parametrize("where", ["", pytest.param("evaluations/beside", marks=pytest.mark.slow)])
def test_a_table_never_stands_under_another_recipe(
    finished: Path, tmp_path: Path, monkeypatch, where
) -> None:
    run = tmp_path / "run"
    words = ["run", str(finished / "other.yaml"), "--out", str(run)]
    if where:
        words = ["eval", str(run), "--out", "beside", "--set", "evaluate.n=10", "--set", "solver.steps=3"]
    for k in range(1, 100):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(finished / "run", run)
        with monkeypatch.context() as patch:
            changes = _kill_at(patch, k)
            code = main(words)
        _consistent(run / where)
        if changes[0] < k:
            assert code == 0
            break
        assert code == 130
        status = json.loads((run / "status.json").read_text())
        assert where or status["state"] == "trained" or (run / "evaluation.json").exists()
    assert k > 6
    assert main(words) == 0
    _consistent(run / where)
    assert json.loads((run / where / "evaluation.json").read_text())["n"] == 10
    assert json.loads((run / "status.json").read_text())["state"] == "finished"


def test_fewer_examples_lie_beside_the_old_ones(finished: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    before = {name: (run / name).read_bytes() for name in ("evaluation.json", "report.html", "recipe.yaml")}
    assert main(["eval", str(run), "-n", "10"]) == 0
    assert before == {name: (run / name).read_bytes() for name in before}
    assert json.loads((run / "evaluations" / "n-10" / "evaluation.json").read_text())["n"] == 10
    _consistent(run / "evaluations" / "n-10")
    assert main(["eval", str(run), "-n", "12", "--out", "few"]) == 0
    _consistent(run / "evaluations" / "few")
    assert main(["eval", str(run), "-n", "10", "--set", "solver.steps=3"]) == 2, "--set asks for a name"


def test_settings_that_an_older_version_did_not_know_are_those_by_default(
    finished: Path, tmp_path: Path, capsys
) -> None:
    run, recipe = tmp_path / "run", finished / "r.yaml"
    shutil.copytree(finished / "run", run)
    written = yaml.safe_load((run / "recipe.yaml").read_text())
    for older in (written["train"], written["path"]):
        for name in ("ema", "precision", "geometry"):
            older.pop(name, None)
    del written["coupling"]
    (run / "recipe.yaml").write_text(yaml.safe_dump(written))
    assert main(["run", str(recipe), "--out", str(run)]) == 0
    capsys.readouterr()
    assert main(["run", str(recipe), "--out", str(run), "--set", "train.ema=0.5"]) == 2
    assert "train.ema: " in capsys.readouterr().err
    del written["train"]["steps"]  # which is no 2 by default
    (run / "recipe.yaml").write_text(yaml.safe_dump(written))
    assert main(["run", str(recipe), "--out", str(run)]) == 2
    assert "train.steps: " in capsys.readouterr().err


@pytest.mark.parametrize("change", ["other values", "fewer rows", "gone", "damaged"])
@pytest.mark.parametrize("beside", [[], ["--out", "again"]])
def test_results_are_not_given_up_for_those_of_other_data(tmp_path: Path, capsys, change, beside) -> None:
    table, lines = tmp_path / "mine.csv", [f"{i % 7}.5,{i % 5}.25\n" for i in range(100)]
    table.write_text("a,b\n" + "".join(lines))
    recipe = RECIPE.replace("{use: eight-gaussians, n: 200}", "{use: tensors, file: mine.csv}")
    (tmp_path / "r.yaml").write_text(recipe)
    run = tmp_path / "run"
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(run)]) == 0
    before = (run / "evaluation.json").read_bytes()
    match change:
        case "other values":
            table.write_text("a,b\n" + "".join(line.replace(".25", ".75") for line in lines))
        case "fewer rows":
            table.write_text("a,b\n" + "".join(lines[:50]))
        case "gone":
            table.unlink()
        case "damaged":
            table.write_text("a,b\n1,x\n")
    capsys.readouterr()
    assert main(["eval", str(run), *beside]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1, said
    assert (run / "evaluation.json").read_bytes() == before
    assert not (run / "evaluations" / "again" / "evaluation.json").exists()


def test_an_evaluation_that_fails_late_leaves_what_was_there(
    finished: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    shutil.copytree(finished / "run", tmp_path / "run")
    before = (tmp_path / "run" / "evaluation.json").read_bytes()
    monkeypatch.setattr(carry_out, "evaluate", lambda *_, **__: 1 / 0)
    assert main(["eval", str(tmp_path / "run")]) == 2
    assert "results that were there are kept" in capsys.readouterr().err
    assert (tmp_path / "run" / "evaluation.json").read_bytes() == before


def test_data_may_lie_elsewhere_by_now(tmp_path: Path, capsys) -> None:
    table, text = tmp_path / "mine.csv", "a,b\n" + "".join(f"{i % 7}.5,{i % 5}.25\n" for i in range(100))
    table.write_text(text)
    recipe = RECIPE.replace("{use: eight-gaussians, n: 200}", "{use: tensors, file: mine.csv}")
    (tmp_path / "r.yaml").write_text(recipe)
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "run")]) == 0
    moved = tmp_path / "far" / "away" / "run"
    moved.parent.mkdir(parents=True)
    (tmp_path / "run").rename(moved)
    table.unlink()
    assert main(["eval", str(moved)]) == 2
    for name, content, code in (("same", text, 0), ("other", text.replace(".25", ".75"), 2)):
        (tmp_path / f"{name}.csv").write_text(content)
        capsys.readouterr()
        words = ["--set", f"data.file={tmp_path / name}.csv", "--out", name]
        assert main(["eval", str(moved), *words]) == code
    assert "its rows hold other values" in capsys.readouterr().err
    assert (
        main(
            [
                "eval",
                str(moved),
                "--set",
                f"data.file={tmp_path}/same.csv",
                "--set",
                "data.held_out=0.3",
                "--out",
                "x",
            ]
        )
        == 2
    )
