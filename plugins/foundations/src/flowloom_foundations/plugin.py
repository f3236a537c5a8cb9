"""The rows of the foundations plugin: words only, nothing heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowloom_registry import hookimpl

if TYPE_CHECKING:
    from flowloom_registry.plugins.registrar import Registrar


@hookimpl
def flowloom_register(reg: Registrar) -> None:
    """Add the methods, the data they are shown on, and their recipes."""
    _data(reg)
    _car(reg)
    _contrastive(reg)


def _data(reg: Registrar) -> None:
    home = "flowloom_foundations.data"
    reg.add(
        "dataset",
        "scattered-classes",
        f"{home}:ScatteredClasses",
        summary="ten diagonal Gaussians far apart in 16 dimensions, with their class",
        example={"n": 200},
    )
    reg.add(
        "dataset",
        "overlapping-classes",
        f"{home}:OverlappingClasses",
        summary="eight planar Gaussians over their neighbours, with their class",
        example={"n": 200},
    )
    reg.add(
        "metric",
        "class-sliced-wasserstein",
        "flowloom_foundations.metrics:WithinClasses",
        summary="sliced Wasserstein distance class by class",
        example={"projections": 16},
        data="scattered-classes",
    )
    reg.add(
        "metric",
        "bayes-accuracy",
        "flowloom_foundations.metrics:BayesAccuracy",
        summary="share of samples that the true law takes for the class asked for",
        example={"data": {"use": "overlapping-classes", "n": 200}},
        data="overlapping-classes",
    )


def _car(reg: Registrar) -> None:
    home, recipes = "flowloom_foundations.car", "flowloom_foundations:recipes"
    reg.add(
        "model",
        "condition-aware",
        f"{home}:ConditionAware",
        summary="any network of velocities, between ends that a learned shift moves by condition",
        example={"network": {"use": "mlp", "width": 16, "depth": 1}, "width": 8},
        paper="2509.19300",
        data="scattered-classes",
    )
    reg.add(
        "source",
        "shifted-gaussian",
        f"{home}:ShiftedGaussian",
        summary="a Gaussian whose mean follows the condition, learned with the flow",
        example={"width": 8},
        paper="2509.19300",
        data="scattered-classes",
    )
    reg.add(
        "score",
        "path-length",
        f"{home}:PathLength",
        summary="mean length of the paths between the ends that the network sees",
        paper="2509.19300",
        known_failures={"check_truth_is_better": "it measures paths, not how well they end"},
        data="scattered-classes",
    )
    reg.recipe(
        "car-flow",
        f"{recipes}/car-flow.yaml",
        summary="CAR-Flow on ten classes far apart, in seconds",
        paper="2509.19300",
    )
    reg.recipe(
        "car-flow-baseline",
        f"{recipes}/car-flow-baseline.yaml",
        summary="the same network without shifts",
    )
    reg.recipe(
        "car-flow-source",
        f"{recipes}/car-flow-source.yaml",
        summary="the source alone learned, as a source",
        paper="2509.19300",
    )
    reg.recipe(
        "car-flow-imagenet",
        f"{recipes}/car-flow-imagenet.yaml",
        summary="SiT-XL/2 with joint CAR-Flow at the paper's size",
        paper="2509.19300",
    )


def _contrastive(reg: Registrar) -> None:
    home, recipes = "flowloom_foundations.contrastive", "flowloom_foundations:recipes"
    reg.add(
        "objective",
        "contrastive",
        f"{home}:ContrastiveFlowMatching",
        summary="flow matching, pushed off the targets of other rows of the batch",
        paper="2506.05350",
        known_failures={"check_exact_answers_have_no_loss": "what stands off other rows is gained, not lost"},
    )
    reg.add(
        "guidance",
        "interference-removal",
        f"{home}:InterferenceRemoval",
        summary="classifier-free guidance of what a contrastive network would be without contrast",
        paper="2506.05350",
    )
    reg.recipe(
        "contrastive",
        f"{recipes}/contrastive.yaml",
        summary="contrastive flow matching on eight overlapping classes",
        paper="2506.05350",
    )
    reg.recipe(
        "contrastive-baseline",
        f"{recipes}/contrastive-baseline.yaml",
        summary="the same network under flow matching",
    )
    reg.recipe(
        "contrastive-digits",
        f"{recipes}/contrastive-digits.yaml",
        summary="contrastive flow matching on real digits (needs flowloom-images)",
        paper="2506.05350",
    )
    reg.recipe(
        "contrastive-imagenet",
        f"{recipes}/contrastive-imagenet.yaml",
        summary="SiT-XL/2 with contrastive flow matching at the paper's size",
        paper="2506.05350",
    )
