"""Whether a run names code that no installed plugin lists."""

from __future__ import annotations

from pathlib import Path

from flowloom_registry.config.check import check
from flowloom_registry.config.recipe import load_recipe
from flowloom_registry.errors import ConfigError

__all__ = ["needs_trust"]


def needs_trust(recipe: Path) -> bool:
    """Whether a run can be opened with ``--trust`` alone; nothing that it names is imported to find out.

    Args:
        recipe: of a run, or the stages of one.
    """
    try:
        check(load_recipe(recipe, trusted=False))
    except ConfigError as error:
        return "--trust" in str(error)
    return False
