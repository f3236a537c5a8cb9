"""GMFlow: Gaussian mixtures of velocities."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    recipe = "gmflow-checkerboard"
    reg.add(
        "objective",
        "gmflow",
        "flowloom_fewstep.gmflow:GMFlow",
        summary="likelihood of short transitions under a Gaussian mixture",
        example={"ratio": 0.5, "condition_dropout": 0.1},
        paper="2504.05304",
        within=recipe,
    )
    reg.add(
        "model",
        "mixture-mlp",
        "flowloom_fewstep.mixture_mlp:MixtureMLP",
        summary="a multilayer perceptron that answers with a mixture",
        example={"width": 16, "depth": 2, "components": 3},
    )
    reg.add(
        "model",
        "mixture-pixels",
        "flowloom_fewstep.mixture_pixels:MixturePixels",
        summary="a network of images that answers with a mixture at every pixel",
        example={
            "network": {"use": "dit", "width": 16, "depth": 1, "heads": 2, "out_channels": 6},
            "components": 3,
            "width": 8,
        },
        paper="2504.05304",
        within="blockwise-digits",
        known_failures={"check_every_parameter_learns": "the mean does not know the deviation"},
    )
    for name, kind, summary in (
        ("gm-sde", "GMSde", "draws x1 of a mixture, then the state between"),
        ("gm-ode", "GMOde", "many sub-steps along one mixture, moved to where they are"),
    ):
        reg.add(
            "solver",
            name,
            f"flowloom_fewstep.mixture_velocity:{kind}",
            summary=summary,
            example={"steps": 2},
            paper="2504.05304",
            within=recipe,
        )
    reg.recipe(
        "imagenet-gmflow-xl-2",
        "flowloom_fewstep:recipes/imagenet-gmflow-xl-2.yaml",
        summary="mixtures of eight velocities a pixel by a DiT-XL/2, the paper's size",
        paper="2504.05304",
    )
    reg.recipe(
        recipe,
        "flowloom_fewstep:recipes/gmflow-checkerboard.yaml",
        summary="mixtures of eight velocities in the plane, two steps, half a minute",
        paper="2504.05304",
    )
