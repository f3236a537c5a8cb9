"""Several draws of a row come in one solve, each beside its own truth; rules of the domain are columns."""

import json

from flowloom_registry.cli import main

PARTS = """
import torch
from flowloom.baselines import Baseline
from flowloom.data import Examples
from flowloom.errors import IncompatibleError
from flowloom.metrics import Metric
from flowloom.metrics.pairs import drawn_rows


class Beside(Metric):
    better = {"strangers": "lower"}
    paired = True
    draws = 4

    def __call__(self, samples, real):
        drawn = drawn_rows(samples, real)
        wrong = sum(float((one.cond["label"] != real.cond["label"]).sum()) for one in drawn)
        alike = sum(float((one.x == drawn[0].x).all(1).sum()) for one in drawn[1:])
        return {"strangers": wrong, "alike": alike, "drawn": float(len(drawn))}


class Middle(Baseline):
    def __init__(self, name: str = "") -> None:
        self.name = name

    def fit(self, train):
        self.mean = train.all().x.mean(0)

    def __call__(self, asked, generator):
        return Examples(self.mean.expand(len(asked), -1).clone(), asked.cond, asked.layout)


class Cannot(Baseline):
    def __call__(self, asked, generator):
        raise IncompatibleError("such rows are beyond it")
"""

RECIPE = """
data: {use: eight-gaussians, n: 64}
model: {use: mlp, width: 8, depth: 1}
metrics: ["./parts.py:Beside"]
baselines: ["./parts.py:Middle", {use: "./parts.py:Middle", name: the mean}, "./parts.py:Cannot"]
tasks: [{use: predict, metrics: ["./parts.py:Beside"]}]
train: {steps: 2, batch: 8}
evaluate: {n: 10, reference: 32, batch: 16, questions: 6, sweep_nfe: []}
sample: {n: 8}
"""


def test_draws_stand_beside_their_rows_and_rules_are_columns(tmp_path):
    (tmp_path / "parts.py").write_text(PARTS)
    (tmp_path / "r.yaml").write_text(RECIPE)
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 0
    told = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    for columns in (told["columns"], told["tasks"]["predict"]["columns"]):
        samples = columns["samples"]
        assert samples == {"strangers": 0.0, "alike": 0.0, "drawn": 4.0}
        assert columns["the mean"]["strangers"] == 0
        assert columns["the mean"]["alike"] == 3 * (10 if columns is told["columns"] else 6)
    assert [note for note in told["notes"] if "beyond it" in note]
