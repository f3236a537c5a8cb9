"""Whose code a recipe may run: of one's own files, of no run folder, of no function that is no factory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flowloom_registry import load_recipe
from flowloom_registry.cli import main

RECIPE = """
data: {use: eight-gaussians, n: 60}
model: {use: mlp, width: 8, depth: 1}
solver: {use: euler, steps: 2}
metrics: []
evaluate: {n: 10, reference: 20, sweep_nfe: []}
sample: {n: 4, frames: 2, rows: 2}
train: {steps: 2, batch: 8, log_every: 1}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trust")
    (folder / "r.yaml").write_text(RECIPE)
    assert main(["run", str(folder / "r.yaml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.mark.parametrize("target", ["os:system", "subprocess:call", "builtins:print", "os:getcwd"])
def test_a_function_that_is_no_factory_is_not_called(tmp_path: Path, target: str, capsys) -> None:
    mine = f"model: {{use: '{target}', command: 'touch {tmp_path}/PWNED'}}"
    text = RECIPE.replace("model: {use: mlp, width: 8, depth: 1}", mine)
    (tmp_path / "r.yaml").write_text(text)
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert "is a function that does not say what it returns" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "PWNED").exists()


def test_a_factory_of_a_module_says_what_it_makes(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "factories_of_mine.py").write_text(
        "from flowloom.data import EightGaussians, Tensors\n"
        "def make(n: int = 60) -> EightGaussians:\n    return EightGaussians(n)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = RECIPE.replace("{use: eight-gaussians, n: 60}", "factories_of_mine:make")
    (tmp_path / "r.yaml").write_text(text)
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("how", ["file", "extends", "layer", "folder"])
def test_the_recipe_of_a_run_is_trusted_by_no_spelling(
    finished: Path, tmp_path: Path, how: str, capsys, monkeypatch
) -> None:
    run = tmp_path / "evil"
    shutil.copytree(finished, run)
    nets = f"open(r'{tmp_path / 'PWNED'}', 'w')\nfrom flowloom.models import MLP as M\n"
    (run / "nets.py").write_text(nets)
    (run / "recipe.yaml").write_text(RECIPE.replace("{use: mlp, width: 8, depth: 1}", "./nets.py:M"))
    (tmp_path / "mine.yaml").write_text("extends: evil/recipe.yaml\n")
    (tmp_path / "plain.yaml").write_text(RECIPE)
    words = {
        "file": [str(run / ".." / "evil" / "recipe.yaml")],
        "extends": [str(tmp_path / "mine.yaml")],
        "layer": [str(tmp_path / "plain.yaml"), "--with", str(run / "recipe.yaml")],
        "folder": [str(run)],
    }[how]
    out = [] if how == "folder" else ["--out", str(tmp_path / "out")]
    assert main(["run", *words, *out]) == 2
    assert "is code that no installed plugin lists" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "PWNED").exists()
    if how == "file":
        assert main(["run", *words, *out, "--trust"]) == 0
        assert (tmp_path / "PWNED").exists()


def test_files_of_ones_own_are_trusted(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    assert load_recipe(tmp_path / "r.yaml").trusted


@pytest.mark.parametrize(("model", "option"), [("./nets.py:M", " --trust"), ("mlp", "")])
def test_what_to_do_next_works_as_it_is_printed(tmp_path: Path, capsys, model: str, option: str) -> None:
    (tmp_path / "nets.py").write_text("from flowloom.models import MLP as M\n")
    (tmp_path / "r.yaml").write_text(RECIPE.replace("use: mlp", f"use: {model}"))
    run = tmp_path / "run"
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(run)]) == 0
    assert capsys.readouterr().err.endswith(f"flowloom sample {run} -n 16{option}\n")
    assert main(["sample", str(run), "-n", "2", *option.split()]) == 0
