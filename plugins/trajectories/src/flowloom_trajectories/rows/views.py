"""Augmentation and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "view",
        "turn",
        "flowloom_trajectories.views:Turn",
        summary="turns and mirrors a way and all that is told of it",
        data="crossroads",
    )
    reg.add(
        "renderer",
        "fans",
        "flowloom_trajectories.renderer:Fans",
        summary="draws as a fan over what came, axes in metres",
        example={"rows": 2},
        data="crossroads",
    )
