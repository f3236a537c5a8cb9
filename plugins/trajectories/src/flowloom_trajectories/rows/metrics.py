"""Judges of forecasts and plans."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "metric",
        "displacement",
        "flowloom_trajectories.metrics:Displacement",
        summary="ADE, FDE, best of K and miss rate, on the truth of the same rows",
        example={"draws": 3},
        data="crossroads",
        paper="1803.10892",
    )
    reg.add(
        "metric",
        "kde-nll",
        "flowloom_trajectories.metrics:KernelDensity",
        summary="likelihood of the truth under a kernel density of the draws",
        example={"draws": 8},
        data="crossroads",
        paper="1810.05993",
    )
    reg.add(
        "metric",
        "collisions",
        "flowloom_trajectories.metrics:Collisions",
        summary="share of draws that walk into a neighbour",
        example={"draws": 3},
        data="crowd",
    )
    reg.add(
        "metric",
        "walls",
        "flowloom_trajectories.metrics:Walls",
        summary="share of plans that go through a wall",
        data="maze-plans",
    )
