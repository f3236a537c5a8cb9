"""AlphaFlow: from trajectory flow matching to MeanFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "objective",
        "alphaflow",
        "flowloom_fewstep.alphaflow:AlphaFlow",
        summary="one ratio from trajectory flow matching over shortcuts to MeanFlow",
        example={"ratio": 0.5, "condition_dropout": 0.1},
        paper="2510.20771",
    )
    home = "flowloom_fewstep:recipes"
    reg.recipe(
        "alphaflow-checkerboard",
        f"{home}/alphaflow-checkerboard.yaml",
        summary="the curriculum in the plane, half a minute",
        paper="2510.20771",
    )
    reg.recipe(
        "imagenet-alphaflow-xl-2",
        f"{home}/imagenet-alphaflow-xl-2.yaml",
        summary="AlphaFlow-XL/2 on a folder of ImageNet images, at the paper's size",
        paper="2510.20771",
    )
