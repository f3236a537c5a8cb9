"""Rules that any forecast has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "baseline",
        "constant-velocity",
        "flowloom_trajectories.baselines:ConstantVelocity",
        summary="the last step again and again",
        data="crossroads",
        paper="1903.07933",
    )
    reg.add(
        "baseline",
        "seasonal-naive",
        "flowloom_trajectories.baselines:SeasonalNaive",
        summary="the last season again",
        example={"period": 4, "context": "past"},
        data="crossroads",
    )
    reg.add(
        "baseline",
        "linear-interpolation",
        "flowloom_trajectories.baselines:LinearInterpolation",
        summary="straight lines between what is given",
        data="maze-plans",
    )
