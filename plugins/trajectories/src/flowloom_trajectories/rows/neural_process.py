"""Flow matching neural processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


def register(reg: Registrar) -> None:
    """Add them."""
    home, recipes = "flowloom_trajectories.neural_process", "flowloom_trajectories:recipes"
    reg.add(
        "dataset",
        "gp-functions",
        f"{home}:Functions",
        summary="draws of Gaussian processes, seen at some places and asked at others",
        example={"n": 64, "context": [0, 5], "targets": [1, 6]},
    )
    reg.add(
        "dataset",
        "pixel-functions",
        f"{home}:PixelFunctions",
        summary="images as functions of the plane, some pixels seen and others asked",
        example={"images": "digits", "context": [0, 8], "targets": [1, 12]},
    )
    reg.add(
        "model",
        "process-transformer",
        f"{home}:ProcessTransformer",
        summary="set transformer over points of a function, known ones and targets",
        example={"width": 16, "depth": 1, "heads": 2, "hidden": 16},
        data="gp-functions",
        tags=("transformer",),
    )
    reg.add(
        "objective",
        "process-flow",
        f"{home}:ProcessFlow",
        summary="flow matching with a time for every target",
        within="neural-process",
    )
    reg.add(
        "objective",
        "factorised-gaussian",
        f"{home}:FactorisedGaussian",
        summary="a Gaussian for every target by itself",
        within="neural-process-factorised",
        known_failures={
            "check_exact_answers_have_no_loss": "likelihoods are no distance",
            "check_loss_reaches_the_model": "its network has two outputs a value",
            "check_follows_its_generator": "its network has two outputs a value",
            "check_state_round_trip": "its network has two outputs a value",
        },
    )
    reg.add(
        "metric",
        "difference-score",
        f"{home}:DifferenceScore",
        summary="energy score of differences of neighbouring values",
        example={"draws": 4},
        data="gp-functions",
    )
    reg.add(
        "score",
        "gp-gap",
        f"{home}:ProcessGap",
        summary="exact log likelihood of the true process less the flow's",
        example={"most": 20},
        within="neural-process",
        known_failures={"check_truth_is_better": "the true process is known of functions at places only"},
    )
    for name, summary in (
        ("neural-process", "functions from eight points to sixteen, by a flow of all of them"),
        ("neural-process-factorised", "the same, each target by itself"),
        ("neural-process-any", "functions from any points to any others, the empty context included"),
        ("neural-process-pixels", "digits completed from a few pixels"),
        ("neural-process-full", "the paper's process on Gaussian processes"),
    ):
        reg.recipe(name, f"{recipes}/{name}.yaml", summary=summary)
