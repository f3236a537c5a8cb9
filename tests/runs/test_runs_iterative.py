"""Iterative retraining: generations on real data and samples of the one before, killed and continued."""

from __future__ import annotations

import signal

import pytest
from safetensors.torch import load_file

from flowloom_registry.cli import main
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.config.stages import stages_of

SMALL = """
extends: iterative-retraining
metrics: []
renderer: null
train: {steps: 120, batch: 16, log_every: 5, checkpoint_every: 20}
model: {use: mlp, width: 12, depth: 1}
sample: {n: 4, frames: 2}
stages:
  - {name: start, train: {steps: 5}}
  - name: generation
    repeat: 2
    model: {run: previous, frozen: false}
    data:
      use: mixed
      parts:
        - {use: eight-gaussians, n: 100, labelled: false}
        - {use: samples, run: {run: previous}, n: 50}
claim: null
"""


@pytest.mark.slow
def test_a_killed_generation_goes_on_with_the_same_bits_and_its_own_noise(tmp_path, apart):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(SMALL)
    assert main(["run", str(recipe), "--out", str(tmp_path / "whole")]) == 0
    process = apart.start(recipe, tmp_path / "out")
    apart.wait_for_step(tmp_path / "out", 40, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert main(["run", str(recipe), "--out", str(tmp_path / "out")]) == 0
    expected, found = (load_file(tmp_path / run / "flow.safetensors") for run in ("whole", "out"))
    assert all(value.equal(found[key]) for key, value in expected.items())
    places = ("whole/stages/generation-1", "whole")
    first, second = (
        load_file(tmp_path / place / "made" / "data.parts[1]" / "samples-00000.safetensors")["x"]
        for place in places
    )
    # Of the same noise they would be almost the same points, one small generation apart.
    assert (first - second).abs().mean() > 0.2


@pytest.mark.parametrize("name", ["iterative-retraining", "-real", "-alone"])
def test_the_arms_take_as_many_updates(name):
    recipe = load_recipe(name if name[0] != "-" else f"iterative-retraining{name}")
    stages = stages_of(recipe)
    assert [one.stage.name for one in stages] == ["start", *(f"generation-{i}" for i in range(1, 9))]
    assert {one.tree.get("train").get("steps").value for one in stages[1:]} == {250}
