"""Backbones over time, and the codec of motion."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "model",
        "time-transformer",
        "flowloom_trajectories.models:TimeTransformer",
        summary="transformer over steps, with context tokens and neighbours as a set",
        example={"width": 16, "depth": 2, "heads": 2},
        data="crowd",
        tags=("transformer",),
    )
    reg.add(
        "model",
        "facing",
        "flowloom_trajectories.models:Facing",
        summary="any network, which sees ways in the frame of who walks them",
        example={"network": {"use": "time-transformer", "width": 16, "depth": 1, "heads": 2}},
        data="crowd",
        paper="2211.06489",
    )
    reg.add(
        "model",
        "temporal-unet",
        "flowloom_trajectories.models:TemporalUNet",
        summary="one-dimensional U-Net along time",
        example={"width": 8, "multipliers": [1, 2]},
        data="crossroads",
        paper="2205.09991",
        tags=("convolution",),
    )
    reg.add(
        "codec",
        "about-constant-velocity",
        "flowloom_trajectories.codec:AboutConstantVelocity",
        summary="ways about what constant velocity makes of the past",
        data="crossroads",
    )
