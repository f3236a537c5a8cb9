"""SplitMeanFlow: intervals and their parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "objective",
        "splitmeanflow",
        "flowloom_fewstep.splitmeanflow:SplitMeanFlow",
        summary="average velocities by splitting intervals: no derivatives",
        example={"condition_dropout": 0.1},
        paper="2507.16884",
    )
    home = "flowloom_fewstep:recipes"
    reg.recipe(
        "splitmeanflow-checkerboard",
        f"{home}/splitmeanflow-checkerboard.yaml",
        summary="average velocities without derivatives, half a minute",
        paper="2507.16884",
    )
