"""Plans that are carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "task",
        "plan",
        "flowloom_trajectories.plan:Plan",
        summary="walks through a maze by plans that are made anew on the way",
        example={"every": 8},
        data="maze-plans",
    )
    reg.add(
        "metric",
        "reached",
        "flowloom_trajectories.plan:Reached",
        summary="share of ways that end at their goal",
        data="maze-plans",
    )
