"""The flow matching guide: one network, and all that it can be read as and walked by."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    paper = "2412.06264"
    reg.add(
        "guidance",
        "reschedule",
        "flowloom_foundations.guide:Reschedule",
        summary="another schedule for a trained network",
        paper=paper,
        known_failures={
            "check_kind_is_kept": "its path has another schedule",
            "check_unconditional_is_left_alone": "another schedule is another velocity",
            "check_shape_is_kept": "it is asked for posteriors, of which an affine path makes no velocity",
        },
    )
    reg.recipe(
        "fm-guide",
        "flowloom_foundations:recipes/fm-guide.yaml",
        summary="one network on eight Gaussians, by ODEs, SDEs and other schedules",
        paper=paper,
    )
    reg.experiment(
        "fm-guide",
        "flowloom_foundations:experiments/fm-guide.yaml",
        summary="quantities, schedules and solvers of the guide, in the plane, on a torus and on tokens",
    )
