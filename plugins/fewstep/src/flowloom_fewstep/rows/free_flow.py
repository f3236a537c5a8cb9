"""FreeFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add it."""
    reg.add(
        "objective",
        "free-flow",
        "flowloom_fewstep.free_flow:FreeFlow",
        summary="distils a flow into a map from noise, without any data",
        example={"correction": 0.0},
        paper="2511.19428",
        within="eight-gaussians",
    )
    reg.recipe(
        "free-flow-ring",
        "flowloom_fewstep:recipes/free-flow-ring.yaml",
        summary="a map distilled from its teacher's prior alone, one evaluation",
        paper="2511.19428",
    )
    reg.recipe(
        "imagenet-free-flow-xl-2",
        "flowloom_fewstep:recipes/imagenet-free-flow-xl-2.yaml",
        summary="a SiT-XL/2 distilled at the paper's size (needs flowloom-images)",
        paper="2511.19428",
    )
