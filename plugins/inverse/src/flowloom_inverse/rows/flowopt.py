"""FlowOpt: inversion and edits through the whole sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home = "flowloom_inverse.inversion"
    reg.add(
        "task",
        "invert",
        f"{home}:Invert",
        summary="the noise that a flow makes an example of, refined without derivatives (FlowOpt)",
        example={"steps": 4, "iterations": 2},
    )
    reg.add(
        "task",
        "edit",
        f"{home}:Edit",
        summary="an example as another class, near what it was (FlowOpt)",
        example={"steps": 4, "iterations": 2, "condition": "label"},
    )
    reg.recipe(
        "invert-digits",
        "flowloom_inverse:recipes/invert-digits.yaml",
        summary="digits found again through the whole sampler, and changed into other digits, by FlowOpt",
    )
