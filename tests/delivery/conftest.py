"""A small finished run, which is given to others."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowloom_registry.cli import main

RECIPE = """
name: small
data: {use: eight-gaussians, n: 400}
model: {use: mlp, width: 16, depth: 1}
objective: {use: flow-matching, condition_dropout: 0.2}
guidance: {use: classifier-free, scale: 1.5}
solver: {use: midpoint, steps: 2}
metrics: [energy-distance]
renderer: scatter
train: {steps: 20, batch: 32}
evaluate: {n: 100, batch: 50, sweep_nfe: []}
sample: {n: 16, frames: 3, rows: 4}
"""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("delivered")
    (folder / "small.yaml").write_text(RECIPE)
    words = ["run", str(folder / "small.yaml"), "--out", str(folder / "run"), "--device", "cpu", "--quiet"]
    assert main(words) == 0
    return folder / "run"
