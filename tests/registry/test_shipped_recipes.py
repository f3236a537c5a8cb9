"""Every recipe that ships is one: each word of it is known, whether its data are on this machine or not."""

from __future__ import annotations

import pytest

from flowloom_registry.config.check import check
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.config.stages import stages_of
from flowloom_registry.errors import ConfigError
from flowloom_registry.plugins.discovery import catalog


@pytest.mark.parametrize("name", sorted(row.qualified for row in catalog().recipes))
def test_every_word_is_known(name: str) -> None:
    problems: list[str] = []
    for recipe in stages_of(load_recipe(name)):
        try:
            check(recipe)
        except ConfigError as error:
            # Parts of a recipe lack what the recipe that they are laid over says; nothing else may be wrong.
            problems += [str(one) for one in error.problems if " needs " not in one.message]
    assert problems == []
