"""Operators, the task, and how well answers fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_inverse.operators"
    reg.add(
        "operator", "masking", f"{home}:Masking", summary="some entries are seen: holes and gaps", example={}
    )
    reg.add(
        "operator",
        "average-pool",
        f"{home}:AveragePool",
        summary="means of neighbours: what super-resolution undoes",
        example={"factor": 2},
    )
    reg.add(
        "operator", "gaussian-blur", f"{home}:GaussianBlur", summary="a Gaussian blur", example={"sigma": 0.8}
    )
    reg.add("operator", "clipping", f"{home}:Clipping", summary="values beyond a limit cut off", example={})
    reg.add(
        "task",
        "restore",
        "flowloom_inverse.restore:Restore",
        summary="the rows behind a measurement: in-painting, deblurring, super-resolution, declipping",
        example={"operator": "masking", "by": {"use": "flowdps", "steps": 4}, "noise": 0.1},
    )
    reg.add(
        "metric",
        "misfit",
        "flowloom_inverse.restore:Misfit",
        summary="squared residual of the measurement over the variance of its noise",
        known_failures={
            name: "examples of the laws were measured by nothing, and of such it says nothing"
            for name in ("check_values", "check_is_paired")
        },
    )
