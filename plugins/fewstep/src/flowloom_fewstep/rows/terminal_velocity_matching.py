"""Terminal velocity matching."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "objective",
        "terminal-velocity-matching",
        "flowloom_fewstep.terminal_velocity_matching:TerminalVelocityMatching",
        summary="the end of a jump moves as the flow does there",
        example={"gap": "uniform", "condition_dropout": 0.1},
        paper="2511.19797",
    )
    home = "flowloom_fewstep:recipes"
    reg.recipe(
        "tvm-checkerboard",
        f"{home}/tvm-checkerboard.yaml",
        summary="terminal velocities in the plane, one evaluation, a minute",
        paper="2511.19797",
    )
    reg.recipe(
        "imagenet-tvm-xl-2",
        f"{home}/imagenet-tvm-xl-2.yaml",
        summary="TVM-XL/2 on a folder of ImageNet images, at the paper's size",
        paper="2511.19797",
    )
