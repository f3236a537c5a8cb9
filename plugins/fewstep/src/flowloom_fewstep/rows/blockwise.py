"""Blockwise flow matching."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_fewstep", "flowloom_fewstep:recipes"
    reg.add(
        "model",
        "blockwise-mlp",
        f"{home}.blockwise:BlockwiseMLP",
        summary="a small perceptron for every piece of the time, features shared",
        example={"segments": 2, "width": 8, "depth": 2, "features": 8, "trunk_width": 16, "change_width": 8},
        paper="2510.21167",
        known_failures={"check_every_parameter_learns": "R is trained by objective feature-residual alone"},
    )
    reg.add(
        "model",
        "blockwise-dit",
        f"{home}.blockwise_dit:BlockwiseDiT",
        summary="a transformer of images with blocks for pieces of the time",
        example={
            "segments": 2,
            "depth": 1,
            "trunk_depth": 1,
            "change_depth": 1,
            "width": 16,
            "heads": 2,
            "rank": 4,
            "aligned_width": 8,
        },
        paper="2510.21167",
        within="blockwise-digits",
        known_failures={"check_every_parameter_learns": "R and the head are trained by their objectives"},
    )
    reg.add(
        "objective",
        "blockwise",
        f"{home}.blockwise_objectives:BlockwiseFlowMatching",
        summary="flow matching of blocks whose features are those of a pretrained network",
        example={"condition_dropout": 0.1},
        paper="2510.21167",
        within="blockwise-checkerboard",
    )
    reg.add(
        "objective",
        "feature-residual",
        f"{home}.blockwise_objectives:FeatureResidual",
        summary="how features change within a piece of the time",
        example={"condition_dropout": 0.1},
        paper="2510.21167",
        within="blockwise-checkerboard",
    )
    reg.add(
        "solver",
        "blockwise-euler",
        f"{home}.blockwise_euler:BlockwiseEuler",
        summary="Euler within pieces of the time, features remembered",
        example={"steps": 2},
        paper="2510.21167",
        within="blockwise-checkerboard",
    )
    for name, summary in (
        ("blockwise-checkerboard", "two small networks for two pieces of the time in the plane, seconds"),
        ("blockwise-digits", "four small networks for four pieces of the time (needs flowloom-images)"),
        (
            "blockwise-digits-features",
            "the same with shared features, then remembered (needs flowloom-images)",
        ),
        ("imagenet-bfm-xl", "BFM-XL at the paper's size"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary, paper="2510.21167")
