"""Recipes run end to end on small files, go on with the same bits, and bad input costs one line."""

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file

from flowloom_registry.cli import main

SMILES = ["CCO", "CCN", "CC(C)C", "CC=O", "C#N", "CCF", "OCCO", "CNC", "COC", "CCC", "CO", "CN", "C=C", "CCl"]


def run(*words):
    return main([str(w) for w in words])


@pytest.fixture
def home(tmp_path, monkeypatch, write_csv, crystals_csv):
    monkeypatch.setenv("FLOWLOOM_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("esol", "freesolv"):
        write_csv(tmp_path / f"{name}.csv", ("smiles",), [(s,) for s in SMILES])
    crystals_csv.rename(tmp_path / "perov_5_train.csv")
    return tmp_path


MOLECULES = [
    "model.width=16",
    "model.depth=1",
    "data.test=0.3",
    "data.val=0.1",
    "metrics=[{use: molecule-quality, rare: 1}]",
]
CRYSTALS = ["model.width=16", "model.depth=1", "model.frequencies=2"]


TENSORS = ["model.width=4", "model.depth=1", "model.hidden=8", *MOLECULES[2:]]


@pytest.mark.parametrize(
    ("recipe", "small"),
    [
        ("molecules-3d", MOLECULES),
        pytest.param("molecules-3d-tensor", TENSORS, marks=pytest.mark.slow),
        ("crystals-perov", CRYSTALS),
    ],
)
def test_a_recipe_runs_and_goes_on_with_the_same_bits(recipe, small, home):
    pytest.importorskip("pymatgen.core")
    if "tensor" in recipe:
        pytest.importorskip("e3nn", reason="the network needs e3nn")
    quick = [
        *small,
        "train.steps=6",
        "train.batch=8",
        "solver.steps=4",
        "evaluate.n=6",
        "train.checkpoint_every=2",
        "train.keep_checkpoints=3",
    ]
    given = [word for setting in quick for word in ("--set", setting)]
    assert run("run", recipe, *given, "--out", "whole") == 0
    evaluation = json.loads((home / "whole" / "evaluation.json").read_text())
    assert evaluation["columns"]["samples"]
    known = ("no Gaussian baseline", "which did best on the val split")
    assert all(any(one in note for one in known) for note in evaluation["notes"])
    page = (home / "whole" / "report.html").read_text()
    assert page.count("3Dmol-min.js.LICENSE.txt") == 1
    whole = load_file(home / "whole" / "flow.safetensors")
    shutil.copytree(home / "whole", home / "again")
    for name in ("flow.safetensors", "evaluation.json", "report.html"):
        (home / "again" / name).unlink()
    (home / "again" / "status.json").write_text(
        '{"format": 2, "state": "training", "step": 4, "message": ""}'
    )
    latest = sorted((home / "again" / "checkpoints").iterdir())[-1]
    shutil.rmtree(latest)
    assert run("run", recipe, *given, "--out", "again") == 0
    again = load_file(home / "again" / "flow.safetensors")
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[k], again[k]) for k in whole)


def test_bad_input_costs_one_line(home, capsys, write_csv, monkeypatch):
    write_csv(home / "bad.csv", ("smiles",), [("rubbish",)] * 4)
    assert run("run", "molecules-3d", "--set", "data.files=[bad.csv]") == 2
    assert "none of 4 rows can be used: unparsable SMILES: 4" in capsys.readouterr().err
    assert run("run", "molecules-3d", "--set", "model.answer=velocity") == 2
    assert "give the model answer: data" in capsys.readouterr().err
    assert run("run", "molecules-3d-tensor", "--set", "model.answer=velocity") == 2
    assert "give the model answer: data" in capsys.readouterr().err
    assert run("run", "molecules-3d-tensor", "--set", "model.degree=0") == 2
    assert "tensors of degree 1 or more, got 0" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "e3nn", None)
    assert run("run", "molecules-3d-tensor") == 2
    assert "pip install e3nn, or flowloom-molecules[equivariant]" in capsys.readouterr().err
    assert run("run", "crystals-perov", "--set", "guidance.slopes={types: 2.0}") == 2
    assert "speeds up velocities" in capsys.readouterr().err
