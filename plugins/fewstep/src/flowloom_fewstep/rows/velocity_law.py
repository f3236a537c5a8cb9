"""Transition matching and hierarchical rectified flow: laws of velocities."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "objective",
        "velocity-law",
        "flowloom_fewstep.velocity_law:VelocityLaw",
        summary="the whole law of the velocity by a flow within the flow",
        example={"grid": 4, "draws": 2},
        paper="2506.23589",
        within="transition-matching-checkerboard",
    )
    reg.add(
        "model",
        "nested-mlp",
        "flowloom_fewstep.nested_mlp:NestedMLP",
        summary="a trunk for states and a small head for velocities",
        example={"width": 16, "depth": 2, "head_width": 16},
        known_failures={
            "check_every_parameter_learns": "the mean velocity is that of y = 0, where the weights "
            "of y are not asked"
        },
    )
    reg.add(
        "model",
        "nested-dit",
        "flowloom_fewstep.nested_dit:NestedDiT",
        summary="a transformer of images for states and a small head for the velocity of each token",
        example={
            "width": 16,
            "depth": 1,
            "heads": 2,
            "text": None,
            "head_width": 16,
            "head_depth": 1,
        },
        paper="2506.23589",
        within="blockwise-digits",
        known_failures={
            "check_every_parameter_learns": "the mean velocity is that of y = 0, where the weights "
            "of y are not asked"
        },
    )
    home = "flowloom_fewstep:recipes"
    reg.recipe(
        "cifar10-hrf-coupling",
        f"{home}/cifar10-hrf-coupling.yaml",
        summary="hierarchical rectified flow with coupled batches on CIFAR-10, the paper's size",
        paper="2507.13350",
    )
    reg.recipe(
        "transition-matching-t2i",
        f"{home}/transition-matching-t2i.yaml",
        summary="difference transition matching by a trunk of 1.7 B parameters, the paper's size",
        paper="2506.23589",
    )
    reg.recipe(
        "transition-matching-checkerboard",
        f"{home}/transition-matching-checkerboard.yaml",
        summary="difference transition matching in the plane, four steps, half a minute",
        paper="2506.23589",
    )
    reg.recipe(
        "hrf-coupling-checkerboard",
        f"{home}/hrf-coupling-checkerboard.yaml",
        summary="hierarchical rectified flow with coupled batches, half a minute",
        paper="2507.13350",
    )
