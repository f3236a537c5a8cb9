"""Recipes of motion and series."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    for name, summary in (
        ("crossroads", "forecasts at a junction: one past, three futures"),
        ("pedestrians", "ETH and UCY: best of 20 forecasts on a scene that was held out"),
        ("series-forecast", "a day of transformer data told, the next 24 hours forecast"),
        ("series-imputation", "transformer data with holes, filled"),
        ("maze-plans", "plans through a maze from where one is to where one wants to be"),
    ):
        reg.recipe(name, f"flowloom_trajectories:recipes/{name}.yaml", summary=summary)
    reg.experiment(
        "pedestrians-scenes",
        "flowloom_trajectories:experiments/pedestrians-scenes.yaml",
        summary="best of 20 forecasts of each scene of ETH and UCY, trained on the others",
    )
