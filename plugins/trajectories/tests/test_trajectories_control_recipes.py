"""Recipes of control run from end to end, a few steps each."""

import json

import pytest

from flowloom_registry.cli import main

FEW = ["evaluate.n=8", "sample.n=4", "data.n=64"]
POLICY = [
    "feed.envs=16",
    "feed.unroll=4",
    "feed.epochs=1",
    "train.steps=4",
    "train.batch=32",
    "scores=[{use: closed-loop, episodes: 8}, choices]",
]
PLANS = ["env.steps=4", "train.steps=2", "train.batch=16", "scores=[{use: closed-loop, episodes: 4}]"]
STAGED = [*PLANS, "stages.inverse.train.steps=2", "stages.inverse.data.episodes=8", "data.episodes=8"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "settings", "told"),
    [
        ("fpo-two-goals", POLICY, ("least_share", "success")),
        ("ppo-hidden-goals", POLICY, ("goals_known", "episode_steps")),
        ("guided-planner", STAGED, ("episode_return", "success")),
        ("behaviour-cloning", [*PLANS, "data.episodes=8", "data.best=0.5"], ("episode_return",)),
    ],
)
def test_recipes_run(recipe, settings, told, tmp_path):
    changes = [word for s in (*FEW, *settings) for word in ("--set", s)]
    assert main(["run", recipe, "--quiet", *changes, "--out", str(tmp_path / "r")]) == 0
    found = json.loads((tmp_path / "r" / "evaluation.json").read_text())
    assert not found["notes"]
    assert all(name in json.dumps(found) for name in told)
    report = (tmp_path / "r" / "report.html").read_text()
    assert "Episodes" in report
    if recipe.startswith(("fpo", "ppo")):
        assert "Actions" in report
        assert "success" in report


def test_a_network_of_values_is_missed_when_the_recipe_is_built(tmp_path, capsys):
    assert main(["run", "fpo-two-goals", "--set", "roles=null", "--out", str(tmp_path / "r")]) == 2
    assert "feed + roles: a network is asked for in the role 'value'" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
