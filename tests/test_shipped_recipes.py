"""Every recipe that a plugin ships says only what its parts take, whether or not its data are at hand."""

from __future__ import annotations

import pytest

from flowloom_registry import catalog
from flowloom_registry.config.check import check
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.config.stages import staged, stages_of
from flowloom_registry.plugins.rows import RecipeRow

ASKS = {"one-step": ["data.folder=runs/teacher"]}
"""What has to be said on the command line."""


@pytest.mark.parametrize("row", catalog().recipes, ids=lambda row: row.qualified)
def test_a_recipe_says_only_what_its_parts_take(row: RecipeRow) -> None:
    recipe = load_recipe(row.qualified, overrides=ASKS.get(row.name, ()))
    if not staged(recipe) and not {"data", "feed"} & recipe.tree.entries.keys():
        recipe = load_recipe("markov", layers=[row.qualified])  # a part of a recipe, laid over others
    for stage in stages_of(recipe):
        check(stage, needs=())
