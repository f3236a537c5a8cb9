"""Tiny recipes of the plane, and experiments over them."""

from __future__ import annotations

from pathlib import Path

import pytest

BASE = """
data: {use: eight-gaussians, n: 200, labelled: false}
model: {use: mlp, width: 8, depth: 1}
solver: {use: euler, steps: 2}
metrics: [energy-distance]
evaluate: {n: 20, reference: 40, sweep_nfe: []}
sample: {n: 6, frames: 2, rows: 2}
train: {steps: 4, batch: 8, checkpoint_every: 2, log_every: 1}
"""


@pytest.fixture(scope="session")
def base_recipe() -> str:
    """The recipe that experiments call ``base.yaml``."""
    return BASE


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a file into an empty folder, in which everything then happens."""
    monkeypatch.chdir(tmp_path)

    def make(text: str, name: str = "study.yaml") -> Path:
        (tmp_path / "base.yaml").write_text(BASE)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return make
