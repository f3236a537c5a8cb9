"""Consistency flow matching."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "objective",
        "consistency-fm",
        "flowloom_fewstep.consistency_fm:ConsistencyFM",
        summary="velocities that agree along straight pieces; Euler samples",
        example={"condition_dropout": 0.1},
        paper="2407.02398",
    )
    home = "flowloom_fewstep:recipes"
    reg.recipe(
        "consistency-fm-checkerboard",
        f"{home}/consistency-fm-checkerboard.yaml",
        summary="two straight pieces in the plane, half a minute",
        paper="2407.02398",
    )
    reg.recipe(
        "cifar10-consistency-fm",
        "flowloom_fewstep:recipes/cifar10-consistency-fm.yaml",
        summary="CIFAR-10 at the paper's size (needs flowloom-images)",
        paper="2407.02398",
    )
