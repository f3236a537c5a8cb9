"""The README's Python runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from flowloom_registry.cli import main

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def run(block: str) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(compile(block, str(README), "exec"), names)
    return names


def test_there_are_two_blocks() -> None:
    assert len(BLOCKS) == 2
    lines = [line for line in BLOCKS[0].splitlines() if line]
    assert len(lines) == 2


def test_a_run_in_two_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["train.steps=2", "sample.n=10", "solver.steps=1", "metrics=null"]
    words = [word for setting in settings for word in ("--set", setting)]
    assert main(["run", "digits", "--out", "runs/digits", *words]) == 0
    images = run(BLOCKS[0])["images"]
    assert isinstance(images, torch.Tensor)
    assert images.shape == (16, 1, 8, 8)


def test_from_nothing_in_ten_lines() -> None:
    names = run(BLOCKS[1])
    x, log_p = names["x"], names["log_p"]
    assert isinstance(x, torch.Tensor)
    assert isinstance(log_p, torch.Tensor)
    # Class 3 sits at angle 135 degrees on the circle of radius 2, with standard deviation 0.1.
    centre = torch.tensor([-(2**0.5), 2**0.5])
    assert (x.mean(0) - centre).norm() < 0.1
    assert x.std(0).mean() < 0.2
    # The true expected log density is -log(2 pi e 0.01) = 1.77; an untrained flow has about -2.8.
    assert log_p.mean() > 1.0
