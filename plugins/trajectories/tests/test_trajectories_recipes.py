"""Recipes run from end to end, a few steps each; rules of the domain are columns; a killed run goes on."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from flowloom.training.loop import Trainer
from flowloom_registry import load_recipe
from flowloom_registry.cli import main
from flowloom_registry.runs.assembly import assemble

SMALL = [
    "train.steps=3",
    "train.batch=8",
    "evaluate.n=12",
    "evaluate.reference=64",
    "evaluate.questions=6",
    "evaluate.sweep_nfe=[]",
    "sample.n=8",
    "sample.frames=3",
    "sample.rows=2",
]


def run(recipe, out, *settings):
    changes = [word for s in (*SMALL, *settings) for word in ("--set", s)]
    return main(["run", recipe, *changes, "--out", str(out)])


@pytest.fixture
def series_file(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "timeseries"
    folder.mkdir(parents=True)
    wave = torch.arange(800).mul(0.26).sin()
    start = datetime(2020, 1, 1)
    lines = [str(start + timedelta(hours=h)) for h in range(800)]
    (folder / "ETTh1.csv").write_text(
        "date,OT\n" + "".join(f"{t},{v:.4f}\n" for t, v in zip(lines, wave.tolist(), strict=True))
    )
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path / "data"))


@pytest.fixture
def scenes(tmp_path, monkeypatch, walk_file):
    folder = tmp_path / "data" / "pedestrians"
    folder.mkdir(parents=True)
    for name in ("biwi_eth", "crowds_zara01"):
        file = walk_file({i: (i * 200, 30) for i in range(1, 20)}, f"{name}.txt")
        file.rename(folder / file.name)
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path / "data"))


def columns_of(out):
    told = json.loads((out / "evaluation.json").read_text())
    return told["columns"], told["tasks"], told["notes"]


@pytest.mark.parametrize(
    ("recipe", "rule", "task"),
    [
        ("crossroads", "constant-velocity", "predict"),
        pytest.param("maze-plans", "linear-interpolation", "inpaint", marks=pytest.mark.slow),
    ],
)
def test_generated_recipes(recipe, rule, task, tmp_path):
    assert run(recipe, tmp_path / "r", "data.n=64") == 0
    columns, tasks, notes = columns_of(tmp_path / "r")
    assert all(f"no {rule}: " in note for note in notes)  # it does not walk
    assert len(notes) == 2 * (recipe == "maze-plans")
    assert set(columns["samples"]) == set(columns[rule])
    assert set(tasks[task]["columns"]["samples"]) == set(tasks[task]["columns"][rule])
    assert b"Fans" in (tmp_path / "r" / "report.html").read_bytes()


def test_pedestrians(tmp_path, scenes):
    assert run("pedestrians", tmp_path / "r") == 0
    columns, tasks, notes = columns_of(tmp_path / "r")
    assert all("did best on the val split" in note for note in notes)
    # These people walk straight on.
    assert columns["constant-velocity"]["fde"] < 1e-4
    assert columns["turned velocity"]["fde"] > 1
    assert "min_fde" in tasks["predict"]["columns"]["samples"]


@pytest.mark.parametrize(
    ("recipe", "rule"),
    [
        pytest.param("series-forecast", "seasonal-naive", marks=pytest.mark.slow),
        pytest.param("series-imputation", "linear-interpolation", marks=pytest.mark.slow),
    ],
)
def test_series(recipe, rule, tmp_path, series_file):
    assert run(recipe, tmp_path / "r") == 0
    columns, _, notes = columns_of(tmp_path / "r")
    assert all("did best on the val split" in note for note in notes)
    assert columns[rule]["crps"] < columns["samples"]["crps"]  # after three steps a wave is better repeated


def test_both_ends_of_a_plan_are_kept(tmp_path):
    recipe = tmp_path / "plans.yaml"
    recipe.write_text("extends: maze-plans\ndata: {n: 32}\n")
    assembly = assemble(load_recipe(str(recipe)))
    assembly.fit_parts()
    rows = assembly.data.take(torch.arange(5))
    found = assembly.flow.solve(5, cond=rows.cond, seed=0)
    x = assembly.decode(found.x, rows.cond)
    torch.testing.assert_close(x[:, [0, -1]], rows.x[:, [0, -1]], atol=1e-5, rtol=0)


def test_a_killed_run_ends_with_the_same_bits(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    settings = (
        "data.n=64",
        "train.steps=8",
        "train.checkpoint_every=3",
        "evaluate=null",
        "metrics=[]",
        "tasks=[]",
    )
    changes = [word for s in (*settings, "sample.n=4") for word in ("--set", s)]
    command = ["run", "crossroads", *changes, "--out"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    step = Trainer._step

    def dies(self):
        if self.step == 5:
            raise Killed
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", dies)
        with pytest.raises(Killed):
            main([*command, str(tmp_path / "cut")])
    assert main([*command, str(tmp_path / "cut")]) == 0
    (whole,) = Path(tmp_path / "whole").rglob("checkpoints/*8/flow.safetensors")
    (cut,) = Path(tmp_path / "cut").rglob("checkpoints/*8/flow.safetensors")
    wanted, found = load_file(whole), load_file(cut)
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())


@pytest.mark.parametrize(
    ("recipe", "change", "said"),
    [
        ("series-forecast", "data.length=5000", "has 800 steps, 160 in its shortest split"),
        ("series-forecast", "views=[{use: context, length: 72}]", "leaves nothing of examples of shape"),
        ("series-forecast", "data.columns=[oil]", "has no column 'oil'; it has: OT"),
        ("series-imputation", "data.file=none.csv", "there is no file none.csv"),
        ("pedestrians", "data.predicted=40", "no agent is seen 48 steps"),
        ("pedestrians", "data.scene=zara3", "did you mean 'zara1' or 'zara2'?"),
    ],
)
def test_what_cannot_be_asked_is_one_line(recipe, change, said, tmp_path, series_file, scenes, capsys):
    assert run(recipe, tmp_path / "r", change) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.strip().splitlines()) == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_every_scene_is_a_cell_of_the_experiment(tmp_path, scenes):
    command = ["experiment", "pedestrians-scenes", "--small", "--out", str(tmp_path / "e")]
    main([*command, "--set", "evaluate.questions=2"])
    found = (tmp_path / "e" / "results.csv").read_text()
    assert "zara1" in found
    assert "min_ade" in found
    # Of the others there is no file here, which is told and stops nobody.
    assert "biwi_hotel.txt" in "".join(path.read_text() for path in tmp_path.rglob("*.json"))
