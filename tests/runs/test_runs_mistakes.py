"""Mistakes at the command line: each is one line, with exit code 2, before anything is trained or written."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest

from flowloom_registry.cli import main

TINY = """data: {use: eight-gaussians, n: 200}
model: {use: mlp, width: 8, depth: 1}
solver: {use: euler, steps: 2}
metrics: [energy-distance]
evaluate: {n: 20, reference: 40, sweep_nfe: []}
sample: {n: 6, frames: 2, rows: 2}
train: {steps: 4, batch: 8, checkpoint_every: 2, log_every: 1}
"""
BANK = "{use: memory-bank, block: inner.0, width: 8, dim: 4, queue: 16, averaged: true}"
_ARRAYS = io.BytesIO()
np.savez(_ARRAYS, x=np.full((20, 2), np.nan))
FILES = {
    "nan.npz": _ARRAYS.getvalue(),
    "tiny.yaml": TINY.encode(),
    "twice.yaml": (TINY + "train: {steps: 5}\n").encode(),
    "inner.yaml": TINY.replace("steps: 4,", "steps: 4, steps: 5,").encode(),
    "tab.yaml": b"data:\n\tuse: eight-gaussians\nmodel: mlp\n",
    "latin.yaml": "summary: é\n".encode("latin-1") + TINY.encode(),
    "utf16.yaml": TINY.encode("utf-16"),
    "nul.yaml": TINY.encode() + b"\0",
    "empty.yaml": b"",
    "list.yaml": b"- a\n",
    "documents.yaml": f"{TINY}---\n{TINY}".encode(),
    "open.yaml": b"data: {use: eight-gaussians\nmodel: mlp\n",
    "file": b"x",
    "empty.csv": b"",
    "nan.csv": b"a,b\n1,2\n3,nan\n",
    "broken.npz": b"\x93NUMPYxx",
    "typo.yaml": b"recpe: tiny.yaml\n",
    "study.yaml": b"recipe: tiny.yaml\narms: {a: {}, b: {solver: heun}}\n",
    "key.yaml": b"recipe: tiny.yaml\ngrid: {train.stps: [1, 2]}\n",
    "of-study.yaml": b"extends: study.yaml\n" + TINY.encode(),
    "long.yaml": b"extends: " + b"x" * 5000 + b"\n" + TINY.encode(),
    "still.py": b"import torch\nclass Still(torch.nn.Module):\n    forward = lambda self, x, t, **cond: x\n",
    "still.yaml": TINY.replace("{use: mlp, width: 8, depth: 1}", "./still.py:Still").encode(),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    (folder / "folder").mkdir()
    (folder / "studied").mkdir()
    (folder / "studied" / "study.json").write_text("{}")
    (folder / "loop").symlink_to(folder / "loop")
    assert main(["run", str(folder / "tiny.yaml"), "--out", str(folder / "RUN"), "--device", "cpu"]) == 0
    return folder


def run(*changes: str) -> list[str]:
    return ["run", "tiny.yaml", *(word for change in changes for word in ("--set", change)), "--out", "OUT"]


CASES: list[tuple[list[str], str]] = [
    (["run", "nosuch"], "no recipe is named 'nosuch'"),
    (["run", "folder"], "folder"),
    (["run", "file"], "file"),
    (["run", "loop"], "loop"),
    (["run", "still.yaml", "--out", "OUT"], "no parameters to train"),
    (["run", "twice.yaml"], "twice.yaml:8:1"),
    (["run", "inner.yaml"], "inner.yaml:7"),
    (["run", "tab.yaml"], "indent with spaces, not tabs"),
    (["run", "latin.yaml"], "UTF-8"),
    (["run", "utf16.yaml"], "UTF-8"),
    (["run", "nul.yaml"], "nul.yaml"),
    (["run", "empty.yaml"], "empty.yaml"),
    (["run", "list.yaml"], "list.yaml"),
    (["run", "documents.yaml"], "documents.yaml"),
    (["run", "open.yaml"], "open.yaml"),
    (["run", "tiny.yaml", "--out", "file"], "file"),
    (["run", "tiny.yaml", "--out", "OUT", "--steps", "x"], "invalid int value: 'x'"),
    (["run", "tiny.yaml", "--out", "OUT", "--steps", "-1"], "must be a number, and not negative; got -1"),
    (["run", "tiny.yaml", "--out", "OUT", "--device", "banana"], "banana"),
    (run("train.lr=1e400"), "1e400 is beyond the range of numbers; infinity is written .inf"),
    (run("train.lr=.inf"), "train.lr must be a number, and not negative; got inf"),
    (run("train.lr=.nan"), "NaN is no setting"),
    (run("train.clip=.inf"), "train.clip must be a number"),
    (run("train.rates={'*': .inf}"), "train.rates"),
    (run("train.rates={'nope.*': 0.1}"), "train.rates: no parameter's name fits 'nope.*'"),
    (run("train.turns={nope: {lr: 0.1}}"), "train.turns names 'nope'; the objective's turns are: main"),
    (run("train.ema=0", f"objective={BANK}"), "learns from averaged weights, and train.ema is 0"),
    (run(f"train.lr={'9' * 400}"), "an integer of 400 digits is no setting"),
    (run(f"train.batch={'9' * 20}"), "an integer of 20 digits is no setting"),
    (run("train.batch=1000000000"), "train.batch is at most 16,777,216 examples, got 1000000000"),
    (run("train.steps=1.5"), "train.steps"),
    (run("train.steps=true"), "train.steps"),
    (run("train..steps=3"), "no dotted path"),
    (run("train.steps=["), "--set train.steps=["),
    (run("model.width=-3"), "width"),
    (run("model.widht=3"), "did you mean 'width'?"),
    (run("data.n=0"), "n"),
    (run("data.n=0", "data.seed=3"), "--set data.n=0"),
    (run("train.lr=-1", "train.batch=4"), "--set train.lr=-1"),
    (run("evaluate.sweep_nfe=[0]", "evaluate.n=5"), "--set evaluate.sweep_nfe=[0]"),
    (run("evaluate.sweep_nfe=[0]"), "evaluate.sweep_nfe counts evaluations from 1, got [0]"),
    (run("evaluate.sweep_nfe=[4,-2]"), "evaluate.sweep_nfe counts evaluations from 1, got [4, -2]"),
    (run("evaluate.split=valid"), "has no split 'valid'"),
    (run("renderer=image-grid"), "renderer image-grid shows images, (channels, height, width)"),
    (run("renderer=world-map"), "renderer world-map shows points of the sphere, (3,)"),
    (run("renderer=sequence-text"), "renderer sequence-text shows sequences of tokens"),
    (run("renderer=atoms"), "renderer atoms shows states with the parts 'pos' and 'types'"),
    (run("renderer=fans"), "renderer fans shows ways and series"),
    (run("data={use: tensors, file: nosuch.npz}"), "nosuch.npz"),
    (run("data={use: tensors, file: folder}"), "folder"),
    (run("data={use: tensors, file: broken.npz}"), "broken.npz"),
    (run("data={use: tensors, file: empty.csv}"), "empty.csv"),
    (run("data={use: tensors, file: nan.csv}"), "nan.csv:3: column 'b' is not finite: 'nan'"),
    (run("trackers=[{use: csv, filename: status.json}]"), "ending in .csv; got 'status.json'"),
    (run("trackers=[csv, csv]"), "trackers: several write metrics.csv; give each a 'filename:' of its own"),
    (run("tasks=[{use: inpaint, name: ../../z}]"), "no slash, and no dot to begin with; got '../../z'"),
    (run("metrics.²=x"), "a list of 1 takes an index from 0 to 0, got '²'"),
    (["experiment", "methods-everywhere", "--seeds", "²"], "expected whole numbers such as 3,4,5 or 3-5"),
    (["sample", "RUN", "--cond", "row=²"], "expected one of the held-out rows"),
    (["sample", "RUN", "--cond", f"label={'9' * 20}"], "a number is beyond the range of 64 bits"),
    (
        ["sample", "RUN", "--cond", "label=@broken.npz"],
        "the file cannot be read as numbers: broken.npz is no",
    ),
    (["run", "long.yaml"], "long.yaml:1:10: extends: no recipe is named"),
    (["run", "tiny.yaml", "--out", ""], "the name of a folder is wanted, got an empty one"),
    (["run", "tiny.yaml", "--out", "OUT", "--device", "gpu"], "there is no device 'gpu'; write cpu, cuda"),
    (["run", "tiny.yaml", "--out", "OUT", "--device", "meta"], "device 'meta' cannot be used here"),
    (["eval", "RUN", "--set", "metrics=[]", "--out", "q9"], "so there is nothing to evaluate"),
    (["sample", "RUN", "--out", ""], "the name of a folder is wanted, got an empty one"),
    (["sample", "RUN", "--out", "file/x"], "--out file/x cannot be a folder: file is a file"),
    (["sample", "RUN", "--shards", "--out", "file/x"], "--out file/x cannot be a folder: file is a file"),
    (["export", "RUN", "--out", "file/x"], "--out file/x cannot be a folder: file is a file"),
    (["task", "RUN", "inpaint", "3", "-o", "file/x"], "--out file/x cannot be a folder: file is a file"),
    (["task", "RUN", "inpaint", "3", "-o", ""], "the name of a folder is wanted, got an empty one"),
    (
        run("data={use: tensors, file: nan.npz}"),
        "--set data={use: tensors, file: nan.npz}: data: row 0 is not",
    ),
    (["sample", "nosuch"], "there is no folder nosuch"),
    (["sample", "tiny.yaml"], "tiny.yaml is a file; the folder of a run is wanted"),
    (["sample", "."], ". is not a flowloom run: it has no status.json; there are runs in it: RUN"),
    (["run", "study.yaml"], "this is an experiment and no recipe; carry it out with: flowloom experiment st"),
    (["run", "of-study.yaml"], "study.yaml:1:1: this is an experiment and no recipe"),
    (["experiment", "RUN"], "RUN: cannot be read: it is a folder; its recipe is RUN/recipe.yaml"),
    (["experiment", "studied"], "it is a folder of an experiment; its file goes on with it, and 'flowloom c"),
    (["sample", "RUN", "--out", "file"], "--out file is a file; name a folder"),
    (["plan", "./RUN"], "cannot be read: it is a folder; its recipe is RUN/recipe.yaml"),
    (["sample", "RUN", "-n", "-3"], "a whole number from 1 is wanted, got '-3'"),
    (["sample", "RUN", "-n", "1e400"], "a whole number from 1 is wanted, got '1e400'"),
    (["sample", "RUN", "--steps", "0"], "a whole number from 1 is wanted, got '0'"),
    (["sample", "RUN", "--cond", "label=1e400"], "there is no class"),
    (["sample", "RUN", "--cond", "label=.inf"], "there is no class '.inf'"),
    (["sample", "RUN", "--cond", "lable=1"], "lable"),
    (["sample", "RUN", "--solver", "nosuch"], "nosuch"),
    (["eval", "RUN", "-n", "0"], "a whole number from 1 is wanted, got '0'"),
    (["eval", "folder"], "folder"),
    (["eval", "RUN", "--with", "heun", "--out", "x"], "is named 'heun'; 'heun' is a solver; known: "),
    (["eval", "RUN", "--set", "data.n=9", "--out", "x"], "sample, scores, solver, tasks, trackers"),
    (["experiment", "study.yaml", "--out", "/dev/null/x"], "cannot write /dev/null/x/study.json: Not a dir"),
    (["experiment", "key.yaml"], "key.yaml:2:8: train.stps: TrainConfig takes no parameter 'stps'"),
    (["task", "RUN", "nosuch", "x"], "nosuch"),
    (["check", "nosuch"], "nosuch"),
    (["compare", "RUN", "nosuch"], "nosuch"),
    (["experiment", "typo.yaml"], "recpe"),
    (["experiment", "digits"], "'digits' is a recipe: flowloom run digits"),
    (
        ["run", "methods-everywhere"],
        "'methods-everywhere' is an experiment: flowloom experiment methods-everywhere",
    ),
    (["experiment", "methods-everywhere", "--jobs", "0"], "a whole number from 1 is wanted, got '0'"),
    (["verify", "nosuch"], "nosuch"),
    (["report", "folder"], "folder"),
    (["runs", "nosuch"], "nosuch"),
    (["runn", "tiny.yaml"], "runn"),
]


@pytest.mark.parametrize(("words", "said"), CASES, ids=[" ".join(words)[:60] for words, _ in CASES])
def test_one_line_and_nothing_written(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(place)
    before = {"__pycache__", *os.listdir()}  # Python's own, of parts that are files
    code = main(words)
    printed = capsys.readouterr()
    assert code == 2, printed
    last = printed.err.strip().splitlines()[-1]
    assert said in last
    assert "Traceback" not in printed.err
    # What a run says of itself stands before a mistake that only its rehearsal can find.
    assert "rehears" in printed.err or "training" in printed.err or printed.err.count("\n") == 1
    assert {*os.listdir()} <= before
    assert not Path("RUN", "evaluations").exists()
