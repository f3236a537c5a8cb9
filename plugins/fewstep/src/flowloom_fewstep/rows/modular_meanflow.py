"""Modular MeanFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "objective",
        "modular-meanflow",
        "flowloom_fewstep.modular_meanflow:ModularMeanFlow",
        summary="MeanFlow whose derivative keeps a share of its gradient",
        example={"through": 0.5, "warm": 0.0, "condition_dropout": 0.1},
        paper="2508.17426",
    )
    home = "flowloom_fewstep:recipes"
    reg.recipe(
        "modular-meanflow-checkerboard",
        f"{home}/modular-meanflow-checkerboard.yaml",
        summary="the curriculum of gradients in the plane, a minute",
        paper="2508.17426",
    )
