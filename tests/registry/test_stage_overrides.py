"""``--set stages.NAME.a.b=value``: one key of one stage."""

from __future__ import annotations

import pytest

from flowloom_registry.config.nodes import plain
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.config.stages import stages_of
from flowloom_registry.errors import ConfigError

RECIPE = """
data: eight-gaussians
model: {use: mlp, width: 8}
train: {steps: 4, batch: 8}
stages:
  - {name: base, solver: {use: heun, steps: 20}}
  - {name: straight, repeat: 2, train: {steps: 6}}
"""


def trees(tmp_path, *overrides, text=RECIPE):
    file = tmp_path / "r.yaml"
    file.write_text(text)
    return {one.stage.name: plain(one.tree) for one in stages_of(load_recipe(file, overrides=overrides))}


def told(tmp_path, *overrides, text=RECIPE):
    with pytest.raises(ConfigError) as caught:
        trees(tmp_path, *overrides, text=text)
    (problem,) = caught.value.problems
    return str(problem)


def test_one_stage_changes_and_the_others_stay(tmp_path):
    found = trees(tmp_path, "stages.base.train.steps=10", "stages.straight.train.steps=3")
    assert found["base"]["train"] == {"steps": 10, "batch": 8}
    assert found["straight-1"]["train"] == found["straight-2"]["train"] == {"steps": 3, "batch": 8}
    assert found["base"]["solver"] == {"use": "heun", "steps": 20}
    assert "solver" not in found["straight-1"]


def test_components_are_laid_over_as_everywhere(tmp_path):
    found = trees(tmp_path, "stages.base.solver.steps=3", "stages.straight.model.width=5")
    assert found["base"]["solver"] == {"use": "heun", "steps": 3}
    assert found["straight-1"]["model"]["width"] == 5
    other = trees(tmp_path, "stages.base.solver.use=euler", "stages.1.train.batch=2")
    assert other["base"]["solver"] == {"use": "euler"}
    assert other["straight-2"]["train"]["batch"] == 2
    assert trees(tmp_path, "stages.base.solver=null")["base"]["solver"] is None


def test_what_no_stage_says_reaches_all_of_them(tmp_path):
    found = trees(tmp_path, "train.batch=2", "train.steps=5")
    assert [one["train"] for one in found.values()] == [
        {"steps": 5, "batch": 2},
        {"steps": 6, "batch": 2},
        {"steps": 6, "batch": 2},
    ]


def test_mistakes_are_one_line_each(tmp_path):
    said = told(tmp_path, "stages.bse.train.steps=1")
    assert "there is no stage 'bse'; the stages are base, straight" in said
    assert "did you mean 'base'?" in said
    assert "repetitions are one stage: stages.straight" in told(tmp_path, "stages.straight-1.train.steps=1")
    assert "there is no stage '2'" in told(tmp_path, "stages.2.train.steps=1")
    assert "stages.base.train.steps=10, say" in told(tmp_path, "stages.base=3")
    assert "a stage has no section 'trian'" in told(tmp_path, "stages.base.trian.steps=1")
    alone = "data: eight-gaussians\nmodel: mlp\n"
    with pytest.raises(ConfigError, match="this recipe has no stages"):
        file = tmp_path / "alone.yaml"
        file.write_text(alone)
        raise ConfigError(load_recipe(file, overrides=["stages.base.train.steps=1"]).problems)


def test_what_every_stage_says_again_is_refused(tmp_path):
    own = RECIPE.replace("{name: base,", "{name: base, train: {steps: 2},")
    said = told(tmp_path, "train.steps=9", text=own)
    assert "every stage says its own train.steps, so this would change nothing" in said
    assert "--set stages.base.train.steps=..." in said
