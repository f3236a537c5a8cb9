"""MeanFlow: average velocities."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    reg.add(
        "objective",
        "meanflow",
        "flowloom_fewstep.meanflow:MeanFlow",
        summary="average velocity between two times, for one evaluation; on manifolds too",
        example={"distinct": 0.5, "condition_dropout": 0.1},
        paper="2505.13447",
    )
    home = "flowloom_fewstep:recipes"
    reg.recipe(
        "meanflow-checkerboard",
        f"{home}/meanflow-checkerboard.yaml",
        summary="average velocities in the plane, one evaluation, half a minute",
        paper="2505.13447",
    )
    reg.recipe(
        "meanflow-digits",
        f"{home}/meanflow-digits.yaml",
        summary="real digits in one evaluation each, minutes on CPU",
        paper="2505.13447",
    )
    reg.recipe(
        "meanflow-sphere",
        f"{home}/meanflow-sphere.yaml",
        summary="clusters on the sphere in one evaluation each",
        paper="2510.21608",
    )
    reg.recipe(
        "imagenet-meanflow-xl-2",
        f"{home}/imagenet-meanflow-xl-2.yaml",
        summary="MeanFlow-XL/2 on a folder of ImageNet images, at the paper's size",
        paper="2505.13447",
    )
