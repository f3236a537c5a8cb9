"""Diff2Flow, and networks trained by additions of low rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    small = {"use": "mlp", "width": 16, "depth": 2}
    reg.add(
        "model",
        "diff2flow",
        "flowloom_fewstep.diff2flow:Diff2Flow",
        summary="a diffusion's network, as it was trained, as the velocity of a straight path",
        example={"network": small, "schedule": "scaled-linear-vp"},
        paper="2506.02221",
    )
    reg.add(
        "model",
        "low-rank",
        "flowloom_fewstep.low_rank:LowRank",
        summary="any trained network, moved by matrices of low rank alone (LoRA)",
        example={"network": small, "rank": 2},
        paper="2106.09685",
    )
    home = "flowloom_fewstep:recipes"
    reg.recipe(
        "diff2flow-checkerboard",
        f"{home}/diff2flow-checkerboard.yaml",
        summary="a diffusion of the checkerboard as a flow, trained on a little, half a minute",
        paper="2506.02221",
    )
    reg.recipe(
        "diff2flow-sd15",
        f"{home}/diff2flow-sd15.yaml",
        summary="a diffusion in the latents of Stable Diffusion trained on as a flow, the paper's settings",
        paper="2506.02221",
    )
