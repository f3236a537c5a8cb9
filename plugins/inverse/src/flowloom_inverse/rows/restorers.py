"""Restorers by a flow, and rules to compare them with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_inverse.restorers"
    reg.add(
        "restorer",
        "flowdps",
        f"{home}:FlowDPS",
        summary="the likelihood into the predicted data, fresh noise into the predicted noise",
        paper="2503.08136",
        example={"steps": 8, "consistency": "exact"},
    )
    reg.add(
        "restorer",
        "flair",
        f"{home}:FLAIR",
        summary="one faithful answer: a variational mode, moved by the flow and by the measurement in turn",
        paper="2506.02680",
        example={"steps": 8},
    )
    reg.add(
        "restorer",
        "flowchef",
        f"{home}:FlowChef",
        summary="Euler steps moved by the gradient at the predicted data",
        paper="2412.00100",
        example={"steps": 20},
    )
    reg.add(
        "restorer",
        "dps",
        f"{home}:DPS",
        summary="steps moved by the gradient through the network",
        paper="2209.14687",
        example={"steps": 20},
    )
    reg.add("restorer", "pseudo-inverse", f"{home}:PseudoInverse", summary="no flow: A^+ y", example={})
    reg.add(
        "restorer",
        "smoothest",
        f"{home}:Smoothest",
        summary="no flow: the smoothest answer that fits (Tikhonov); straight lines in gaps",
        example={},
    )
    reg.add(
        "restorer",
        "wiener",
        f"{home}:Wiener",
        summary="the best linear answer for the mean and covariance of what the flow draws",
        example={"samples": 64},
    )
