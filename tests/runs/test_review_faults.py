"""Faults of judging that a review found: nothing rehearsed, results lost, the truth never seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowloom_registry.cli import main

RECIPE = """
data: {use: eight-gaussians, n: 200}
model: {use: mlp, width: 8, depth: 1}
solver: {use: euler, steps: 2}
metrics: [energy-distance]
evaluate: {n: 20, reference: 40, sweep_nfe: []}
sample: {n: 6, frames: 2, rows: 2}
train: {steps: 4, batch: 8, checkpoint_every: 2, log_every: 1}
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sweep_nfe: []", "sweep_nfe: [4], sweep_solvers: [hein]"),
        ("sweep_nfe: []", "sweep_nfe: [4], sweep_solvers: [dopri5]"),
        ("energy-distance", "image-quality"),
        ("energy-distance", "language-gap"),
        ("n: 20,", "n: 1,"),
        ("sample:", "renderer: image-grid\nsample:"),
        ("sample:", "renderer: sequence-text\nsample:"),
    ],
)
def test_what_cannot_be_judged_is_told_before_anything_is_trained(tmp_path: Path, old, new, capsys) -> None:
    assert old in RECIPE
    (tmp_path / "r.yaml").write_text(RECIPE.replace(old, new))
    code = main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")])
    trained = list((tmp_path / "out").rglob("*.safetensors"))
    report = (tmp_path / "out" / "report.html").exists()
    assert "Traceback" not in capsys.readouterr().err
    assert (code == 2 and not trained) or (code == 0 and report)


def test_metrics_see_the_truth_of_the_row_that_was_asked(tmp_path: Path) -> None:
    """Row by row, a sample's condition is that of the real example that it is compared with."""
    (tmp_path / "paired.py").write_text(
        "import torch\n"
        "from flowloom.data import Examples, Tensors\n"
        "from flowloom.metrics import Metric\n"
        "def Data():\n"
        "    past = torch.linspace(-1, 1, 80)[:, None]\n"
        "    held = torch.linspace(2, 3, 20)[:, None]\n"
        "    test = Examples(held.repeat(1, 2), {'past': held})\n"
        "    return Tensors(past.repeat(1, 2), {'past': past}, test=test)\n"
        "class Truth(Metric):\n"
        "    better = {'apart': 'lower'}\n"
        "    def __call__(self, samples, real, **more):\n"
        "        truth = more.get('truth') or real\n"
        "        n = min(len(samples), len(truth))\n"
        "        gap = samples.cond['past'][:n] - truth.x[:n, :1]\n"
        "        return {'apart': float(gap.abs().max())}\n"
    )
    text = RECIPE.replace("{use: eight-gaussians, n: 200}", "./paired.py:Data")
    (tmp_path / "r.yaml").write_text(text.replace("energy-distance", "./paired.py:Truth"))
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 0
    columns = json.loads((tmp_path / "out" / "evaluation.json").read_text())["columns"]
    assert columns["samples"]["apart"] < 1e-6
