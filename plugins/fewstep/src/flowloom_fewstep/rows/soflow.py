"""SoFlow: solution consistency."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "objective",
        "soflow",
        "flowloom_fewstep.soflow:SoFlow",
        summary="solution consistency by short steps that grow shorter",
        example={"ratio": 0.1, "condition_dropout": 0.1},
        paper="2512.15657",
    )
    home = "flowloom_fewstep:recipes"
    reg.recipe(
        "soflow-checkerboard",
        f"{home}/soflow-checkerboard.yaml",
        summary="solution maps in the plane, half a minute",
        paper="2512.15657",
    )
    reg.recipe(
        "imagenet-soflow-xl-2",
        f"{home}/imagenet-soflow-xl-2.yaml",
        summary="SoFlow-XL/2 on a folder of ImageNet images, at the paper's size",
        paper="2512.15657",
    )
