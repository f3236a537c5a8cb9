"""Align Your Flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "objective",
        "align-your-flow",
        "flowloom_fewstep.align_your_flow:AlignYourFlow",
        summary="distils a flow into a map, by the start or the end of its jumps",
        example={"condition_dropout": 0.1},
        paper="2506.14603",
        within="eight-gaussians",
    )
    home = "flowloom_fewstep:recipes"
    reg.recipe(
        "align-your-flow-ring",
        f"{home}/align-your-flow-ring.yaml",
        summary="a teacher on eight Gaussians and its map of any number of steps, a minute",
        paper="2506.14603",
    )
    reg.recipe(
        "imagenet-align-your-flow-s",
        f"{home}/imagenet-align-your-flow-s.yaml",
        summary="a flow map by EDM2-S on ImageNet, the paper's size",
        paper="2506.14603",
    )
