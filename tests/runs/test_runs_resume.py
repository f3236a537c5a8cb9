"""A killed run goes on as if nothing had happened, bit for bit."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from flowloom_registry.cli import main

RECIPE = """
name: tiny
seed: 3
data: {use: eight-gaussians, n: 2000}
coupling: {use: optimal-transport, within: label}
model: {use: mlp, width: 32, depth: 2}
objective: {use: flow-matching, condition_dropout: 0.2}
solver: {use: euler, steps: 2}
train: {steps: 400, batch: 64, checkpoint_every: 40, log_every: 10, ema: 0.99, decay: cosine, prefetch: "on"}
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, apart: Any) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.yaml").write_text(RECIPE)
    apart.finish(apart.start(folder / "tiny.yaml", folder / "run"))
    return folder / "run"


@pytest.mark.parametrize(
    ("number", "step"), [(signal.SIGKILL, 70), pytest.param(signal.SIGTERM, 150, marks=pytest.mark.slow)]
)
def test_killed_run_continues_bit_for_bit(
    whole: Path, tmp_path: Path, apart: Any, number: int, step: int
) -> None:
    recipe, out = tmp_path / "tiny.yaml", tmp_path / "run"
    recipe.write_text(RECIPE)
    process = apart.start(recipe, out)
    apart.wait_for_step(out, step, process)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert json.loads((out / "status.json").read_text())["state"] == "training"
    assert main(["run", str(recipe), "--out", str(out)]) == 0

    last = sorted((whole / "checkpoints").iterdir())[-1].name
    for file in ("flow", "ema", "optimizers"):
        expected = load_file(whole / "checkpoints" / last / f"{file}.safetensors")
        found = load_file(out / "checkpoints" / last / f"{file}.safetensors")
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert value.equal(found[name]), f"{file}: {name} differs"
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)), "a step was logged twice"
    assert steps[-1] == 400


@pytest.mark.slow
def test_another_seed_gives_other_weights(whole: Path, tmp_path: Path, apart: Any) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.replace("seed: 3", "seed: 4"))
    apart.finish(apart.start(recipe, tmp_path / "run"))
    ours, theirs = load_file(tmp_path / "run/flow.safetensors"), load_file(whole / "flow.safetensors")
    assert any(not ours[name].equal(theirs[name]) for name in ours)
